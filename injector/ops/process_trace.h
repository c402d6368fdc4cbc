// The threads of one process, traced and stopped: the kernel lets them go when we die, however we die.
//
// Only the thread that traces may ask for anything: all of this runs on the control thread. Nobody in this process may wait for *any*
// child (waitpid(-1)), or the reports of the threads held here would be lost.
#pragma once
#include <cstddef>
#include <map>
#include <memory>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/task.h"
#include "injector/targets/process.h"

namespace capsize {

inline constexpr Duration kTraceServiceEvery = std::chrono::milliseconds(20);  // how often service() is due while anything is held

class TracedProcess {
 public:
  explicit TracedProcess(TargetProcess process);
  ~TracedProcess() { let_go(); }
  TracedProcess(const TracedProcess&) = delete;
  TracedProcess& operator=(const TracedProcess&) = delete;

  // Seizes what is not yet seized. Throws Error when it may not.
  void seize_threads();
  // No thread but ours. A listing cannot say so: it misses a thread that was made by one that ended while we listed; their number does not.
  bool has_all() const;
  // Takes what the kernel reports of our tracees, so that an ended one does not stay behind as ours, unseen by its parent.
  void service() noexcept;
  void let_go() noexcept;

  void frozen() { frozen_ = true; }
  bool done() const { return tracees_.empty() && (frozen_ || letting_go_); }

  // Threads that do not run: stopped, or asleep in the kernel, to stop at its door when they wake.
  bool all_still() const;
  std::size_t asleep_in_kernel() const;
  std::size_t size() const { return tracees_.size(); }

 private:
  struct Tracee {
    bool stopped = false;
    bool ours = false;  // proven, once stopped, to be a thread of the process
    int signal = 0;  // stopped on its way to the process: goes on to it when we let go
  };

  char state_of(int tid) const;
  bool is_ours(int tid) const noexcept;
  void seize(int tid);
  bool is_end_of_own_child(int tid) const noexcept;
  void stopped(Tracee& tracee, int tid, int status) noexcept;
  bool detach(int tid, const Tracee& tracee) noexcept;

  TargetProcess process_;
  ProcFs proc_;
  std::map<int, Tracee> tracees_;
  std::vector<int> newborn_;
  bool own_child_ = false;
  bool ended_leader_ = false;
  bool frozen_ = false;
  bool letting_go_ = false;
};

// Serves it until nothing is held any more, also when nobody else has it: a thread that was told to stop can be let go only once it has.
Task<> keep_serving(std::shared_ptr<TracedProcess> traced, Clock& clock);

}  // namespace capsize
