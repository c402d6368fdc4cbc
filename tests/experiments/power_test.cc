#include "experiments/power.h"

#include "tests/experiments/made_evidence.h"
#include "tests/experiments/test_catalogs.h"

using namespace capsize;

TEST_CASE("at 20 logins a second for 30 s a drop of less than 4.6 points below 95 % cannot be told from none", "[power]") {
  const double size = ratio_resolution(true, 0.95, 600).value();
  CHECK(size == Approx(0.0461122).margin(1e-5));  // by another implementation
  CHECK(ratio_resolution(true, 0.95, 2000).value() == Approx(0.0235006).margin(1e-5));
  CHECK(ratio_resolution(false, 0.05, 600).value() == Approx(size));  // a rise of failures is the same thing
}

TEST_CASE("the resolution keeps its promise: so large a drop is refuted 99 times in 100, a smaller one is not", "[power]") {
  for (const double limit : {0.5, 0.9, 0.95, 0.99}) {
    for (const std::uint64_t samples : {200, 1000}) {
      const double size = ratio_resolution(true, limit, samples).value();
      const auto refuted = [&](double truth) {
        Rng rng(samples);
        int seen = 0;
        for (int run = 0; run < 400; ++run) {
          std::uint64_t good = 0;
          for (std::uint64_t i = 0; i < samples; ++i) good += rng.chance(truth) ? 1 : 0;
          seen += clopper_pearson(good, samples).high < limit ? 1 : 0;
        }
        return seen / 400.0;
      };
      INFO(limit << " of " << samples << ": " << size);
      CHECK(tells(limit, size * 1.001, samples));
      CHECK_FALSE(tells(limit, size * 0.999, samples));
      CHECK(refuted(limit - size) >= 0.97);
      CHECK(refuted(limit - size / 2) < 0.95);
      CHECK(refuted(limit) <= 0.05);
    }
  }
}

TEST_CASE("how many samples it takes to show a bound at all", "[power]") {
  CHECK_FALSE(can_be_held(true, 0.999, 600));
  CHECK(can_be_held(true, 0.999, samples_to_hold(true, 0.999)));
  CHECK_FALSE(can_be_held(true, 0.999, samples_to_hold(true, 0.999) - 1));
  CHECK(samples_to_bound(0.99) == 368);
  CHECK_FALSE(ratio_resolution(true, 0.05, 20).has_value());  // all 20 fail, and it may still be 5 %
}

TEST_CASE("check warns of an expectation that its samples cannot tell, with the place and the remedy", "[power]") {
  Json playbook = test::good_playbook();
  const auto warned = [&](const char* rate, const char* lasting, Json hypothesis) {
    playbook["probes"]["login"]["rate"] = rate;
    playbook["faults"][0]["for"] = lasting;
    playbook["hypothesis"] = Json::array({std::move(hypothesis)});
    const auto result = test::read(playbook);
    CHECK(result.playbook);  // a warning, not a mistake
    return test::said(result);
  };
  using Said = std::vector<std::string>;
  CHECK(warned("20/s", "30s", {{"measure", "login.success_ratio"}, {"at_least", "95%"}}) ==
        Said{"/hypothesis/0/at_least: at 20/s for 30s a drop below 4.6 % cannot be told from none; raise the rate, or let it last longer; else it may end inconclusive"});
  CHECK(warned("100/s", "30s", {{"measure", "login.success_ratio"}, {"at_least", "95%"}}).empty());
  CHECK(warned("20/s", "30s", {{"measure", "login.success_ratio"}, {"at_least", "99.9%"}}) ==
        Said{"/hypothesis/0/at_least: at 20/s for 30s there are 600 samples, which cannot show at_least 99.9%, even if none is amiss; it takes 3688: raise the rate, or let it last 185s"});
  CHECK(warned("10/s", "30s", {{"measure", "login.latency.p99"}, {"at_most", "1s"}}) ==
        Said{"/hypothesis/0/at_most: at 10/s for 30s there are 300 samples, which cannot bound login.latency.p99 from above: it cannot be shown to hold; it takes 368: raise the rate, or let it last 37s"});
  CHECK(warned("4/s", "5s", {{"measure", "login.wrongly_accepted"}, {"at_most", 0}}).size() == 1);
}

TEST_CASE("of logins with a wrong password none counts: what is missing is missing of the rest", "[power]") {
  const Playbook playbook = test::made_playbook({{"probes", {{"login", {{"rate", "4/s"}, {"wrong_password_share", "50%"}}}}}});
  const ProbeType& type = *find_probe("login.http");
  const auto warning = power_warning(playbook, type, *find_measure(type, "success_ratio"), playbook.hypothesis[0], playbook.hypothesis[0].bounds[0]);
  REQUIRE(warning);
  CHECK(warning->fact == "at 4/s for 20s there are 40 samples, which cannot show at_least 95%, even if none is amiss");
  CHECK(warning->remedy == "it takes 72: raise the rate, or let it last 36s");
}

TEST_CASE("check warns of too few samples for a rate, and for a quantile against a baseline that is in doubt too", "[power]") {
  Json playbook = test::good_playbook();
  const auto warned = [&](const char* rate, Json hypothesis) {
    playbook["probes"]["login"]["rate"] = rate;
    playbook["hypothesis"] = Json::array({std::move(hypothesis)});
    return test::said(test::read(playbook));
  };
  using Said = std::vector<std::string>;
  CHECK(warned("13/s", {{"measure", "login.latency.p99"}, {"at_most", "1s"}}).empty());
  CHECK(warned("13/s", {{"measure", "login.latency.p99"}, {"at_most", "2x baseline"}}) ==
        Said{"/hypothesis/0/at_most: at 13/s for 30s there are 390 samples, which cannot bound login.latency.p99 from above: it cannot be shown to hold; it takes 437: raise the rate, or let it last 34s"});
  CHECK(warned("0.5/s", {{"measure", "login.rate"}, {"at_least", "0.4/s"}}).size() == 1);
}

TEST_CASE("check warns of a guardrail that can never stop the run", "[power]") {
  Json playbook = test::good_playbook();
  const auto warned = [&](const char* rate, Json guardrail) {
    playbook["probes"]["login"]["rate"] = rate;
    playbook["abort_when"] = Json::array({std::move(guardrail)});
    playbook["hypothesis"] = Json::array({{{"measure", "recovery_time"}, {"at_most", "10s"}}});
    const auto result = test::read(playbook);
    CHECK(result.playbook);
    return test::said(result);
  };
  using Said = std::vector<std::string>;
  CHECK(warned("100/s", {{"measure", "login.success_ratio"}, {"below", "50%"}}).empty());
  CHECK(warned("100/s", {{"measure", "login.success_ratio"}, {"below", "50%"}, {"for", "40s"}}) ==
        Said{"/abort_when/0: it has to last for 40s, and the faults are over after 30s: it never stops the run; make \"for\" shorter"});
  const Said never = {"/abort_when/0: at 10/s for 30s even the worst there can be cannot be told from chance: it never stops the run; raise the rate, or write a bound that is easier to be beyond"};
  CHECK(warned("10/s", {{"measure", "login.success_ratio"}, {"below", "1%"}}) == never);
  CHECK(warned("10/s", {{"measure", "login.success_ratio"}, {"at_most", "0%"}}) == never);
  CHECK(warned("10/s", {{"measure", "login.success_ratio"}, {"below", "20%"}}).empty());
}

TEST_CASE("a load with steps and ramps has in each span as many as are expected there, the phases follow each other at once", "[power]") {
  const Json rate = Json::parse(R"([{"at": "0s", "to": "20/s"}, {"at": "10s", "to": "200/s", "over": "10s"}, {"at": "30s", "to": "50/s"}, {"at": "45s", "to": "100/s"}])");
  const Playbook playbook = test::made_playbook({{"probes", {{"login", {{"rate", rate}, {"arrivals", "poisson"}}}}}});  // 10 s, faults from 10 s to 30 s, 30 s
  const ProbeType& type = *find_probe("login.http");
  const auto samples = [&](Span span, std::optional<std::size_t> fault = std::nullopt) {
    Expectation expectation = playbook.hypothesis[0];
    expectation.during = span;
    expectation.during_fault = fault;
    return planned_samples(playbook, type, expectation).value().samples;
  };
  CHECK(samples(Span::baseline) == 200);
  CHECK(samples(Span::fault) == 1100 + 2000);
  CHECK(samples(Span::run) == 200 + 1100 + 2000);
  CHECK(samples(Span::fault, 0) == 6 * (20 + 128) / 2);
  CHECK(samples(Span::fault, 1) == 2 * (164 + 200) / 2 + 2000);
  CHECK(samples(Span::recovery) == 5 * 50);  // the emptiest stretch of `settle`
  const auto warning = power_warning(playbook, type, *find_measure(type, "success_ratio"), playbook.hypothesis[0], {.comparison = Comparison::at_least, .value = 0.999, .written = "99.9%"});
  REQUIRE(warning);
  CHECK(warning->fact == "at a mean 155/s for 20s there are 3100 samples, which cannot show at_least 99.9%, even if none is amiss");
}

TEST_CASE("check warns of a guardrail whose probe looks less often than it has to last", "[power]") {
  const auto warned = [](const char* every) {
    const Playbook playbook = test::made_playbook({{"probes", {{"shares", {{"every", every}}}}}, {"abort_when", Json::array({{{"measure", "shares.queue"}, {"above", 100}, {"for", "3s"}}})}});
    const ProbeType& type = *find_probe("balancer.shares");
    return guardrail_warning(playbook, type, *find_measure(type, "queue"), playbook.abort_when[0]);
  };
  CHECK(!warned("3s"));
  const auto warning = warned("4s");
  REQUIRE(warning);
  CHECK(warning->fact == "its probe looks every 4s: it stops the run when two looks agree, which takes longer than 3s");
}
