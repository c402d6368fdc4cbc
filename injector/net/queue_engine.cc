#include "injector/net/queue_engine.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "injector/base/error.h"
#include "injector/net/dns_query.h"
#include "injector/net/packet_bytes.h"
#include "injector/netlink/retired_sockets.h"

namespace capsize {
namespace {

constexpr std::uint32_t kUnread = 1 << 17;        // packets that the kernel may keep while our thread waits for a processor
constexpr double kMostPacketsPerSecond = 200'000; // more than one thread can pass
constexpr std::size_t kLeastHeld = 16 << 10;
constexpr std::size_t kMostHeld = 128 << 10;
constexpr std::size_t kMostHeldBytes = 256 << 20; // of copies, which are ours; the packets themselves are the kernel's
constexpr std::uint32_t kDnsCopy = 4096;          // bytes: more than any query
constexpr int kReadsInARow = 8;                   // batches, before what is due has its turn
// Packets are let go this much early: about what it takes to wake up, so that the error is spread around nothing.
constexpr Duration kEarly = std::chrono::microseconds(40);
constexpr int kPriority = 1;                      // of real time: before all ordinary work, behind all other work of that kind
constexpr Duration kFlood = std::chrono::milliseconds(20);  // at work for so long without a pause
constexpr Duration kPause = std::chrono::microseconds(20);
constexpr timespec kQuiet{0, 500'000};            // without a packet for so long, none is on its way any more
constexpr int kMostQuietWaits = 2000;
constexpr int kMostReadsToPass = 1000;

// What keeps a delay exact on a busy host: mean error at 10 ms beside eight busy processes 0.01 ms with it, 0.1 to 0.6 ms without. Only for
// as long as the thread sleeps between packets: under a flood it would take a processor from the undo too, and then it is ordinary work.
class PromptWakeUps {
 public:
  void slept(TimePoint until) {
    busy_since_ = until;
    if (!prompt_) set(true);
  }
  void busy(TimePoint now) {
    if (prompt_ && now - busy_since_ > kFlood) set(false);
  }

 private:
  void set(bool prompt) {
    prompt_ = prompt;
    sched_param param{};
    param.sched_priority = prompt ? kPriority : 0;
    ::sched_setscheduler(0, (prompt ? SCHED_FIFO : SCHED_OTHER) | SCHED_RESET_ON_FORK, &param);  // where we may not, we are merely later
  }
  TimePoint busy_since_{};
  bool prompt_ = false;
};

bool holds(const PacketEffect& effect) { return longest_delay(effect) > Duration::zero(); }

}  // namespace

QueueSetup queue_setup(const PacketEffect& effect) {
  QueueSetup setup;
  setup.most_packets = static_cast<std::uint32_t>(most_held(effect)) + kUnread;
  setup.whole_segments = effect.delay && !effect.loss && !effect.duplicate && !effect.corrupt && !effect.reorder;
  if (effect.dns) setup.copy_bytes = kDnsCopy;
  if (effect.duplicate || effect.corrupt) setup.copy_bytes = kMostCopiedBytes;
  return setup;
}

std::size_t most_held(const PacketEffect& effect) {
  if (!holds(effect)) return kLeastHeld;
  const double wanted = 2 * kMostPacketsPerSecond * seconds(longest_delay(effect));
  return std::clamp(static_cast<std::size_t>(std::min(wanted, 1e9)), kLeastHeld, kMostHeld);
}

// Everything that happens to packets. Thread: the engine's.
class QueueEngine::Loop {
 public:
  Loop(QueueEngine& engine, QueuePlan plan, PacketQueue queue, std::unique_ptr<PacketSender> sender)
      : engine_(engine), counters_(engine.counters_), plan_(std::move(plan)), queue_(std::move(queue)), sender_(std::move(sender)), dice_(plan_.effect, plan_.seed), bits_(Rng(plan_.seed).stream("bits")) {
    held_.reserve(kLeastHeld);
  }

  void run() {
    for (;;) {
      wait();
      if (engine_.state_.load(std::memory_order_acquire) == State::working) passing_ = false;
      for (int reads = 0; reads < kReadsInARow && (take_in(), queue_.more_to_receive()); ++reads) let_go(clock_.now() + kEarly);
      let_go(clock_.now() + kEarly);
      queue_.flush();
      if (follow_orders()) return;
    }
  }

 private:
  struct Waiting {
    TimePoint due;
    std::uint64_t order = 0;
    std::uint32_t id = 0;  // 0: a copy, not a packet of the queue
    std::uint32_t device = 0;
    bool drop = false;
    TimePoint arrived;
    std::unique_ptr<PacketBytes> bytes;  // of a copy, or in place of the packet's own
  };
  static bool later(const Waiting& a, const Waiting& b) { return a.due != b.due ? a.due > b.due : a.order > b.order; }

  void wait() {
    const TimePoint before = clock_.now();
    prompt_.busy(before);
    if (queue_.more_to_receive()) return;
    const TimePoint wake = held_.empty() ? TimePoint::max() : held_.front().due - kEarly;
    if (wake != armed_) {
      if (held_.empty()) {
        alarm_.clear();
      } else {
        alarm_.set(wake);
      }
      armed_ = wake;
    }
    std::array<pollfd, 3> sources = {{{queue_.fd(), POLLIN, 0}, {alarm_.fd(), POLLIN, 0}, {engine_.wake_.get(), POLLIN, 0}}};
    if (::ppoll(sources.data(), sources.size(), nullptr, nullptr) < 0 && errno != EINTR) throw system_error(errno, "packets could not be waited for");
    const TimePoint after = clock_.now();
    if (after - before > kPause) prompt_.slept(after);
  }

  // Takes in one batch. True when there were packets.
  bool take_in() {
    const QueueNews& news = queue_.receive();
    const TimePoint now = clock_.now();
    for (const QueuedPacket& packet : news.packets) {
      // An id left out: its message found no room, and the kernel let the packet pass.
      if (next_id_ != 0 && packet.id != next_id_) counters_.overflowed += packet.id - next_id_;
      next_id_ = packet.id + 1;
      if (!passing_) {
        meet(packet, now);
      } else {
        queue_.accept(packet.id);
      }
    }
    for (const QueueComplaint& complaint : news.complaints) {
      if (complaint.type == kVerdictMessage && complaint.error == ENOENT) ++counters_.lost_by_us;
    }
    return !news.packets.empty();
  }

  void meet(const QueuedPacket& packet, TimePoint now) {
    if (plan_.effect.dns && meet_query(packet, now)) return;
    const PacketFate fate = dice_.next(now);
    if (held_.size() >= plan_.most_held) {
      ++counters_.overflowed;
      queue_.accept(packet.id);
      return;
    }
    const bool whole = !packet.bytes.empty() && packet.whole_length == 0;
    Waiting own{fate.due, ++order_, packet.id, 0, fate.lost, now, nullptr};
    if (fate.duplicated && whole) hold({fate.copy_due, ++order_, 0, packet.in_device, false, now, copy(packet)});
    if (fate.corrupted && whole) {
      auto bytes = copy(packet);
      if (bytes && flip_one_bit(*bytes, bits_)) {
        own.bytes = std::move(bytes);
        ++counters_.corrupted;
      }
    }
    if (!fate.lost && fate.due < latest_ && latest_ > now) ++counters_.reordered;
    latest_ = std::max(latest_, fate.due);
    hold(std::move(own));
  }

  // True: it was a query for one of the names, and its fate is settled.
  bool meet_query(const QueuedPacket& packet, TimePoint now) {
    const auto layout = lay_out(packet.bytes);
    if (!layout || layout->protocol != IPPROTO_UDP || layout->later_fragment) return false;
    const auto message = packet.bytes.subspan(layout->payload, layout->end - layout->payload);
    const auto query = read_dns_query(message);
    const DnsEffect& dns = *plan_.effect.dns;
    if (!query || !names_match(dns.names, query->name)) return false;
    if (dns.answer == DnsAnswer::delay) {
      hold({now + dns.delay, ++order_, packet.id, 0, false, now, nullptr});
      return true;
    }
    if (dns.answer != DnsAnswer::silence) {
      const auto answer = answer_dns_query(message, *query, dns.answer == DnsAnswer::nxdomain ? kDnsNxdomain : kDnsServfail);
      if (sender_->send(udp_answer(packet.bytes, *layout, answer), packet.in_device)) ++counters_.answered;
    }
    ++counters_.dropped;
    queue_.drop(packet.id);
    return true;
  }

  // Nothing when so many bytes are held already that the memory of the host is at stake.
  std::unique_ptr<PacketBytes> copy(const QueuedPacket& packet) {
    if (held_bytes_ + packet.bytes.size() > kMostHeldBytes) {
      ++counters_.overflowed;
      return nullptr;
    }
    return std::make_unique<PacketBytes>(packet.bytes.begin(), packet.bytes.end());
  }

  void hold(Waiting packet) {
    if (packet.id == 0 && !packet.bytes) return;
    if (packet.bytes) held_bytes_ += packet.bytes->size();
    held_.push_back(std::move(packet));
    std::push_heap(held_.begin(), held_.end(), later);
  }

  void let_go(TimePoint until) {
    while (!held_.empty() && held_.front().due <= until) {
      std::pop_heap(held_.begin(), held_.end(), later);
      let_go(held_.back());
      held_.pop_back();
    }
  }

  void let_go(const Waiting& packet) {
    if (packet.bytes) held_bytes_ -= packet.bytes->size();
    if (packet.id == 0) {
      queue_.flush();  // the first before the copy
      if (sender_->send(*packet.bytes, packet.device)) ++counters_.duplicated;
      return;
    }
    if (packet.drop) {
      ++counters_.dropped;
      queue_.drop(packet.id);
      return;
    }
    if (packet.due > packet.arrived) {
      ++counters_.delayed;
      counters_.delay_sum += (clock_.now() - packet.arrived).count();
    }
    if (packet.bytes) {
      queue_.accept_as(packet.id, *packet.bytes);
    } else {
      queue_.accept(packet.id);
    }
  }

  // True: the end.
  bool follow_orders() {
    const State state = engine_.state_.load(std::memory_order_acquire);
    if (state == State::working || state == State::passing) return false;
    std::uint64_t ignored = 0;
    [[maybe_unused]] const auto read = ::read(engine_.wake_.get(), &ignored, sizeof ignored);
    let_go(TimePoint::max());
    queue_.flush();
    passing_ = true;
    // What came meanwhile goes before what comes next, which may not come through here any more.
    for (int reads = 0; reads < kMostReadsToPass && take_in(); ++reads) queue_.flush();
    if (state == State::letting_go) {
      engine_.state_.store(State::passing, std::memory_order_release);
      engine_.state_.notify_all();
      return false;
    }
    pass_the_rest();
    engine_.ended_ = queue_.end();
    return true;
  }

  // The rules send nothing here any more; a packet may be on its way on another processor.
  void pass_the_rest() {
    for (int waits = 0; waits < kMostQuietWaits; ++waits) {
      while (take_in()) queue_.flush();
      pollfd source{queue_.fd(), POLLIN, 0};
      if (::ppoll(&source, 1, &kQuiet, nullptr) == 0) return;
    }
  }

  QueueEngine& engine_;
  Counters& counters_;
  const QueuePlan plan_;
  PacketQueue queue_;
  std::unique_ptr<PacketSender> sender_;
  PacketDice dice_;
  Rng bits_;
  SystemClock clock_;
  Alarm alarm_;
  PromptWakeUps prompt_;
  TimePoint armed_ = TimePoint::max();
  std::vector<Waiting> held_;  // a heap: the next one due in front
  std::size_t held_bytes_ = 0;
  std::uint64_t order_ = 0;
  std::uint32_t next_id_ = 0;
  TimePoint latest_{};
  bool passing_ = false;
};

QueueEngine::QueueEngine(QueuePlan plan, PacketQueue queue, std::unique_ptr<PacketSender> sender)
    : place_(plan.place), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_) throw system_error(errno, "an event descriptor could not be made");
  CAPSIZE_CHECK(sender != nullptr || !(plan.effect.duplicate || plan.effect.dns));
  // Signals are the control thread's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this, plan = std::move(plan), queue = std::move(queue), sender = std::move(sender)]() mutable { work(std::move(plan), std::move(queue), std::move(sender)); });
  } catch (const std::system_error& problem) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw system_error(problem.code().value(), "a thread for held packets could not be started");
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  engines().push_back(this);
}

QueueEngine::~QueueEngine() {
  std::erase(engines(), this);
  stop();
}

std::vector<QueueEngine*>& QueueEngine::engines() {
  static std::vector<QueueEngine*> all;
  return all;
}

void QueueEngine::work(QueuePlan plan, PacketQueue queue, std::unique_ptr<PacketSender> sender) noexcept {
  ::pthread_setname_np(::pthread_self(), "capsize-queue");
  try {
    Loop(*this, std::move(plan), std::move(queue), std::move(sender)).run();
  } catch (const std::exception& problem) {
    broke_ = problem.what();
    broken_.store(true, std::memory_order_release);
  }
  state_.store(State::ended, std::memory_order_release);
  state_.notify_all();
}

EngineCounts QueueEngine::counts() const {
  if (broken_.load(std::memory_order_acquire)) throw Error(ErrorKind::unavailable, "packets are not held any more: " + broke_, "look at the kernel's log");
  return {counters_.dropped,    counters_.delayed,    counters_.duplicated, counters_.corrupted, counters_.reordered, counters_.answered,
          counters_.overflowed, counters_.lost_by_us, Duration(counters_.delay_sum.load())};
}

void QueueEngine::ask_for(State state) noexcept {
  State now = state_.load(std::memory_order_acquire);
  if (now == State::ended || !state_.compare_exchange_strong(now, state)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void QueueEngine::pass_through() noexcept {
  if (state_.load(std::memory_order_acquire) != State::working) return;
  ask_for(State::letting_go);
  state_.wait(State::letting_go, std::memory_order_acquire);
}

void QueueEngine::resume() noexcept {
  State passing = State::passing;
  state_.compare_exchange_strong(passing, State::working);  // seen with the next packet
}

void QueueEngine::stop() noexcept {
  if (!thread_.joinable()) return;
  ask_for(State::stopping);
  thread_.join();
  try {
    retire(std::move(ended_));
  } catch (const std::exception&) {  // no memory: it was closed
  }
}

QueuesGiveWay::QueuesGiveWay(std::uint64_t place) noexcept : place_(place) {
  for (QueueEngine* engine : QueueEngine::engines()) {
    if (engine->place_ == place_) engine->pass_through();
  }
}

QueuesGiveWay::~QueuesGiveWay() {
  for (QueueEngine* engine : QueueEngine::engines()) {
    if (engine->place_ == place_) engine->resume();
  }
}

}  // namespace capsize
