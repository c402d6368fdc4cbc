#include "probes/load/load_probe.h"

#include <sys/prctl.h>

#include <boost/asio/post.hpp>
#include <thread>

#include "injector/base/cpu_time.h"
#include "injector/base/error.h"
#include "probes/load/spinning_clock.h"

namespace capsize {
namespace {

// What the worker posts to the control thread. Outlives the probe where a posted window does; lives on the control thread.
struct Inbox {
  explicit Inbox(const asio::any_io_executor& executor, std::function<void(Window)> to) : emit(std::move(to)), changed(executor) {}
  std::function<void(Window)> emit;
  Wake changed;
  bool finished = false;
  std::exception_ptr error;
};

Task<> drive(LoginTransport& transport, Generator& generator) {
  co_await transport.open();
  co_await generator.run();
  co_await transport.close();
}

// Thread: made and destroyed on the control thread; work() is the worker's.
class Worker {
 public:
  Worker(LoadPlan plan, TransportFactory sockets, TimePoint origin, asio::any_io_executor control, std::shared_ptr<Inbox> inbox)
      : spins_(worth_spinning(plan.schedule.most_per_second())),
        transport_(sockets(clock_)),
        generator_(clock_, std::move(plan), *transport_, origin,
                   [control, inbox](LoadWindow window) { asio::post(control, [inbox, json = to_json(window)]() mutable { inbox->emit(std::move(json)); }); },
                   spins_ ? &spinning_ : nullptr, thread_cpu_time),
        thread_([this, control, inbox] { work(control, inbox); }) {}

  // Waits for the logins under way (at most their timeout): their coroutines use what dies here.
  ~Worker() {
    stop();
    thread_.join();
  }

  void stop() {
    asio::post(io_, [this] { generator_.stop(); });
  }

  void set_load(double share) {
    asio::post(io_, [this, share] { generator_.set_load(share); });
  }

 private:
  void work(const asio::any_io_executor& control, const std::shared_ptr<Inbox>& inbox) {
    ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);  // of this thread: timers to the nanosecond instead of 50 us late
    std::exception_ptr error;
    asio::co_spawn(io_, drive(*transport_, generator_), [&error](std::exception_ptr problem) { error = problem; });
    try {
      io_.run();
    } catch (...) {
      error = std::current_exception();
    }
    asio::post(control, [inbox, error] {
      inbox->error = error;
      inbox->finished = true;
      inbox->changed.notify();
    });
  }

  asio::io_context io_{1};
  SystemClock clock_;
  SpinningClock spinning_{clock_};
  const bool spins_;
  std::unique_ptr<LoginTransport> transport_;
  Generator generator_;
  std::thread thread_;  // last: it uses all of the above
};

class ThreadedProbe final : public Probe {
 public:
  ThreadedProbe(ProbeContext context, LoadPlan plan, TransportFactory sockets) : context_(std::move(context)), plan_(std::move(plan)), sockets_(std::move(sockets)) {}
  ~ThreadedProbe() override {
    worker_.reset();
    if (inbox_) inbox_->emit = [](const Window&) {};
  }

  Task<> run() override {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    const auto control = co_await asio::this_coro::executor;
    inbox_ = std::make_shared<Inbox>(control, context_.emit);
    worker_ = std::make_unique<Worker>(plan_, sockets_, context_.start, control, inbox_);
    if (stopped_) worker_->stop();
    while (!inbox_->finished) {
      co_await inbox_->changed.wait();
    }
    worker_.reset();
    if (inbox_->error) std::rethrow_exception(inbox_->error);
  }

  void stop() override {
    stopped_ = true;
    if (worker_) worker_->stop();
  }
  void set_load(double share) override {
    if (worker_) worker_->set_load(share);
  }

 private:
  ProbeContext context_;
  LoadPlan plan_;
  TransportFactory sockets_;
  std::shared_ptr<Inbox> inbox_;
  std::unique_ptr<Worker> worker_;
  bool stopped_ = false;
};

class SimulatedProbe final : public Probe {
 public:
  SimulatedProbe(ProbeContext context, LoadPlan plan)
      : context_(std::move(context)),
        transport_(context_.transport(context_)),
        generator_(*context_.clock, std::move(plan), *transport_, context_.start, [this](const LoadWindow& window) { context_.emit(to_json(window)); }) {}

  Task<> run() override { return drive(*transport_, generator_); }
  void stop() override { generator_.stop(); }
  void set_load(double share) override { generator_.set_load(share); }

 private:
  ProbeContext context_;
  std::unique_ptr<LoginTransport> transport_;
  Generator generator_;
};

}  // namespace

std::unique_ptr<Probe> make_load_probe(ProbeContext context, LoadPlan plan, TransportFactory sockets) {
  if (context.transport) return std::make_unique<SimulatedProbe>(std::move(context), std::move(plan));
  return std::make_unique<ThreadedProbe>(std::move(context), std::move(plan), std::move(sockets));
}

}  // namespace capsize
