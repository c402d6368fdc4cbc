#include "experiments/report/summary.h"

#include "experiments/report/words.h"
#include "report_samples.h"

namespace capsize {

TEST_CASE("what was measured is said flat, and of one thing without its number", "[report]") {
  CHECK(flat(Json::parse(R"({"groups": [{"periods": 20, "share": 0.02}]})")) == "groups.periods 20, groups.share 2 %");
  CHECK(flat(Json::parse(R"({"states": [3, 4]})")) == "states.0 3, states.1 4");
  CHECK(flat(nullptr).empty());
}

TEST_CASE("values are told with their unit and without noise", "[report]") {
  CHECK(plain_value("ratio", 0.2014) == "20.1 %");
  CHECK(plain_value("ratio", 1) == "100 %");
  CHECK(plain_value("duration", 0.00045) == "0.45 ms");
  CHECK(plain_value("duration", 0.1182) == "118 ms");
  CHECK(plain_value("duration", 1.0249) == "1.02 s");
  CHECK(plain_value("duration", 125) == "2 min 5 s");
  CHECK(plain_value("rate", 164.83) == "165/s");
  CHECK(plain_value("count", 10230) == "10 230");
  CHECK(plain_value("count", 0) == "0");
  CHECK(plain_value("duration", std::numeric_limits<double>::infinity()) == "unbounded");
  CHECK(plain_seconds(7260) == "2 h 1 min");
}

TEST_CASE("a value that misses its limit narrowly never reads like the limit", "[report]") {
  CHECK(plain_value("ratio", 0.9496, 0.95) == "94.96 %");
  CHECK(plain_value("ratio", 0.99996, 1.0) == "99.996 %");
  CHECK(plain_value("duration", 0.2504, 0.25) == "250.4 ms");
  CHECK(plain_value("ratio", 0.95, 0.95) == "95 %");
}

TEST_CASE("measures are told in words", "[report]") {
  CHECK(measure_words("login.success_ratio") == "login success ratio");
  CHECK(measure_words("login.latency.p99") == "login p99 latency");
  CHECK(measure_words("shares.share.auth1") == "shares: share of auth1");
  CHECK(measure_words("recovery_time") == "recovery time");
  CHECK(measure_words("mine.of_another_kind") == "mine.of another kind");
}

TEST_CASE("missed expectations come first, then those that cannot be told, then those that held", "[report]") {
  Sample sample = refuted_sample();
  sample.verdict["findings"][0]["holds"] = "unknown";
  const Summary summary = summarize(sample.playbook, sample.events, sample.verdict);
  std::vector<std::string> holds;
  for (const FindingWords& one : summary.findings) holds.push_back(one.holds);
  CHECK(holds == std::vector<std::string>{"no", "no", "unknown", "yes"});
}

TEST_CASE("key numbers are the verdict's own, with the baseline beside them", "[report]") {
  const Sample sample = refuted_sample();
  const Summary summary = summarize(sample.playbook, sample.events, sample.verdict);
  REQUIRE(summary.key_numbers.size() == 4);
  CHECK(summary.key_numbers[0].value == "35.9 %");
  CHECK(summary.key_numbers[0].note == "expected at least 95 % · before 100 %");
  CHECK(summary.key_numbers[3].value == "9.8 s");
  CHECK(summary.key_numbers[3].note == "expected at most 15 s");
}

TEST_CASE("the load and the key numbers of a run are its logins', not those of a suspect that is asked beside them", "[report]") {
  Sample sample = refuted_sample();
  const Summary without = summarize(sample.playbook, sample.events, sample.verdict);
  const std::size_t count = sample.events.size();
  for (std::size_t i = 0; i < count; ++i) {  // "at1" sorts before "login"
    if (sample.events[i].value("event", "") != "window" || sample.events[i].value("probe", "") != "login") continue;
    Json event = sample.events[i];
    event["probe"] = "at1";
    sample.events.push_back(std::move(event));
  }
  sample.playbook["probes"]["at1"] = sample.playbook["probes"]["login"];
  const Summary twice = summarize(sample.playbook, sample.events, sample.verdict);
  CHECK(twice.done != without.done);
  CHECK(twice.key_numbers.front().label != without.key_numbers.front().label);
  sample.playbook["probes"]["at1"]["suspect"] = "auth1";
  const Summary beside = summarize(sample.playbook, sample.events, sample.verdict);
  CHECK(beside.done == without.done);
  REQUIRE(beside.key_numbers.size() == without.key_numbers.size());
  for (std::size_t i = 0; i < without.key_numbers.size(); ++i) CHECK(beside.key_numbers[i].label == without.key_numbers[i].label);
}

TEST_CASE("how the load connects, and whether it resumes TLS sessions, is told", "[report]") {
  Sample sample = refuted_sample();
  Json& login = sample.playbook["probes"]["login"];
  const auto told = [&] {
    for (const auto& [what, value] : summarize(sample.playbook, sample.events, sample.verdict).generator) {
      if (what == "login: connections") return value;
    }
    return std::string();
  };
  CHECK(told() == "kept alive from login to login");
  login["url"] = "https://login.example/login";
  CHECK(told() == "kept alive from login to login; each new one makes a full TLS handshake");
  login["connections"] = "new";
  login["tls_resumption"] = "always";
  CHECK(told() == "a new one for each login; a new one resumes the TLS session of the one before");
  login["probe"] = "login.ldap";
  CHECK(told().empty());
}

TEST_CASE("a recovery that came too late is told as missed", "[report]") {
  Sample sample = refuted_sample();
  sample.verdict["findings"][3]["holds"] = "no";
  sample.verdict["outcome"] = "unrecovered";
  const Summary summary = summarize(sample.playbook, sample.events, sample.verdict);
  CHECK(summary.recovered == true);
  CHECK(summary.recovery_missed);
}

TEST_CASE("an effect that is measured again with the same answer is told once", "[report]") {
  Sample sample = refuted_sample();
  Teller teller;
  std::size_t told = 0;
  for (const Json& event : sample.events) {
    const bool effect = event["event"] == "effect";
    for (int times = 0; times < (effect ? 3 : 1); ++times) told += teller.tell(event).has_value() && effect;
  }
  CHECK(told == 1);
}

}  // namespace capsize
