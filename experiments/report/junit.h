// junit.xml: a run as a CI server reads it. One test suite a run; one test case an expectation, one for the recovery, one for the residue
// and one for "could it be judged at all".
//
// An expectation that is missed is a failure. One that cannot be told is skipped, with the reason: it neither held nor failed. So that a
// suite of skipped cases never passes for a good night, a run that gives no answer (inconclusive, invalid, aborted) is an error of its own
// case, and residue is an error: the run, not the system, needs a person.
#pragma once
#include <string>

#include "injector/base/json.h"

namespace capsize {

std::string junit_report(const Json& verdict);  // pure

}  // namespace capsize
