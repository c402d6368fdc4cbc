// The file of `capsize run --answers FILE`: what the people in the room would say, for runs that nobody watches.
//
//   { "answers": [ { "to": "cause", "after": "8s", "text": "the database is slow" } ] }
#pragma once
#include <string>
#include <vector>

#include "experiments/game/room.h"
#include "experiments/playbook.h"
#include "injector/base/diagnostics.h"

namespace capsize {

struct AnswersResult {
  std::vector<ScriptedAnswer> answers;
  Diagnostics diagnostics;  // located, in the order of the file; everything at once
};

// Pure. Held against the questions of `playbook`.
AnswersResult read_answers(const std::string& text, const Playbook& playbook);

}  // namespace capsize
