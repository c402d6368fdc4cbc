#include "experiments/load_escape.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/aftermath.h"
#include "experiments/recovery.h"
#include "probes/health.h"

namespace capsize {
namespace {

double login_load(const Evidence& evidence, Stretch stretch) {
  double out = 0;
  for (const auto& [name, use] : evidence.playbook().probes) {
    if (is_login_load(use)) out += scheduled_per_second(evidence, name, stretch);
  }
  return out;
}

std::optional<std::string> tester_problem(const Evidence& evidence, Stretch stretch) {
  for (const auto& [name, use] : evidence.playbook().probes) {
    if (!is_login_load(use)) continue;
    if (const auto problem = generator_problem(evidence.windows(name, stretch))) return fmt::format("the load generator of \"{}\" could not keep up: {}", name, *problem);
  }
  return std::nullopt;
}

EscapeStep step_of(const Evidence& evidence, std::size_t index, const std::optional<RetryAmplification>& retries, double& settled_after) {
  const auto& steps = evidence.load_steps();
  const double hold = seconds(evidence.playbook().escape->hold);
  const double until = index + 1 < steps.size() ? steps[index + 1].at : evidence.last();
  EscapeStep out;
  out.share = steps[index].share;
  out.held = {steps[index].at, std::clamp(std::min(until, evidence.complete_until()), steps[index].at, steps[index].at + hold)};
  out.load = login_load(evidence, out.held);
  if (retries) {
    if (const auto seen = evidence.measure(retries->probe, "retry_amplification", out.held)) out.retry_amplification = seen->value;
  }
  const Recovery found = find_settled(evidence, steady_at_any_load(evidence.playbook()), out.held, "the step began", out.held.to);
  settled_after = found.seconds;
  out.because = found.because;
  if (found.recovered) {
    out.steady = true;
  } else if (const auto problem = tester_problem(evidence, out.held)) {
    out.because = *problem;
  } else if (out.held.to - out.held.from < hold - 1e-9) {
    out.because = fmt::format("it was held for {} of {}", show_value(MeasureKind::duration, out.held.to - out.held.from), show_value(MeasureKind::duration, hold));
  } else if (!found.too_few) {
    out.steady = false;
    if (const std::string better = improving(evidence, out.held); !better.empty()) out.because += fmt::format("; {} was getting better: held for longer, this load may be enough", better);
  }
  return out;
}

std::string at_load(const EscapeStep& step) { return fmt::format("{:.1f} logins/s ({})", step.load, show_value(MeasureKind::ratio, step.share)); }

std::string words_of(const Escape& escape, const EscapeTest& test, const std::string& stopped) {
  if (escape.step) {
    const EscapeStep& step = escape.steps[*escape.step];
    const bool first = *escape.step == 0;
    const std::string above = first ? fmt::format("{:.1f} logins/s, the whole load", escape.full_load) : at_load(escape.steps[*escape.step - 1]);
    return fmt::format("logins succeeded again at {} of the load of the baseline, {:.1f} s after it was first lowered; at {} they did not", at_load(step), escape.seconds, above);
  }
  if (!stopped.empty()) return fmt::format("it was stopped{}: {}", escape.steps.empty() ? "" : " at " + at_load(escape.steps.back()), stopped);
  for (const EscapeStep& step : escape.steps) {
    if (!step.steady) return fmt::format("at {} it cannot be told: {}", at_load(step), step.because);
  }
  if (escape.steps.size() < test.steps.size()) return fmt::format("it ended after {} of {} steps", escape.steps.size(), test.steps.size());
  return fmt::format("logins did not succeed again, down to {} of the load of the baseline, held for {}", at_load(escape.steps.back()), show_value(MeasureKind::duration, seconds(test.hold)));
}

}  // namespace

bool is_login_load(const ProbeUse& use) { return use.probe.starts_with("login.") && use.suspect.empty(); }

std::vector<Expectation> steady_at_any_load(const Playbook& playbook) {
  std::vector<Expectation> out;
  for (const Expectation& expectation : playbook.steady_state) {
    const MeasureKind kind = kind_of(playbook, expectation);
    const bool wants_much = std::any_of(expectation.bounds.begin(), expectation.bounds.end(), [](const Bound& bound) {
      return bound.comparison == Comparison::at_least || bound.comparison == Comparison::above;
    });
    if (!wants_much || (kind != MeasureKind::rate && kind != MeasureKind::count)) out.push_back(expectation);
  }
  return out;
}

std::optional<Escape> find_escape(const Evidence& evidence, const std::string& stopped) {
  const auto& test = evidence.playbook().escape;
  const auto began = evidence.escape_began();
  if (!test || !began) return std::nullopt;
  Escape out;
  if (const auto baseline = evidence.span(Span::baseline)) out.full_load = login_load(evidence, *baseline);
  const auto retries = retry_amplification(evidence);
  bool all_told = evidence.load_steps().size() == test->steps.size();
  for (std::size_t i = 0; i < evidence.load_steps().size() && !out.step; ++i) {
    double settled_after = 0;
    out.steps.push_back(step_of(evidence, i, retries, settled_after));
    const EscapeStep& step = out.steps.back();
    all_told = all_told && step.steady.has_value();
    out.seconds = step.held.to - *began;
    if (step.steady != true) continue;
    out.step = i;
    out.seconds = step.held.from + settled_after - *began;
  }
  if (out.step) out.escaped = true;
  else if (all_told) out.escaped = false;
  out.because = words_of(out, *test, out.escaped ? "" : stopped);
  return out;
}

Json to_json(const Escape& escape) {
  Json out = {{"escaped", escape.escaped ? Json(*escape.escaped) : Json(nullptr)}, {"seconds", escape.seconds}, {"full_load", escape.full_load}, {"because", escape.because}};
  out["share"] = escape.step ? Json(escape.steps[*escape.step].share) : Json(nullptr);
  out["load"] = escape.step ? Json(escape.steps[*escape.step].load) : Json(nullptr);
  out["steps"] = Json::array();
  for (const EscapeStep& step : escape.steps) {
    Json one = {{"share", step.share}, {"load", step.load}, {"from", step.held.from}, {"to", step.held.to}, {"because", step.because}};
    one["steady"] = step.steady ? Json(*step.steady) : Json(nullptr);
    if (step.retry_amplification) one["retry_amplification"] = *step.retry_amplification;
    out["steps"].push_back(std::move(one));
  }
  return out;
}

}  // namespace capsize
