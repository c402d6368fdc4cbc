// The verdict: a pure function of playbook and recorded timeline. It has more than two answers: a tool that cannot know says so.
#pragma once
#include <string>
#include <vector>

#include "experiments/evidence.h"
#include "experiments/playbook.h"

namespace capsize {

enum class Outcome { held, refuted, unrecovered, inconclusive, invalid, aborted, residue };  // their values are the exit codes (pinned)
std::string_view to_string(Outcome outcome);
inline int exit_code(Outcome outcome) { return static_cast<int>(outcome); }

// verdict.json (pinned; see docs/reports.md).
Json judge(const Playbook& playbook, const std::vector<Json>& events);

// Whether what has been recorded so far ends `unrecovered`, metastable: when the escape test may begin. `playbook`: opened, where it was sealed.
bool ends_metastable(const Playbook& playbook, const std::vector<Json>& events);

}  // namespace capsize
