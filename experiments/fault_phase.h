// The faults of a run, each in its time: injected one after the other, seen to bite, and undone. What is awaited of one of them keeps no
// other's undo waiting.
#pragma once
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "experiments/playbook.h"
#include "experiments/runner.h"
#include "experiments/stop.h"

namespace capsize {

// Thread: control.
class FaultPhase {
 public:
  using Record = std::function<void(std::string event, Json fields)>;

  // All of them outlive it.
  FaultPhase(const Playbook& playbook, PreparedRun& prepared, Clock& clock, StopSource& stop, Record record);

  // The playbook's fault phase, from `start`; it lasts longer where an injection is under way at its end. Faults that end with it are left to
  // revert(), which must follow whatever comes of this: what is under way is told to end, and not waited for. Throws Error.
  Task<> play(TimePoint start);
  // Undoes what is left, newest first, and says of every step that was begun what became of it. Not to be cancelled. When it returns
  // nothing of this runs any more.
  Task<> revert();

 private:
  enum class State { waiting, injecting, active, over };
  struct Fault {
    State state = State::waiting;
    std::vector<StepId> steps;  // applied or begun, in order; without those whose undo is recorded
    Json before;                // answer of `observe` right before the first apply
    TimePoint next_effect;
  };

  struct Work {  // beside the time that play() keeps
    bool going = false;
    asio::cancellation_signal stop;
  };

  Task<> keep_time(TimePoint start, TimePoint end);
  TimePoint next_event(TimePoint start, TimePoint end) const;
  void begin_due(TimePoint start);
  void begin(Work& work, Task<> task);
  Task<> wait_for_news();
  Task<> join();
  Task<Json> observe(std::size_t index);
  Task<> inject(std::size_t index);
  Task<> measure_effects(bool last);
  Task<> measure_effect(std::size_t index);
  bool due_to_end(std::size_t index, TimePoint start, TimePoint phase_end) const;
  Task<> end_due(TimePoint start, TimePoint phase_end);
  Task<> undo_fault(std::size_t index);
  void record_undo(const UndoReport& report);

  const Playbook& playbook_;
  PreparedRun& prepared_;
  Clock& clock_;
  StopSource& stop_;
  Record record_;
  std::vector<Fault> faults_;
  std::set<StepId> left_;  // whose last undo was refused or failed

  Work changing_;  // one injection, or one round of measuring
  Work ending_;
  bool injecting_ = false;
  std::optional<asio::steady_timer> news_;  // expires when one of them is over
  std::exception_ptr problem_;              // of the first that failed
};

}  // namespace capsize
