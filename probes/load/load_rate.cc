#include "probes/load/load_rate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace capsize {
namespace {

// What a step goes to: a rate, or none.
struct Pausable {
  double per_second = 0;
};

}  // namespace

template <>
struct ParamTraits<Pausable> {
  static std::string name() { return "rate"; }
  static Parsed<Pausable> parse(const Json& json) {
    if (json == "0/s") return Pausable{};
    auto parsed = ParamTraits<Rate>::parse(json);
    if (auto* mistake = std::get_if<Mistake>(&parsed)) return std::move(*mistake);
    return Pausable{std::get<Rate>(parsed).per_second};
  }
  static Json schema() { return {{"anyOf", Json::array({ParamTraits<Rate>::schema(), {{"const", "0/s"}}})}}; }
  static Json show(const Pausable& value) { return capsize::show(Rate{value.per_second}); }
};

namespace {

struct StepKeys {
  Duration at{};
  Pausable to;
  Duration over{};
};

const Spec<StepKeys>& step_spec() {
  static const auto spec = Spec<StepKeys>()
                               .required("at", &StepKeys::at, "when, from the start of the load; the first is \"0s\"")
                               .required("to", &StepKeys::to, "the rate from then on; \"0/s\" is a pause")
                               .optional("over", &StepKeys::over, "how long the rate takes to get there, in a straight line");
  return spec;
}

// What only two steps tell together.
void check_order(const std::vector<RateStep>& steps, std::size_t i, const std::string& pointer, Diagnostics& diagnostics) {
  const std::string here = pointer_join(pointer, i);
  const RateStep& step = steps[i];
  if (i == 0) {
    if (step.at > Duration::zero()) diagnostics.add(here + "/at", "nothing says what the rate is before " + show(step.at), "write \"0s\"; a load that begins with a pause goes to \"0/s\" there");
    return;
  }
  const RateStep& before = steps[i - 1];
  if (step.at <= before.at) {
    diagnostics.add(here + "/at", fmt::format("this step is at {}, and the one before it at {}", show(step.at), show(before.at)), "write the steps in the order of their times");
  } else if (before.at + before.over > step.at) {
    diagnostics.add(pointer_join(pointer, i - 1) + "/over", fmt::format("this ramp lasts until {}, and the next step is at {}", show(before.at + before.over), show(step.at)),
                    fmt::format("make it {} at most, or the next step later", show(step.at - before.at)));
  }
}

constexpr long double kForever = std::numeric_limits<long double>::infinity();

long double exactly_seconds(Duration duration) { return static_cast<long double>(duration.count()) / 1e9L; }

// Rates such as 33.4/s are not exact in binary: without this, the last login before a pause could turn out to be the first in it.
long double whole_if_nearly(long double logins) {
  constexpr long double kNearly = 1e-6L;
  const long double whole = std::round(logins);
  return std::abs(logins - whole) < kNearly ? whole : logins;
}

}  // namespace

LoadRate::LoadRate(std::vector<RateStep> steps) : steps_(std::move(steps)) {
  double rate = 0;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const RateStep& step = steps_[i];
    const Duration there = step.at + step.over;
    if (step.over > Duration::zero()) add_piece(step.at, there, rate, step.per_second);
    rate = step.per_second;
    if (i + 1 == steps_.size()) {
      add_piece(there, Duration::max(), rate, rate);
    } else if (steps_[i + 1].at > there) {
      add_piece(there, steps_[i + 1].at, rate, rate);
    }
  }
}

void LoadRate::add_piece(Duration from, Duration to, double begin, double end) {
  long double before = 0;
  if (!pieces_.empty()) {
    const Piece& last = pieces_.back();
    before = whole_if_nearly(last.before + last.length * (last.begin + last.end) / 2);
  }
  pieces_.push_back({exactly_seconds(from), to == Duration::max() ? kForever : exactly_seconds(to - from), begin, end, before});
}

double LoadRate::least() const {
  return std::min_element(steps_.begin(), steps_.end(), [](const RateStep& a, const RateStep& b) { return a.per_second < b.per_second; })->per_second;
}

double LoadRate::most() const {
  return std::max_element(steps_.begin(), steps_.end(), [](const RateStep& a, const RateStep& b) { return a.per_second < b.per_second; })->per_second;
}

long double LoadRate::logins_by(long double time) const {
  if (time <= 0) return 0;
  const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), time, [](long double when, const Piece& piece) { return when < piece.from; });
  const Piece& piece = *std::prev(after);
  const long double into = std::min(time - piece.from, piece.length);
  return piece.before + into * (piece.begin + piece.slope() * into / 2);
}

long double LoadRate::time_of(long double logins) const {
  // The last piece that begins with so many: a pause begins and ends with the same.
  const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), logins, [](long double many, const Piece& piece) { return many < piece.before; });
  const Piece& piece = *std::prev(after);
  const long double left = logins - piece.before;
  if (left <= 0) return piece.from * 1e9L;
  if (piece.begin == piece.end) return piece.from * 1e9L + left * 1e9L / piece.begin;
  // Half the slope times the time squared, and `begin` times the time, are what is left: the form that does not subtract what is nearly equal.
  const long double root = std::sqrt(std::max(0.0L, piece.begin * piece.begin + 2 * piece.slope() * left));
  return (piece.from + std::min(piece.length, 2 * left / (piece.begin + root))) * 1e9L;
}

// How many a stretch has changes, as it is moved along, in parabolas between the moments when one of its ends meets the end of a piece.
double LoadRate::extreme(double from, double to, double length, int sign) const {
  const double last = std::max(from, to - length);
  std::vector<double> moments = {from, last};
  for (const Piece& piece : pieces_) {
    for (const double moment : {static_cast<double>(piece.from), static_cast<double>(piece.from) - length}) {
      if (moment > from && moment < last) moments.push_back(moment);
    }
  }
  std::sort(moments.begin(), moments.end());
  const auto at = [&](double moment) { return sign * expected(moment, moment + length); };
  double best = std::max(at(from), at(last));
  for (std::size_t i = 1; i < moments.size(); ++i) {
    const double half = (moments[i] - moments[i - 1]) / 2;
    const double left = at(moments[i - 1]);
    const double middle = at(moments[i - 1] + half);
    const double right = at(moments[i]);
    const double bend = left - 2 * middle + right;
    best = std::max({best, left, middle, right});
    if (bend < 0) best = std::max(best, at(moments[i - 1] + half + half * std::clamp((left - right) / (2 * bend), -1.0, 1.0)));
  }
  return sign * best;
}

std::optional<LoadRate> ParamTraits<LoadRate>::read(const Json& json, const std::string& pointer, Diagnostics& diagnostics) {
  if (!json.is_array() || json.empty() || json.size() > kMostRateSteps) {
    auto parsed = json.is_string() ? ParamTraits<Rate>::parse(json) : wrong_type(json, fmt::format("a rate, as \"120/s\", or a list of 1 to {} steps, as [{{\"at\": \"0s\", \"to\": \"20/s\"}}]", kMostRateSteps));
    if (const auto* rate = std::get_if<Rate>(&parsed)) return LoadRate(*rate);
    const Mistake& mistake = std::get<Mistake>(parsed);
    diagnostics.add(pointer, mistake.fact, mistake.remedy);
    return std::nullopt;
  }
  const std::size_t before = diagnostics.errors();
  std::vector<RateStep> steps;
  bool last_is_good = true;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::size_t known = diagnostics.errors();
    const StepKeys keys = step_spec().parse(json[i], pointer_join(pointer, i), {}, diagnostics);
    const bool good = diagnostics.errors() == known;
    steps.push_back({keys.at, keys.to.per_second, keys.over});
    if (good && last_is_good) check_order(steps, i, pointer, diagnostics);
    last_is_good = good;
  }
  if (last_is_good && steps.back().per_second <= 0) {
    diagnostics.add(pointer_join(pointer, steps.size() - 1) + "/to", "this pause never ends", "add a step with a rate above zero, or leave the pause out: the load ends with the run");
  }
  if (diagnostics.errors() > before) return std::nullopt;
  return LoadRate(std::move(steps));
}

Parsed<LoadRate> ParamTraits<LoadRate>::parse(const Json& json) {
  Diagnostics found;
  auto out = read(json, "", found);
  if (out) return std::move(*out);
  const Diagnostic& first = found.all().front();
  return Mistake{(first.pointer.empty() ? "" : first.pointer + ": ") + first.fact, first.remedy};
}

Json ParamTraits<LoadRate>::schema() {
  Json step = schema_of(step_spec());
  step["type"] = "object";
  step["additionalProperties"] = false;
  return {{"anyOf", Json::array({ParamTraits<Rate>::schema(), {{"type", "array"}, {"minItems", 1}, {"maxItems", kMostRateSteps}, {"items", step}}})}};
}

Json ParamTraits<LoadRate>::show(const LoadRate& value) {
  if (!value.varies()) return capsize::show(Rate{value.most()});
  Json out = Json::array();
  for (const RateStep& step : value.steps()) out.push_back({{"at", capsize::show(step.at)}, {"to", capsize::show(Rate{step.per_second})}, {"over", capsize::show(step.over)}});
  return out;
}

}  // namespace capsize
