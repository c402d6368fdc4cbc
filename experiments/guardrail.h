// Watches one guardrail through the fault phase: a sequential test, so that looking often does not make an abort by mere chance likely.
//
// It looks every 250 ms at the last stretch of the guardrail's own "for", and of twice, four times ... as long. Each look tests "the measure
// is not beyond the bound over this stretch" exactly (Clopper-Pearson; order statistics for quantiles), at the level kFalseAbort divided by
// how many such looks the phase has room for. So by the union bound, over the whole phase and however the system changes in it, a stretch
// in which the bound was met on the whole aborts the run with a probability of at most kFalseAbort. Counted measures (queues, counts) have
// no chance in them, and are compared as they are, second by second; where the looks of a probe lie further apart, the one before the stretch
// must be beyond it, too: a single look does not show that anything lasted. A bound relative to the baseline is in doubt itself: half of kFalseAbort
// goes to the baseline's interval, half to the looks.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "experiments/evidence.h"
#include "experiments/playbook.h"

namespace capsize {

inline constexpr double kFalseAbort = 0.001;  // of one guardrail, over one run

class GuardrailWatch {
 public:
  // `phase`: how long it will watch.
  GuardrailWatch(const Guardrail& guardrail, Duration phase);

  // Why the run must stop, if so. `fault`: the phase so far; only complete windows in it count. While the last
  // "for" is not beyond the bound, a look costs one measure of it; else twice that, and the longer stretches.
  std::optional<std::string> look(const Evidence& evidence, Stretch fault);

  double level() const { return level_; }  // of each look
  double longest(Duration phase) const;    // seconds: the longest stretch it tests, of a phase that is as long as its "for" at least

 private:
  std::optional<double> limit(const Evidence& evidence) const;
  bool breached(const Measured& measured, double limit, double each_side) const;
  bool clearly_well(const Measured& measured, double limit) const;
  bool was_so(const Evidence& evidence, double limit, Stretch stretch) const;

  Guardrail guardrail_;
  double lasting_;        // seconds, at least 1
  double level_;
  double looked_at_ = -1;  // where the last look ended
};

// For `lasting` of less load from now on: of the guardrails those that the system, which is bad already, is not beyond anyway, by the estimate, and
// that less load does not breach of itself, as a least rate.
std::vector<GuardrailWatch> watches_after(const Evidence& evidence, Duration lasting);

}  // namespace capsize
