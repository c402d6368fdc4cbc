#include "probes/load/load_probe.h"

#include <sys/prctl.h>

#include <algorithm>
#include <barrier>
#include <boost/asio/post.hpp>
#include <cmath>
#include <thread>

#include "injector/base/cpu_time.h"
#include "injector/base/error.h"
#include "probes/load/spinning_clock.h"
#include "probes/load/window_merger.h"

namespace capsize {
namespace {

constexpr double kPerWorker = 20'000;  // logins a second, with some to spare

// What the workers post to the control thread. Outlives the probe where a posted window does; lives on the control thread.
struct Inbox {
  Inbox(const asio::any_io_executor& executor, std::uint64_t workers, std::function<void(Window)> to)
      : emit(std::move(to)), merger(workers, [this](const LoadWindow& window) { emit(to_json(window)); }), changed(executor), at_work(workers) {}
  std::function<void(Window)> emit;
  WindowMerger merger;
  Wake changed;
  std::uint64_t at_work;
  std::exception_ptr error;  // the first
};

// All workers begin at the same time: when the last of them is ready.
class Start {
 public:
  Start(std::uint64_t workers, const Clock& clock, TimePoint origin) : barrier_(static_cast<std::ptrdiff_t>(workers), Ready{this, &clock, origin}) {}
  TimePoint wait() {  // for all the others
    barrier_.arrive_and_wait();
    return at_;
  }
  void give_up() { barrier_.arrive_and_drop(); }

 private:
  struct Ready {
    Start* start;
    const Clock* clock;
    TimePoint origin;
    void operator()() noexcept { start->at_ = next_window(clock->now(), origin); }
  };
  TimePoint at_;
  std::barrier<Ready> barrier_;
};

Task<> drive(LoginTransport& transport, Generator& generator, Start* start) {
  std::exception_ptr not_open;
  try {
    co_await transport.open();
  } catch (...) {
    not_open = std::current_exception();
  }
  if (not_open && start != nullptr) start->give_up();
  if (not_open) std::rethrow_exception(not_open);
  const auto at = start != nullptr ? std::optional(start->wait()) : std::nullopt;
  co_await generator.run(at);
  co_await transport.close();
}

LoadPlan part_of(LoadPlan plan, std::uint64_t worker) {
  plan.worker = worker;
  plan.max_in_flight = (plan.max_in_flight + plan.workers - 1) / plan.workers;
  return plan;
}

// Thread: made and destroyed on the control thread; work() is the worker's.
class Worker {
 public:
  Worker(const LoadPlan& plan, const TransportFactory& sockets, TimePoint origin, Start& start, asio::any_io_executor control, std::shared_ptr<Inbox> inbox)
      : spins_(worth_spinning(plan.schedule.most_per_second() / static_cast<double>(plan.workers))),
        start_(start),
        transport_(sockets(clock_, plan.worker)),
        generator_(clock_, plan, *transport_, origin,
                   [control, inbox](LoadWindow window) {
                     asio::post(control, [inbox, taken = std::move(window)]() mutable { inbox->merger.take(std::move(taken)); });
                   },
                   spins_ ? &spinning_ : nullptr, thread_cpu_time),
        thread_([this, control, inbox] { work(control, inbox); }) {}

  // Waits for the logins under way (at most their timeout): their coroutines use what dies here.
  ~Worker() {
    stop(clock_.now());
    thread_.join();
  }

  void stop(TimePoint at) {
    asio::post(io_, [this, at] { generator_.stop(at); });
  }

  void set_load(double share) {
    asio::post(io_, [this, share] { generator_.set_load(share); });
  }

 private:
  void work(const asio::any_io_executor& control, const std::shared_ptr<Inbox>& inbox) {
    ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);  // of this thread: timers to the nanosecond instead of 50 us late
    std::exception_ptr error;
    asio::co_spawn(io_, drive(*transport_, generator_, &start_), [&error](std::exception_ptr problem) { error = problem; });
    try {
      io_.run();
    } catch (...) {
      error = std::current_exception();
    }
    asio::post(control, [inbox, error] {
      if (error && !inbox->error) inbox->error = error;
      if (--inbox->at_work == 0 && !inbox->error) inbox->merger.finish();
      inbox->changed.notify();
    });
  }

  asio::io_context io_{1};
  SystemClock clock_;
  SpinningClock spinning_{clock_};
  const bool spins_;
  Start& start_;
  std::unique_ptr<LoginTransport> transport_;
  Generator generator_;
  std::thread thread_;  // last: it uses all of the above
};

class ThreadedProbe final : public Probe {
 public:
  ThreadedProbe(ProbeContext context, LoadPlan plan, TransportFactory sockets)
      : context_(std::move(context)), plan_(std::move(plan)), sockets_(std::move(sockets)), start_(plan_.workers, clock_, context_.start) {}
  ~ThreadedProbe() override {
    end_workers();
    if (inbox_) inbox_->emit = [](const Window&) {};
  }

  Task<> run() override {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    const auto control = co_await asio::this_coro::executor;
    inbox_ = std::make_shared<Inbox>(control, plan_.workers, context_.emit);
    make_workers(control);
    if (stopped_) stop();
    while (inbox_->at_work > 0) {
      if (inbox_->error) stop();  // one that cannot work ends all
      co_await inbox_->changed.wait();
    }
    end_workers();
    if (inbox_->error) std::rethrow_exception(inbox_->error);
  }

  void stop() override {
    stopped_ = true;
    const TimePoint now = clock_.now();
    for (const auto& worker : workers_) worker->stop(now);
  }
  void set_load(double share) override {
    for (const auto& worker : workers_) worker->set_load(share);
  }

 private:
  void make_workers(const asio::any_io_executor& control) {
    try {
      while (workers_.size() < plan_.workers) {
        workers_.push_back(std::make_unique<Worker>(part_of(plan_, workers_.size()), sockets_, context_.start, start_, control, inbox_));
      }
    } catch (...) {  // those that there are wait for the others
      for (std::uint64_t missing = plan_.workers - workers_.size(); missing > 0; --missing) start_.give_up();
      throw;
    }
  }

  // Told all before the first is waited for.
  void end_workers() {
    for (const auto& worker : workers_) worker->stop(clock_.now());
    workers_.clear();
  }

  ProbeContext context_;
  LoadPlan plan_;
  TransportFactory sockets_;
  SystemClock clock_;
  Start start_;
  std::shared_ptr<Inbox> inbox_;
  std::vector<std::unique_ptr<Worker>> workers_;
  bool stopped_ = false;
};

class SimulatedProbe final : public Probe {
 public:
  SimulatedProbe(ProbeContext context, LoadPlan plan)
      : context_(std::move(context)),
        transport_(context_.transport(context_)),
        generator_(*context_.clock, std::move(plan), *transport_, context_.start, [this](const LoadWindow& window) { context_.emit(to_json(window)); }) {}

  Task<> run() override { return drive(*transport_, generator_, nullptr); }
  void stop() override { generator_.stop(); }
  void set_load(double share) override { generator_.set_load(share); }

 private:
  ProbeContext context_;
  std::unique_ptr<LoginTransport> transport_;
  Generator generator_;
};

}  // namespace

std::uint64_t workers_for(double logins_per_second) {
  const auto needed = static_cast<std::uint64_t>(std::ceil(logins_per_second / kPerWorker));
  return std::clamp<std::uint64_t>(needed, 1, static_cast<std::uint64_t>(std::max(cores_of_this_process() - 1, 1)));
}

std::unique_ptr<Probe> make_load_probe(ProbeContext context, LoadPlan plan, TransportFactory sockets) {
  plan.workers = context.transport ? 1 : plan.workers;
  if (context.transport) return std::make_unique<SimulatedProbe>(std::move(context), std::move(plan));
  return std::make_unique<ThreadedProbe>(std::move(context), std::move(plan), std::move(sockets));
}

}  // namespace capsize
