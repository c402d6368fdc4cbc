// The parameter "rate" of a load: so many logins a second all the time, or steps and ramps. What is due by when, and the other way round, in
// closed form: nothing is added up as time goes by, so nothing drifts.
#pragma once
#include <string>
#include <vector>

#include "injector/base/spec.h"

namespace capsize {

// At `at`, from the start of the load, the rate goes to `per_second`: at once, or as a straight line during `over`. Before the first it is zero.
struct RateStep {
  Duration at{};
  double per_second = 0;
  Duration over{};
};

inline constexpr std::size_t kMostRateSteps = 100;

// Immutable. Times in seconds, or as said.
class LoadRate {
 public:
  LoadRate(Rate rate = {}) : LoadRate(std::vector<RateStep>{{Duration::zero(), rate.per_second, Duration::zero()}}) {}
  // As the parser lets them pass: the first at zero, rising, each ramp over before the next step, the last above zero.
  explicit LoadRate(std::vector<RateStep> steps);

  const std::vector<RateStep>& steps() const { return steps_; }
  bool varies() const { return pieces_.size() > 1; }
  double least() const;                                // of what the steps go to
  double most() const;
  // How many logins the load has come to at that time; a login is due when it comes to a whole number.
  long double logins_by(long double time) const;
  // In nanoseconds: when it has come to so many and goes on, which after a pause is the end of the pause.
  long double time_of(long double logins) const;

  double expected(double from, double to) const { return static_cast<double>(logins_by(to) - logins_by(from)); }
  // In the emptiest, and the fullest, stretch of that length between the two times (which are so far apart at least).
  double fewest(double from, double to, double length) const { return extreme(from, to, length, -1); }
  double fullest(double from, double to, double length) const { return extreme(from, to, length, 1); }

 private:
  // The rate goes from `begin` to `end` (per second) in a straight line; the last piece is level, and has no end.
  struct Piece {
    long double from;    // seconds
    long double length;
    long double begin;
    long double end;
    long double before;  // logins due before it
    long double slope() const { return length > 0 ? (end - begin) / length : 0; }
  };
  void add_piece(Duration from, Duration to, double begin, double end);
  double extreme(double from, double to, double length, int sign) const;

  std::vector<RateStep> steps_;
  std::vector<Piece> pieces_;
};

template <>
struct ParamTraits<LoadRate> {
  static std::string name() { return "rate | list of steps"; }
  static Parsed<LoadRate> parse(const Json& json);
  // Every problem, each at its own place.
  static std::optional<LoadRate> read(const Json& json, const std::string& pointer, Diagnostics& diagnostics);
  static Json schema();
  static Json show(const LoadRate& value);
};

}  // namespace capsize
