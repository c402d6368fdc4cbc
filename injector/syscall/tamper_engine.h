// System calls of one process failed or delayed, by tracing it: the kernel lets it go when we die, however we die.
//
// A thread of its own traces, since only the thread that traces may ask for anything, and each call of the process waits for it. It gets an
// immutable plan, and gives counters out. It waits for its own tracees alone (__WNOTHREAD), never for another child of this process.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "injector/base/clock.h"
#include "injector/base/error.h"
#include "injector/targets/process.h"

namespace capsize {

struct TamperPlan {
  TargetProcess process;
  std::set<long> calls;   // numbers, of this machine's own architecture
  int error = 0;          // what a call answers instead of being carried out; 0: none
  Duration delay{};       // before a call is carried out
  double share = 1;       // of these calls
  std::uint64_t seed = 1;
};

struct TamperCounts {
  std::uint64_t calls = 0;      // of those meant
  std::uint64_t hit = 0;        // failed or delayed
  std::uint64_t all_calls = 0;  // of any kind, each of them stopped twice for a moment
  std::uint64_t delayed = 0;    // whose delay is over
  Duration delayed_by{};        // all of those together
  std::size_t threads = 0;      // traced now
};

class TamperEngine {
 public:
  // The thread begins at once. Thread of all calls but those of the engine itself: any one, the same.
  explicit TamperEngine(TamperPlan plan);
  ~TamperEngine() { stop(); }
  TamperEngine(const TamperEngine&) = delete;
  TamperEngine& operator=(const TamperEngine&) = delete;

  enum class State { starting, on, ended };
  State state() const { return shared_.state; }
  std::exception_ptr problem() const;  // why it ended by itself; null: the process has ended, or it was stopped
  TamperCounts counts() const;
  // Lets go of the process and ends the thread. Takes at most a quarter of a second, for threads asleep in the kernel; those the kernel lets
  // go when the thread has ended.
  void stop() noexcept;

  struct Shared {
    std::atomic<State> state{State::starting};
    std::atomic<bool> stopping{false};
    std::atomic<std::uint64_t> calls{0}, hit{0}, all_calls{0}, delayed{0}, delayed_ns{0}, threads{0};
    mutable std::mutex guard;  // of the problem, and of counters that are read together
    std::exception_ptr problem;
  };

 private:
  Shared shared_;
  std::thread thread_;
};

// Whether this build knows how to change the calls of this architecture.
bool can_tamper();

// Why no call of it can be made to fail.
Error filtered_calls(const TargetProcess& process);

}  // namespace capsize
