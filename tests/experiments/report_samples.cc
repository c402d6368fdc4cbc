#include "report_samples.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "probes/load/histogram.h"

namespace capsize {
namespace {

constexpr double kBaseline = 10;
constexpr double kFault = 12;
constexpr double kUndone = kBaseline + kFault + 0.3;  // the undo, verified

// A system in numbers: what became of the logins due at a second of the run.
struct Moment {
  double success = 1;
  double auth1 = 1.0 / 3;  // its share of new sessions
  double median = 0.104;
  double p99 = 0.131;
};
using Model = std::function<Moment(double t)>;

Moment outage(double t) {
  const double since = t - kBaseline;
  if (since < 0) return {};
  if (since < kFault) {
    const double grace = since < 2 ? 1 : since < 3 ? 0.51 : 0.2;
    return {grace, 0.8, since < 2 ? 0.45 + since * 0.2 : grace < 0.4 ? 0.997 : 0.9, since < 1 ? 0.85 : 1.001};
  }
  if (t < kUndone + 9.5) return {t < kUndone + 8.5 ? 0.67 : 0.71, 1.0 / 3, 0.106, 1.001};
  return {1, 1.0 / 3, 0.105, 0.14};
}

Moment harmless(double t) {
  const double since = t - kBaseline;
  if (since < 0 || t >= kUndone) return {};
  return {1, 0.42, 0.108, 0.212};
}

Moment collapse(double t) {
  const double since = t - kUndone;
  Moment out = outage(t);
  if (since > 0) out = {std::clamp(0.98 - std::max(0.0, since - 3) * 0.12, 0.0, 1.0), 1.0 / 3, since > 4 ? 1.0 : 0.4, 1.001};
  return out;
}

std::uint64_t bucket_at(double seconds) { return static_cast<std::uint64_t>(LogLinearAxis::bucket_of(static_cast<std::uint64_t>(seconds * 1e9))); }

// A whole number for each window, so that the sums over many windows come out right.
std::uint64_t spread(double count, int window) { return static_cast<std::uint64_t>(count * (window + 1)) - static_cast<std::uint64_t>(count * window); }

Json login_window(const Moment& now, double from, int index) {
  constexpr double kPerWindow = 165 * 0.25;
  const std::uint64_t scheduled = spread(kPerWindow, index);
  const std::uint64_t wrong = spread(kPerWindow * 0.05, index);
  const std::uint64_t tried = scheduled - wrong;
  const auto ok = std::min(tried, static_cast<std::uint64_t>(std::lround(static_cast<double>(tried) * now.success)));
  Json window = {{"from", from}, {"to", from + 0.25}, {"scheduled", scheduled}};
  window["counts"] = {{"ok", ok}, {"denied", 0}, {"refused", 0}, {"timed_out", tried - ok}, {"broken", 0}, {"wrongly_accepted", 0}, {"rejected_rightly", wrong}, {"not_sent", 0}};
  window["wrong_password"] = {{"rejected_rightly", wrong}};
  std::map<std::uint64_t, std::uint64_t> histogram;
  const std::uint64_t slow = std::max<std::uint64_t>(1, scheduled / 50);
  histogram[bucket_at(now.p99)] += slow;
  histogram[bucket_at(now.median)] += (scheduled - slow) / 2 + 1;
  histogram[bucket_at(now.median * 0.96)] += (scheduled - slow) - (scheduled - slow) / 2 - 1;
  window["latency"] = Json::array();
  for (const auto& [bucket, count] : histogram) window["latency"].push_back(Json::array({bucket, count}));
  return window;
}

Json shares_window(const Moment& now, double from, int index) {
  constexpr double kPerWindow = 165 * 0.25;
  const std::uint64_t all = spread(kPerWindow, index);
  const auto first = static_cast<std::uint64_t>(std::lround(static_cast<double>(all) * now.auth1));
  const std::uint64_t second = (all - first + static_cast<std::uint64_t>(index % 2)) / 2;
  const auto server = [](std::uint64_t sessions, int queue, int weight) {
    return Json{{"sessions", sessions}, {"queue", queue}, {"current", 6}, {"errors", 0}, {"weight", weight}, {"status", "UP"}};
  };
  Json window = {{"from", from}, {"to", from + 0.25}};
  window["servers"] = {{"auth1", server(first, 0, now.auth1 > 0.5 ? 80 : 10)}, {"auth2", server(second, 0, 10)}, {"auth3", server(all - first - second, 0, 10)}};
  return window;
}

Json event(double t, const char* kind, Json fields = Json::object()) {
  fields["t"] = t;
  fields["event"] = kind;
  return fields;
}

Json sample_playbook() {
  return Json::parse(R"({
    "playbook": 1,
    "title": "The balancer plays favourites",
    "description": "One of three login servers gets 80 % of the traffic, as in the outage.",
    "tags": ["auth", "balancer", "game-day"],
    "targets": { "balancer": { "type": "haproxy", "socket": "/run/haproxy/admin.sock", "backend": "auth" } },
    "probes": {
      "login": { "probe": "login.http", "url": "http://127.0.0.1:8080/login", "rate": "165/s", "users": 500, "wrong_password_share": "5%", "timeout": "1s" },
      "shares": { "probe": "balancer.shares", "target": "balancer" }
    },
    "timing": { "baseline": "10s", "recovery": "40s", "settle": "10s" },
    "steady_state": [
      { "measure": "login.success_ratio", "at_least": "99%" },
      { "measure": "login.latency.p99", "at_most": "250ms" }
    ],
    "faults": [ { "fault": "balancer.skew", "target": "balancer", "server": "auth1", "share": "80%", "at": "0s", "for": "12s", "allow": ["majority"], "reason": "the lab is ours alone tonight" } ],
    "hypothesis": [
      { "measure": "login.success_ratio", "during": "fault", "at_least": "95%" },
      { "measure": "login.latency.p99", "during": "fault", "at_most": "2x baseline" },
      { "measure": "login.wrongly_accepted", "during": "run", "at_most": 0 },
      { "measure": "recovery_time", "at_most": "15s" }
    ],
    "abort_when": [ { "measure": "login.success_ratio", "below": "10%", "for": "5s" } ]
  })");
}

Json finding(std::string expectation, const char* holds, std::string because, Json evidence) {
  return {{"expectation", std::move(expectation)}, {"holds", holds}, {"because", std::move(because)}, {"evidence", std::move(evidence)}};
}

Json success_finding(double value, const char* holds) {
  const std::string sentence = fmt::format("login.success_ratio was {:.4g} % (95 % interval {:.4g} % to {:.4g} %, 1882 samples); expected at least 95 %", value * 100, value * 100 - 2, std::min(100.0, value * 100 + 2));
  return finding("login.success_ratio at least 95% during fault", holds, sentence,
                 {{"measure", "login.success_ratio"}, {"during", "fault"}, {"kind", "ratio"}, {"value", value}, {"low", std::max(0.0, value - 0.021)}, {"high", std::min(1.0, value + 0.022)},
                  {"samples", 1882}, {"limit", 0.95}, {"comparison", "at least"}, {"from", kBaseline}, {"to", kBaseline + kFault}});
}

Json latency_finding(double value, const char* holds) {
  return finding("login.latency.p99 at most 2x baseline during fault", holds, fmt::format("login.latency.p99 was {:.3f} s; expected at most 2x baseline (262 ms)", value),
                 {{"measure", "login.latency.p99"}, {"during", "fault"}, {"kind", "duration"}, {"value", value}, {"low", value * 0.99}, {"high", value * 1.001}, {"samples", 1980},
                  {"limit", 0.262}, {"comparison", "at most"}, {"from", kBaseline}, {"to", kBaseline + kFault}});
}

Json wrongly_accepted_finding() {
  return finding("login.wrongly_accepted at most 0 during run", "yes", "login.wrongly_accepted was 0; expected at most 0: as expected",
                 {{"measure", "login.wrongly_accepted"}, {"during", "run"}, {"kind", "count"}, {"value", 0}, {"low", 0}, {"high", 0}, {"samples", 10230}, {"limit", 0}, {"comparison", "at most"}});
}

Json recovery_finding(Json value, const char* holds, std::string because) {
  return finding("recovery_time at most 15s", holds, std::move(because), {{"measure", "recovery_time"}, {"kind", "duration"}, {"during", "recovery"}, {"value", std::move(value)}, {"limit", 15}});
}

Json gate_findings(double success) {
  Json out = Json::array();
  out.push_back(finding("login.success_ratio at least 99% during baseline", success >= 0.99 ? "yes" : "no", fmt::format("login.success_ratio was {:.4g} %; expected at least 99 %", success * 100),
                        {{"measure", "login.success_ratio"}, {"during", "baseline"}, {"kind", "ratio"}, {"value", success}, {"low", success - 0.002}, {"high", success}, {"samples", 1568}, {"limit", 0.99}, {"comparison", "at least"}}));
  out.push_back(finding("login.latency.p99 at most 250ms during baseline", "yes", "login.latency.p99 was 131 ms; expected at most 250 ms: as expected",
                        {{"measure", "login.latency.p99"}, {"during", "baseline"}, {"kind", "duration"}, {"value", 0.131}, {"low", 0.13}, {"high", 0.133}, {"samples", 1650}, {"limit", 0.25}, {"comparison", "at most"}}));
  return out;
}

Json skew_fault(double measured, bool bites) {
  const std::string because = fmt::format("auth1 got {:.1f} % of 1979 new sessions; 80 % was intended", measured * 100);
  Json fault = {{"fault", "balancer.skew"}, {"target", "balancer"}, {"at", 0}, {"for", kFault}, {"undo", "undone"}, {"allowed", {"majority"}}, {"reason", "the lab is ours alone tonight"}};
  fault["summary"] = "auth1 gets 80 % of backend auth (weights auth1 10 -> 80)";
  fault["effect"] = {{"intended", {{"share", {{"auth1", 0.8}}}}}, {"measured", {{"share", {{"auth1", measured}}}}}, {"bites", bites}, {"because", because}};
  return fault;
}

void add_windows(Sample& sample, const Model& model, double from, double to) {
  const auto index = [](double t) { return static_cast<int>(std::lround(t * 4)); };
  for (int i = index(from); i < index(to); ++i) {
    const double at = i * 0.25;
    const Moment now = model(at);
    sample.events.push_back(event(at + 0.25, "window", {{"probe", "login"}, {"window", login_window(now, at, i)}}));
    sample.events.push_back(event(at + 0.25, "window", {{"probe", "shares"}, {"window", shares_window(now, at, i)}}));
  }
}

Sample begin() {
  Sample sample;
  sample.playbook = sample_playbook();
  sample.events.push_back(event(0, "run", {{"run", "20261122-220003-7f3a"}, {"title", sample.playbook["title"]}, {"seed", 42}, {"version", "0.1.0"}, {"started", "2026-11-22T22:00:03.123Z"},
                                           {"playbook", sample.playbook}, {"without_faults", false}}));
  sample.events.push_back(event(0, "planned", {{"fault", 0}, {"summary", "auth1 gets 80 % of backend auth (weights auth1 10 -> 80)"}, {"intended", {{"share", {{"auth1", 0.8}}}}},
                                               {"steps", Json::array()}, {"allowed", {"majority"}}, {"reason", "the lab is ours alone tonight"}}));
  sample.events.push_back(event(0, "phase", {{"phase", "baseline"}, {"lasts", kBaseline}}));
  Json& verdict = sample.verdict;
  verdict = {{"format", 1}, {"run", "20261122-220003-7f3a"}, {"title", sample.playbook["title"]}, {"seed", 42}, {"started", "2026-11-22T22:00:03.123Z"}, {"ended", "2026-11-22T22:00:47.423Z"},
             {"without_faults", false}, {"residue", Json::array()}, {"steady_state", gate_findings(1)}, {"findings", Json::array()}, {"faults", Json::array()}};
  return sample;
}

void inject(Sample& sample, double share, bool bites) {
  sample.events.push_back(event(kBaseline, "gate", {{"holds", "yes"}, {"findings", gate_findings(1)}}));
  sample.events.push_back(event(kBaseline, "phase", {{"phase", "fault"}, {"lasts", kFault}}));
  sample.events.push_back(event(kBaseline + 0.02, "injected", {{"fault", 0}, {"detail", Json::object()}}));
  sample.events.push_back(event(kBaseline + 1.2, "effect", {{"fault", 0}, {"effect", skew_fault(share, bites)["effect"]}}));
}

void undo(Sample& sample, double at, const char* state, const char* because, const char* remedy) {
  sample.events.push_back(event(at, "phase", {{"phase", "revert"}}));
  sample.events.push_back(event(at + 0.1, "undo", {{"fault", 0}, {"step", "f0.s0"}, {"state", state}, {"because", because}, {"remedy", remedy}}));
  sample.events.push_back(event(at + 0.3, "undone", {{"ok", std::string(state) == "undone"}}));
  sample.events.push_back(event(at + 0.3, "phase", {{"phase", "recovery"}, {"lasts", 40}}));
}

constexpr const char* kUndoneBecause = "auth1 has weight 10 again, read back, and gets traffic";

void finish(Sample& sample, double end, const char* outcome, int code, const char* because, Json recovery) {
  sample.events.push_back(event(end, "phase", {{"phase", "end"}}));
  std::stable_sort(sample.events.begin() + 1, sample.events.end(), [](const Json& a, const Json& b) { return a["t"].get<double>() < b["t"].get<double>(); });
  sample.verdict["outcome"] = outcome;
  sample.verdict["exit_code"] = code;
  sample.verdict["because"] = because;
  sample.verdict["recovery"] = std::move(recovery);
  Json& phases = sample.verdict["phases"] = Json::object();
  std::string last;
  for (const Json& one : sample.events) {
    if (one["event"] != "phase") continue;
    if (!last.empty()) phases[last]["to"] = one["t"];
    last = one["phase"];
    if (last != "end") phases[last]["from"] = one["t"];
  }
  phases.erase("revert");
}

Sample whole_run(const Model& model, double end) {
  Sample sample = begin();
  inject(sample, 0.798, true);
  undo(sample, kBaseline + kFault, "undone", kUndoneBecause, "");
  add_windows(sample, model, 0, end);
  sample.verdict["faults"].push_back(skew_fault(0.798, true));
  return sample;
}

}  // namespace

Sample refuted_sample() {
  Sample sample = whole_run(outage, 42);
  sample.verdict["findings"] = {wrongly_accepted_finding(), success_finding(0.3591, "no"), latency_finding(1.001, "no"), recovery_finding(9.8, "yes", "recovered 9.8 s after the undo; expected at most 15s")};
  finish(sample, 42.1, "refuted", 1, "login.success_ratio was 35.91 % (95 % interval 33.8 % to 38.1 %, 1882 samples); expected at least 95 %: not as expected",
         {{"recovered", true}, {"seconds", 9.8}, {"because", "the steady state was met again 9.8 s after the undo, and held for 10.00 s"}});
  return sample;
}

Sample held_sample() {
  Sample sample = whole_run(harmless, 33);
  sample.verdict["findings"] = {success_finding(1, "yes"), latency_finding(0.212, "yes"), wrongly_accepted_finding(), recovery_finding(0, "yes", "recovered 0.0 s after the undo; expected at most 15s")};
  finish(sample, 33, "held", 0, "all 4 expectations held, and the steady state came back in time", {{"recovered", true}, {"seconds", 0.0}, {"because", "the steady state was met again 0.0 s after the undo, and held for 10.00 s"}});
  return sample;
}

Sample unrecovered_sample() {
  Sample sample = whole_run(collapse, 62.3);
  sample.verdict["findings"] = {success_finding(0.3591, "no"), latency_finding(1.001, "no"), wrongly_accepted_finding(),
                                recovery_finding(nullptr, "no", "not recovered: 39.0 s after the undo login.success_ratio was 0 % (157 samples); expected at least 99 %")};
  finish(sample, 62.3, "unrecovered", 2, "the faults are verified gone, but the steady state did not come back within 40.00 s: 39.0 s after the undo login.success_ratio was 0 % (157 samples); expected at least 99 %",
         {{"recovered", false}, {"seconds", nullptr}, {"because", "39.0 s after the undo login.success_ratio was 0 % (157 samples); expected at least 99 %"}});
  return sample;
}

Sample escaped_sample() {
  Sample sample = unrecovered_sample();
  Json& recovery = sample.verdict["recovery"];
  recovery["kind"] = "metastable";
  recovery["retry_amplification"] = {{"probe", "login"}, {"baseline", 1.0}, {"fault", 2.4}, {"after", 3.0}};
  Json stuck = {{"share", 0.5}, {"load", 102.5}, {"from", 62.0}, {"to", 82.0}, {"steady", false}, {"because", "it was 0 %<"}, {"retry_amplification", 3.0}};
  Json free = {{"share", 0.25}, {"load", 51.2}, {"from", 83.0}, {"to", 100.0}, {"steady", true}, {"because", "met again"}, {"retry_amplification", 1.25}};
  recovery["escape"] = {{"escaped", true}, {"share", 0.25}, {"load", 51.2}, {"full_load", 205.0}, {"seconds", 28.4}, {"because", "logins succeeded again at 51.2 logins/s"}};
  recovery["escape"]["steps"] = {stuck, free};
  sample.events.insert(sample.events.end() - 1, {event(62.3, "phase", {{"phase", "escape"}, {"lasts", 60.0}}), event(62.3, "escape", {{"share", 0.5}})});
  return sample;
}

Sample invalid_sample() {
  Sample sample = begin();
  inject(sample, 0.334, false);
  undo(sample, kBaseline + kFault, "undone", kUndoneBecause, "");
  add_windows(sample, [](double) { return Moment{}; }, 0, 33);
  sample.verdict["faults"].push_back(skew_fault(0.334, false));
  sample.verdict["findings"] = {success_finding(1, "yes"), latency_finding(0.131, "yes"), wrongly_accepted_finding(), recovery_finding(0, "yes", "recovered 0.0 s after the undo")};
  finish(sample, 33, "invalid", 4, "balancer.skew did not bite: auth1 got 33.4 % of 1979 new sessions; 80 % was intended", {{"recovered", true}, {"seconds", 0.0}, {"because", ""}});
  return sample;
}

Sample aborted_sample() {
  Sample sample = begin();
  inject(sample, 0.801, true);
  sample.events.push_back(event(kBaseline + 8.1, "stop", {{"kind", "guardrail"}, {"because", "login.success_ratio was below 25% for 5 s: 20.1 %"}}));
  undo(sample, kBaseline + 8.1, "undone", kUndoneBecause, "");
  add_windows(sample, [](double t) { return t < kBaseline + 8.1 ? outage(t) : t < 26 ? outage(kUndone + 1) : Moment{}; }, 0, 30);
  sample.verdict["faults"].push_back(skew_fault(0.801, true));
  sample.verdict["findings"] = {success_finding(0.44, "no"), latency_finding(1.001, "no"), wrongly_accepted_finding(), recovery_finding(nullptr, "unknown", "not recovered: the run was stopped")};
  finish(sample, 30, "aborted", 5, "login.success_ratio was below 25% for 5 s: 20.1 %", {{"recovered", false}, {"seconds", nullptr}, {"because", "the run was stopped before it could settle"}});
  return sample;
}

Sample residue_sample() {
  Sample sample = begin();
  inject(sample, 0.798, true);
  const char* because = "auth1 of backend auth has weight 60; it was 10 before and 80 during the fault: somebody changed it meanwhile";
  const char* remedy = "look at it, then run: capsize revert 20261122-220003-7f3a --accept f0.s0";
  undo(sample, kBaseline + kFault, "refused", because, remedy);
  add_windows(sample, outage, 0, 30);
  Json fault = skew_fault(0.798, true);
  fault["undo"] = "refused";
  sample.verdict["faults"].push_back(fault);
  sample.verdict["findings"] = {success_finding(0.3591, "no"), latency_finding(1.001, "no"), wrongly_accepted_finding(), recovery_finding(nullptr, "unknown", "the recovery was not watched: the faults were not verified gone")};
  sample.verdict["residue"].push_back({{"fault", 0}, {"step", "f0.s0"}, {"state", "refused"}, {"because", because}, {"remedy", remedy}});
  finish(sample, 30, "residue", 6, "an undo was refused or failed: auth1 of backend auth has weight 60", {{"recovered", nullptr}, {"seconds", nullptr}, {"because", "the faults were not verified gone"}});
  return sample;
}

Sample inconclusive_sample() {
  Sample sample = begin();
  const Json gate = gate_findings(0.914);
  sample.verdict["steady_state"] = gate;
  sample.events.push_back(event(kBaseline, "gate", {{"holds", "no"}, {"findings", gate}}));
  sample.events.push_back(event(kBaseline, "stop", {{"kind", "not_steady"}, {"because", "login.success_ratio was 91.4 %; expected at least 99 %"}}));
  add_windows(sample, [](double) { return Moment{0.914, 1.0 / 3, 0.11, 0.24}; }, 0, kBaseline);
  Json fault = skew_fault(0, false);
  fault["effect"] = {{"intended", nullptr}, {"measured", nullptr}, {"bites", false}, {"because", "it was never injected"}};
  fault["undo"] = "nothing_to_undo";
  sample.verdict["faults"].push_back(fault);
  sample.verdict["findings"].push_back(finding("login.success_ratio at least 95% during fault", "unknown", "the run never came to its fault span", Json::object()));
  finish(sample, kBaseline, "inconclusive", 3, "the baseline was not steady: login.success_ratio was 91.4 %; expected at least 99 %", {{"recovered", nullptr}, {"seconds", nullptr}, {"because", "no fault was injected"}});
  return sample;
}

Sample without_faults_sample() {
  Sample sample = begin();
  sample.events[0]["without_faults"] = true;
  sample.events.erase(sample.events.begin() + 1);
  sample.verdict["without_faults"] = true;
  add_windows(sample, [](double) { return Moment{}; }, 0, 22);
  sample.verdict["findings"] = {wrongly_accepted_finding(), recovery_finding(nullptr, "yes", "no fault was injected: there was nothing to recover from")};
  finish(sample, 22, "held", 0, "all 2 expectations held", {{"recovered", nullptr}, {"seconds", nullptr}, {"because", "no fault was injected"}});
  return sample;
}

Sample suspects_sample() {
  Sample sample = refuted_sample();
  const auto line = [](const char* suspect, const char* probe, const char* word, const char* because) -> Json {
    return {{"suspect", suspect}, {"probe", probe}, {"word", word}, {"because", because}, {"evidence", {{"p", 0.5}}}};
  };
  sample.verdict["suspects"] = {line("the database", "database", "ruled out", "0 failed of 120, and 0 of 80 in the baseline"), line("auth2", "at2", "cannot tell", "at2 asked it fewer than 10 times"),
                                line("auth1", "at1", "moved", "31 failed of 36, and 0 of 24 in the baseline")};
  sample.verdict["recovery"]["rebalance"] = {{"because", "4.5 s after the undo the shares of shares were at most half as far from the baseline's as in the fault"}};
  return sample;
}

Sample alerts_sample() {
  Sample sample = suspects_sample();
  const auto line = [](const char* alert, const char* probe, Json detected, Json seconds, const char* because) -> Json {
    return {{"alert", alert}, {"probe", probe}, {"server", "http://127.0.0.1:9090"}, {"detected", std::move(detected)}, {"time_to_detect", seconds}, {"time_to_clear", nullptr}, {"because", because}};
  };
  sample.verdict["alerts"] = {line("LoginsOnOneServer", "alarm", true, 4.25, "LoginsOnOneServer fired 4.25 s after the fault"),
                              line("LoginsSlow", "slow", false, nullptr, "LoginsSlow did not fire within 22.00 s of the fault (there is no alert rule of this name)"),
                              line("LoginsFail", "fail", nullptr, nullptr, "not every look had an answer")};
  sample.verdict["left_out"] = Json::array({{{"probe", "page"}, {"expectations", 2}}});
  return sample;
}

std::vector<NamedSample> all_samples() {
  return {{"refuted", refuted_sample()}, {"held", held_sample()}, {"unrecovered", unrecovered_sample()}, {"invalid", invalid_sample()}, {"aborted", aborted_sample()},
          {"residue", residue_sample()}, {"inconclusive", inconclusive_sample()}, {"without-faults", without_faults_sample()}};
}

}  // namespace capsize
