#include "experiments/suspects.h"

#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

struct Suspected {
  Truth base, one;
};

// 10 s of baseline and 20 s of fault.
std::vector<SuspectLine> lines_of(Suspected before, Suspected during, std::uint64_t seed = 7, double rate = 10) {
  const Playbook playbook = made_playbook();
  Evidence evidence(playbook);
  Rng rng(seed);
  phase(evidence, 0, "baseline");
  phase(evidence, 10, "fault");
  for (const auto& [probe, truth] : {std::pair<const char*, std::pair<Truth, Truth>>{"base", {before.base, during.base}}, {"one", {before.one, during.one}}}) {
    add_load(evidence, probe, 0, 10, rate, [&](double) { return truth.first; }, rng);
    add_load(evidence, probe, 10, 30, rate, [&](double) { return truth.second; }, rng);
  }
  phase(evidence, 30, "revert");
  return suspects(evidence);
}

std::string words(const std::vector<SuspectLine>& lines) {
  std::string out;
  for (const SuspectLine& line : lines) out += line.suspect + ": " + std::string(to_string(line.word)) + "; ";
  return out;
}

}  // namespace

TEST_CASE("who fails in the fault has moved, who does not is ruled out", "[suspects]") {
  CHECK(words(lines_of({}, {{}, {0.5}})) == "database: ruled out; auth1: moved; ");
  const auto lines = lines_of({}, {{}, {0}});
  CHECK(words(lines) == "database: ruled out; auth1: moved; ");
  CHECK(lines[1].because.find("200 failed of 200, and 0 of 100 in the baseline") == 0);
  CHECK(lines[1].p < 1e-6);
}

TEST_CASE("who answers much later has moved, a hair later has not", "[suspects]") {
  CHECK(words(lines_of({}, {{1, 0.1}, {}})) == "database: moved; auth1: ruled out; ");
  CHECK(words(lines_of({}, {{1, 0.021}, {1, 0.015}})) == "database: ruled out; auth1: ruled out; ");  // faster is no move
}

TEST_CASE("what so few samples cannot tell is said to be so", "[suspects]") {
  CHECK(words(lines_of({}, {{}, {}}, 7, 0.5)) == "database: cannot tell; auth1: cannot tell; ");
}

TEST_CASE("of suspects that did not move, at most 5 tables in 100 name one", "[suspects]") {
  int named = 0;
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    const Suspected same = {{0.9, 0.05}, {0.9, 0.05}};
    for (const SuspectLine& line : lines_of(same, same, seed)) named += line.word == SuspectWord::moved ? 1 : 0;
  }
  CHECK(named <= 2);
}

TEST_CASE("Holm's correction, by the book", "[suspects]") {
  const auto corrected = holm({0.01, 0.04, 0.03, 0.005});
  const std::vector<double> wanted = {0.03, 0.06, 0.06, 0.02};
  for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(corrected[i] == Approx(wanted[i]));
  CHECK(holm({}).empty());
  CHECK(holm({0.9, 0.8})[0] == 1.0);
}

TEST_CASE("Fisher's test and the rank test, against known values", "[suspects]") {
  CHECK(fisher_more(1, 4, 3, 4) == Approx(17.0 / 70));  // the lady tasting tea
  CHECK(fisher_more(0, 10, 0, 10) == 1);
  CHECK(fisher_more(10, 10, 10, 10) == 1);
  const std::vector<Counted> low = {{1, 10}, {2, 10}};
  const std::vector<Counted> high = {{2, 10}, {3, 10}};
  CHECK(rank_sum_larger(low, high) < 0.001);
  CHECK(rank_sum_larger(low, low) == Approx(0.5).margin(0.03));
  CHECK(rank_sum_larger(high, low) > 0.999);
}

namespace {

// The word on the database, with these answers in 10 s of baseline and 20 s of fault.
SuspectLine line_of(double rate, const std::function<Truth(double)>& before, const std::function<Truth(double)>& during) {
  const Playbook playbook = made_playbook({{"probes", {{"one", nullptr}}}});
  Evidence evidence(playbook);
  Rng rng(7);
  phase(evidence, 0, "baseline");
  add_load(evidence, "base", 0, 10, rate, before, rng);
  phase(evidence, 10, "fault");
  add_load(evidence, "base", 10, 30, rate, during, rng);
  phase(evidence, 30, "revert");
  return suspects(evidence).at(0);
}

}  // namespace

TEST_CASE("three failures of some forty are no move, and not ruled out", "[suspects]") {
  int asked = 0;
  const SuspectLine line = line_of(2, [](double) { return Truth{}; }, [&](double) { return Truth{++asked % 13 == 0 ? 0.0 : 1.0}; });
  CHECK(line.evidence["fault"]["samples"].get<int>() >= 39);
  INFO(line.because);
  CHECK(to_string(line.word) == "cannot tell");
}

TEST_CASE("a suspect that is late for 30 % of its answers is not ruled out, though its median is the same", "[suspects]") {
  int asked = 0;
  const SuspectLine line = line_of(10, [](double) { return Truth{}; }, [&](double) { return Truth{1, ++asked % 10 < 3 ? 1.0 : 0.02}; });
  CHECK(to_string(line.word) == "cannot tell");
  CHECK(line.evidence["worse_at_most"].get<double>() > 0.3);
  CHECK(line.evidence["more_failed"] == 0);
}

TEST_CASE("each test of a suspect speaks for its own size: a few failures by chance and a hair later are no move", "[suspects]") {
  int asked = 0;
  const SuspectLine line = line_of(2, [](double) { return Truth{1, 0.02, 0}; }, [&](double) { return Truth{++asked % 13 == 0 ? 0.0 : 1.0, 0.027, 0}; });
  CHECK(line.evidence["more_failed"].get<double>() > kMovedFailures);
  CHECK(line.p_latency < 1e-6);
  CHECK(line.p_failures > 0.2);
  CHECK(line.word != SuspectWord::moved);
}
