// The part of the reader for "escape".
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/aftermath.h"
#include "experiments/load_escape.h"
#include "experiments/playbook_reader.h"
#include "experiments/power.h"
#include "experiments/recovery.h"

namespace capsize {

void PlaybookReader::read_escape(const Json& escape) {
  const EscapeKeys keys = parse(escape_spec(), escape, "/escape");
  EscapeTest& test = out_.escape.emplace();
  test.steps = keys.steps;
  test.hold = keys.hold.value_or(2 * out_.timing.settle);
  if (!has_faults_) diagnostics_.add_key("/escape", "there is nothing to escape from: the playbook has no faults", "leave it out, or add a fault");
  if (test.hold < out_.timing.settle) {
    wrong("/escape/hold", {fmt::format("hold ({}) is shorter than timing.settle ({}): nothing could count as escaped", show(test.hold), show(out_.timing.settle)), "make it as long, or longer"});
  }
  if (std::none_of(out_.probes.begin(), out_.probes.end(), [](const auto& probe) { return is_login_load(probe.second); })) {
    diagnostics_.add_key("/escape", "there is no load to lower: no probe but suspects logs in", "leave it out, or add a probe that logs in and is no \"suspect\"");
  }
  if (out_.timing.recovery < kWatchedForKind) {
    diagnostics_.warn("/escape", fmt::format("a recovery of {} is watched too briefly to be called metastable, so the test never begins", show(out_.timing.recovery)),
                      fmt::format("make timing.recovery {} or longer", show(kWatchedForKind)));
  }
}

// What only the whole playbook tells.
void PlaybookReader::check_escape_power() {
  if (!out_.escape || !diagnostics_.ok()) return;
  const auto steady = steady_at_any_load(out_);
  if (steady.empty()) {
    diagnostics_.add_key("/escape", "no expectation of the steady state can be met by a smaller load", "add one to \"steady_state\" that is no least rate or count, as of a success_ratio");
    return;
  }
  const double least = out_.escape->steps.back().value;
  const double from = seconds(out_.timing.baseline + out_.fault_phase() + out_.timing.recovery);
  for (const Expectation& expectation : steady) {
    const auto type = probe_types_.find(expectation.probe);
    const auto use = out_.probes.find(expectation.probe);
    if (type == probe_types_.end() || type->second == nullptr || use == out_.probes.end() || !is_login_load(use->second)) continue;
    const MeasureInfo* info = find_measure(*type->second, expectation.measure);
    const auto planned = planned_samples(out_, *type->second, expectation);
    if (info == nullptr || !planned) continue;
    const double hold = seconds(out_.escape->hold);
    const auto samples = static_cast<std::uint64_t>(std::floor(least * fewest_planned(*planned, from, from + hold * static_cast<double>(out_.escape->steps.size()), hold)));
    if (enough_to_settle(expectation, info->kind, samples)) continue;
    diagnostics_.warn("/escape", fmt::format("at {:.4g} % of the load there are {} logins in {}, too few to tell {} from chance", least * 100, samples, show(out_.escape->hold), printable(describe(expectation), 60)),
                      "make \"hold\" longer, or the last step larger");
    return;
  }
}

}  // namespace capsize
