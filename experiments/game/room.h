// The people in the room: notes and questions go to them by the timeline, and their answers come back. It runs beside the phases of a run:
// nothing waits for an answer, and the end of the run closes what is still open.
#pragma once
#include <boost/asio/cancellation_signal.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/playbook.h"
#include "injector/base/clock.h"
#include "injector/base/task.h"

namespace capsize {

inline constexpr std::size_t kMaxAnswerBytes = 1000;
inline constexpr std::size_t kMaxLinesOfRoom = 2000;  // of one run; more are not kept

// Of the file of --answers: what a person would have said.
struct ScriptedAnswer {
  std::string to;     // name of a question
  Duration after{};   // since it was asked
  std::string text;
};

// Where lines of people come in. Whoever reads them calls `on_line`, which the run sets while it goes on. Thread: control.
struct Room {
  std::function<void(const std::string& line)> on_line;
};

// Plays the steps of a playbook. Thread: control.
class RoomSteps {
 public:
  using Record = std::function<void(std::string event, Json fields)>;

  // `room` may be null: then only `script` answers. The playbook, the clock and the room outlive it.
  RoomSteps(const Playbook& playbook, std::vector<ScriptedAnswer> script, Room* room, Clock& clock, Record record);
  ~RoomSteps();
  RoomSteps(const RoomSteps&) = delete;
  RoomSteps& operator=(const RoomSteps&) = delete;

  // Its steps begin to count, and what the phase before it has not asked yet is never asked. Returns at once.
  void phase_begins(Span phase, const asio::any_io_executor& executor);
  // The phase is over, or the run was stopped: what has not been asked yet is never asked.
  void no_more();
  // Closes every question. When it returns nothing of this runs any more. Takes no time.
  Task<> end();

 private:
  struct Playing {
    const RoomStep* step = nullptr;
    TimePoint asked;
    bool running = false;
    bool open = false;
    std::size_t answers = 0;
    asio::cancellation_signal cancel;
  };
  Task<> play(std::size_t index, TimePoint start);
  bool ask(Playing& playing);  // false: there is nobody to answer
  void hear(Playing& playing, const std::string& text);
  void close(Playing& playing, const std::string& because);
  void on_line(const std::string& line);
  Playing* meant_by(const std::string& line, std::string& text);
  std::string kept(const std::string& text) const;

  const Playbook& playbook_;
  std::vector<ScriptedAnswer> script_;
  Room* room_;
  Clock& clock_;
  Record record_;
  std::vector<std::unique_ptr<Playing>> playing_;  // as Playbook::steps
  std::vector<Playing*> asked_;                    // in the order of asking
  std::size_t lines_ = 0;
  std::size_t running_ = 0;
};

}  // namespace capsize
