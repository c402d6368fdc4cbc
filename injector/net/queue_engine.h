// Holds, drops, changes, doubles and answers the packets of one kernel queue, on a thread of its own: the control thread syncs journals to
// disk meanwhile, and a packet must not wait for that. Shares nothing with it but counters and a state.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "injector/base/clock.h"
#include "injector/net/packet_dice.h"
#include "injector/net/packet_sender.h"
#include "injector/netlink/packet_queue.h"

namespace capsize {

struct QueuePlan {
  PacketEffect effect;
  std::uint64_t seed = 1;
  std::size_t most_held = 0;  // packets; beyond it they pass untouched
  std::uint64_t place = 0;    // inode of the network namespace
};

// When a base chain is deleted, the kernel drops what every queue of the network namespace holds. As long as this lives, the queues of this
// process there hold nothing: whoever deletes a chain makes one first. They are early for a moment, rather than lossy. Thread: control.
class QueuesGiveWay {
 public:
  explicit QueuesGiveWay(std::uint64_t place) noexcept;
  ~QueuesGiveWay();
  QueuesGiveWay(const QueuesGiveWay&) = delete;
  QueuesGiveWay& operator=(const QueuesGiveWay&) = delete;

 private:
  std::uint64_t place_;
};

// How the queue for an effect is set up: the large packets of segmentation offload stay whole only where packets are merely delayed, and
// are copied only where their bytes matter.
QueueSetup queue_setup(const PacketEffect& effect);
std::size_t most_held(const PacketEffect& effect);

struct EngineCounts {
  std::uint64_t dropped = 0, delayed = 0, duplicated = 0, corrupted = 0, reordered = 0, answered = 0, overflowed = 0, lost_by_us = 0;
  Duration delay_sum{};  // of `delayed`
};

// Thread: control; the packets' own thread is inside.
class QueueEngine {
 public:
  // `sender` is needed by an effect that sends copies or answers.
  QueueEngine(QueuePlan plan, PacketQueue queue, std::unique_ptr<PacketSender> sender);
  ~QueueEngine();  // stop()
  QueueEngine(const QueueEngine&) = delete;
  QueueEngine& operator=(const QueueEngine&) = delete;

  // Throws Error when the engine broke: it has closed its queue then, and packets pass.
  EngineCounts counts() const;
  // Lets go what is held, in order, and every packet from now on as it comes. Returns when that is so.
  void pass_through() noexcept;
  void resume() noexcept;  // takes its effect up again after pass_through()
  // Waits until no packet comes any more, or a while; then ends the queue.
  void stop() noexcept;

 private:
  class Loop;
  enum class State : int { working, letting_go, passing, stopping, ended };
  struct Counters {
    std::atomic<std::uint64_t> dropped{0}, delayed{0}, duplicated{0}, corrupted{0}, reordered{0}, answered{0}, overflowed{0}, lost_by_us{0};
    std::atomic<std::int64_t> delay_sum{0};
  };

  friend class QueuesGiveWay;
  static std::vector<QueueEngine*>& engines();  // of this process; control thread only

  void work(QueuePlan plan, PacketQueue queue, std::unique_ptr<PacketSender> sender) noexcept;
  void ask_for(State state) noexcept;

  const std::uint64_t place_;
  Counters counters_;
  std::atomic<State> state_{State::working};
  std::string broke_;  // written before `broken_` is set
  std::atomic<bool> broken_{false};
  UniqueFd wake_;
  UniqueFd ended_;  // the socket of the queue, when the thread has ended
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace capsize
