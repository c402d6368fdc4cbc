#include "probes/load/load_rate.h"

#include "injector/base/rng.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

LoadRate rate_of(const char* json) {
  auto parsed = ParamTraits<LoadRate>::parse(Json::parse(json));
  if (const auto* mistake = std::get_if<Mistake>(&parsed)) FAIL(mistake->fact);
  return std::get<LoadRate>(parsed);
}

std::vector<std::string> wrong(const Json& json) {
  Diagnostics found;
  const auto read = ParamTraits<LoadRate>::read(json, "/rate", found);
  CHECK(read.has_value() == found.ok());
  std::vector<std::string> out;
  for (const Diagnostic& one : found.all()) out.push_back(one.pointer + ": " + one.fact + "; " + one.remedy);
  return out;
}

const char* const kUpAndDown = R"([{"at": "0s", "to": "20/s"}, {"at": "30s", "to": "200/s", "over": "10s"}, {"at": "60s", "to": "0/s", "over": "4s"},
                                   {"at": "70s", "to": "7.3/s"}, {"at": "71s", "to": "0/s"}, {"at": "80s", "to": "50/s", "over": "500ms"}])";

// The rate at a time, added up: slow, and plainly so.
double integral(const std::vector<RateStep>& steps, double until) {
  double sum = 0;
  constexpr double kSlice = 1e-3;
  for (double at = kSlice / 2; at < until; at += kSlice) {
    double rate = 0;
    double begin = 0;
    for (const RateStep& step : steps) {
      if (seconds(step.at) > at) break;
      const double into = at - seconds(step.at);
      begin = rate;
      rate = step.over > Duration::zero() && into < seconds(step.over) ? begin + (step.per_second - begin) * into / seconds(step.over) : step.per_second;
    }
    sum += rate * kSlice;
  }
  return sum;
}

}  // namespace

TEST_CASE("one rate is a load that never changes", "[load_rate]") {
  const LoadRate rate(Rate{120});
  CHECK_FALSE(rate.varies());
  CHECK(rate.most() == 120);
  CHECK(rate.expected(10, 40) == 3600);
  CHECK(ParamTraits<LoadRate>::show(rate) == "120/s");
  CHECK(rate_of(R"("30/m")").most() == 0.5);
}

TEST_CASE("the count of a ramp is its integral: half of both ends, times its length", "[load_rate]") {
  const LoadRate rate = rate_of(R"([{"at": "0s", "to": "20/s"}, {"at": "30s", "to": "200/s", "over": "10s"}])");
  CHECK(rate.varies());
  CHECK(rate.least() == 20);
  CHECK(rate.most() == 200);
  CHECK(rate.expected(0, 30) == Approx(600).epsilon(1e-12));
  CHECK(rate.expected(30, 40) == Approx(1100).epsilon(1e-12));
  CHECK(rate.expected(30, 35) == Approx(5 * (20 + 110) / 2.0).epsilon(1e-12));
  CHECK(rate.expected(40, 100) == Approx(12000).epsilon(1e-12));
  CHECK(rate_of(R"([{"at": "0s", "to": "100/s", "over": "10s"}])").expected(0, 10) == Approx(500));  // before the first step there is nothing
}

TEST_CASE("what is due by when is the sum of the rate, whatever its shape", "[load_rate]") {
  const LoadRate rate = rate_of(kUpAndDown);
  for (const double until : {5.0, 30.0, 33.3, 40.0, 59.0, 62.0, 64.0, 69.0, 70.5, 75.0, 80.25, 80.5, 90.0}) CHECK(rate.expected(0, until) == Approx(integral(rate.steps(), until)).margin(0.01));
}

TEST_CASE("both ways are one: the time of so many logins has so many by then, to a milliardth", "[load_rate]") {
  const LoadRate rate = rate_of(kUpAndDown);
  long double last = -1;
  for (double logins = 0.5; logins < 6000; logins += 0.37) {
    const long double time = rate.time_of(logins);
    CHECK(std::abs(static_cast<double>(rate.logins_by(time / 1e9L)) - logins) < 1e-9 * std::max(1.0, logins));
    CHECK(time > last);
    last = time;
  }
}

TEST_CASE("nothing is due in a pause, and what is due at its end comes at its end", "[load_rate]") {
  for (const char* each : {"20/s", "0.7/s", "1.1/s", "33.3/s", "33.4/s", "1234.5678/s"}) {
    const LoadRate rate = rate_of(fmt::format(R"([{{"at": "0s", "to": "0/s"}}, {{"at": "3s", "to": "{0}"}}, {{"at": "13s", "to": "0/s"}}, {{"at": "20s", "to": "{0}"}}])", each).c_str());
    INFO(each);
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      const long double at = rate.time_of(static_cast<long double>(i)) / 1e9L;
      REQUIRE(at >= 3);
      REQUIRE_FALSE((at >= 13 && at < 20));
    }
    CHECK(rate.expected(13, 20) == Approx(0).margin(1e-6));
  }
}

TEST_CASE("the emptiest and the fullest stretch are those that trying finds", "[load_rate]") {
  const LoadRate rate = rate_of(kUpAndDown);
  for (const double length : {1.0, 7.0, 25.0}) {
    for (const auto& [from, to] : {std::pair(0.0, 100.0), {25.0, 66.0}, {55.0, 85.0}}) {
      double least = 1e9;
      double most = 0;
      for (double at = from; at + length <= to + 1e-9; at += 0.01) {
        least = std::min(least, rate.expected(at, at + length));
        most = std::max(most, rate.expected(at, at + length));
      }
      INFO(length << " from " << from << " to " << to);
      CHECK(rate.fewest(from, to, length) <= least + 1e-9);
      CHECK(rate.fullest(from, to, length) >= most - 1e-9);
      CHECK(rate.fewest(from, to, length) == Approx(least).margin(0.05));
      CHECK(rate.fullest(from, to, length) == Approx(most).margin(0.05));
    }
  }
}

TEST_CASE("every mistake in a profile is told at its place", "[load_rate]") {
  using Said = std::vector<std::string>;
  CHECK(wrong("120/s").empty());
  CHECK(wrong(Json::array()).at(0).find("write a rate, as \"120/s\", or a list of 1 to 100 steps") != std::string::npos);
  CHECK(wrong("0/s").size() == 1);
  CHECK(wrong(5).at(0).starts_with("/rate: 5 is a number; write a rate"));
  CHECK(wrong(Json::parse(R"([{"at": "5s", "to": "20/s", "over": "10s"}, {"at": "10s", "to": "0/s"}, {"at": "10s", "to": "0/s"}])")) ==
        Said{"/rate/0/at: nothing says what the rate is before 5s; write \"0s\"; a load that begins with a pause goes to \"0/s\" there",
             "/rate/0/over: this ramp lasts until 15s, and the next step is at 10s; make it 5s at most, or the next step later",
             "/rate/2/at: this step is at 10s, and the one before it at 10s; write the steps in the order of their times",
             "/rate/2/to: this pause never ends; add a step with a rate above zero, or leave the pause out: the load ends with the run"});
  const auto many = wrong(Json::parse(R"([{"at": "0s", "too": "20/s"}, {"at": "soon", "to": "-3/s"}, "fast"])"));
  REQUIRE(many.size() == 5);
  CHECK(many[0].starts_with("/rate/0/too: ") );
  CHECK(many[0].find("did you mean") != std::string::npos);
  CHECK(many[2].starts_with("/rate/1/at: \"soon\" is not a duration"));
  CHECK(many[3].starts_with("/rate/1/to: \"-3/s\" is not a rate"));
  CHECK(many[4].starts_with("/rate/2: \"fast\" is a text"));
  CHECK(wrong(Json::parse(R"([{"at": "0s", "to": "0/s"}, {"at": "9s", "to": "1/s"}])")).empty());
}
