// What a game day came to: how long until somebody noticed, until the first and the right hypothesis, until something was done about it, and
// until the system was well again. Pure, from the timeline alone.
#pragma once
#include <vector>

#include "experiments/evidence.h"
#include "experiments/playbook.h"
#include "injector/base/json.h"

namespace capsize {

// For verdict.json; null where the run asked nothing and was not sealed, or was never told. `recovery` as in the verdict.
//
//   began      seconds since the start of the run when the (sealed) fault was in place; null: it never was
//   felt       seconds after that when the steady state was first clearly missed; null: it never was
//   detected, first_hypothesis, right_hypothesis, mitigation, recovery
//              each {"seconds" after `began` or null, "because", "asked"}; with the answer's "text" where it is one. "asked": false: no
//              question that scores it was asked of anybody, so that nobody failed to say it
//   false_alarms  answers that said "detected" before there was anything
//   hypotheses [{"after", "question", "text", "judged": "right" | "wrong" | "several" | "unknown"}]: several causes named at once, or no
//              sealed cause to judge by
Json game_score(const Playbook& playbook, const std::vector<Json>& events, const Evidence& evidence, const Json& recovery);

// Of a sealed run: commitment, causes (how many), and once it is told name, cause, opening and whether the opening is what the commitment
// promised ("matches"). Null where the run was not sealed.
Json sealed_json(const std::vector<Json>& events);

// Of that: the run was sealed, and its record ends before it is told what it did (the runner was killed).
bool untold(const Json& sealed);

// Every question with its answers, in order: [{"question","text","asked","answers":[{"t","after","text"}],"unanswered"}].
Json questions_json(const std::vector<Json>& events);

}  // namespace capsize
