// junit.xml: a run as a CI server reads it. One test suite a run; one test case an expectation, one a fault (did it bite), one an undo, one
// for the recovery, one for the residue and one for "could it be judged at all".
//
// A failure is an answer: an expectation was missed, the system did not come back, a guardrail or an operator had to stop it, something was
// left behind. An error is no answer: the run was invalid or inconclusive, or did not begin. An expectation that cannot be told is skipped,
// with the reason: it neither held nor failed; and so that a suite of skipped cases never passes for a good night, that there was no answer
// is an error of its own case.
#pragma once
#include <string>

#include "injector/base/json.h"

namespace capsize {

std::string junit_report(const Json& verdict);  // pure
// A suite whose one case is an error: the run ended with this exit code and without a verdict. Pure.
std::string junit_of_no_run(const std::string& playbook, int code, const std::string& because);

}  // namespace capsize
