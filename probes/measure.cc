#include "probes/measure.h"

#include <boost/math/distributions/binomial.hpp>
#include <cmath>

namespace capsize {

std::string_view to_string(MeasureKind kind) {
  switch (kind) {
    case MeasureKind::ratio: return "ratio";
    case MeasureKind::duration: return "duration";
    case MeasureKind::rate: return "rate";
    case MeasureKind::count: return "count";
    case MeasureKind::number: break;
  }
  return "number";
}

Json to_json(const Measured& measured) {
  Json out = {{"kind", to_string(measured.kind)}, {"value", measured.value}, {"low", measured.low}, {"samples", measured.samples}};
  out["high"] = std::isfinite(measured.high) ? Json(measured.high) : Json(nullptr);
  return out;
}

Interval clopper_pearson(std::uint64_t k, std::uint64_t n, double each_side) {
  if (n == 0) return {0, 1};
  using Binomial = boost::math::binomial_distribution<>;
  const auto successes = static_cast<double>(k);
  const auto trials = static_cast<double>(n);
  const double low = k == 0 ? 0 : Binomial::find_lower_bound_on_p(trials, successes, each_side);
  const double high = k == n ? 1 : Binomial::find_upper_bound_on_p(trials, successes, each_side);
  return {low, high};
}

Measured ratio(std::uint64_t k, std::uint64_t n) {
  const Interval interval = clopper_pearson(k, n);
  Measured out;
  out.kind = MeasureKind::ratio;
  out.value = n == 0 ? 0 : static_cast<double>(k) / static_cast<double>(n);
  out.low = interval.low;
  out.high = interval.high;
  out.samples = n;
  out.interval = [k, n](double each_side) { return clopper_pearson(k, n, each_side); };
  return out;
}

}  // namespace capsize
