// Timelines made by hand, for tests of what reads them: a playbook with logins, suspects and shares, and windows of a given truth.
#pragma once
#include <cmath>
#include <functional>

#include "experiments/evidence.h"
#include "injector/base/rng.h"
#include "probes/load/load_window.h"

namespace capsize::test {

inline Playbook made_playbook(const Json& changes = Json::object()) {
  Json json = Json::parse(R"({
    "playbook": 1, "title": "made",
    "targets": {"one": {"type": "process", "pid": "1"}, "balancer": {"type": "haproxy", "socket": "/run/a.sock", "backend": "auth"}},
    "probes": {
      "login": {"probe": "login.http", "url": "http://127.0.0.1:1/login", "rate": "100/s"},
      "shares": {"probe": "balancer.shares", "target": "balancer"},
      "base": {"probe": "tcp.connect", "address": "127.0.0.1:5", "rate": "10/s", "suspect": "database"},
      "one": {"probe": "tcp.connect", "address": "127.0.0.1:6", "rate": "10/s", "suspect": "auth1"}
    },
    "timing": {"baseline": "10s", "recovery": "30s", "settle": "5s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "99%"}],
    "faults": [{"fault": "process.pause", "name": "first", "target": "one", "for": "6s"}, {"fault": "process.pause", "target": "one", "at": "8s", "for": "12s", "name": "second"}],
    "hypothesis": [{"measure": "login.success_ratio", "at_least": "95%"}]
  })");
  json.merge_patch(changes);
  PlaybookResult result = read_playbook(json.dump(), PlaybookOptions{});
  INFO(result.diagnostics.text("made"));
  REQUIRE(result.playbook);
  return std::move(*result.playbook);
}

inline void phase(Evidence& evidence, double t, const char* name) { evidence.add({{"t", t}, {"event", "phase"}, {"phase", name}}); }

// What a login that is due at t meets: how likely it is to succeed, and how long it takes (seconds).
struct Truth {
  double success = 1;
  double takes = 0.02;
  double spread = 1;      // of what it takes
  double sent_late = 50e-6;
};

inline std::vector<Json> load_events(const std::string& probe, double from, double to, double rate, const std::function<Truth(double t)>& truth, Rng& rng) {
  constexpr double kWindow = 0.25;
  const auto duration = [](double value) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value)); };
  std::vector<Json> out;
  for (int i = 0; from + i * kWindow < to - 1e-9; ++i) {
    LoadWindow window;
    window.from = from + i * kWindow;
    window.to = window.from + kWindow;
    // As the schedule has it: whole logins, and the rest carried over.
    const auto due = static_cast<std::uint64_t>(std::floor(window.to * rate + 1e-9) - std::floor(window.from * rate + 1e-9));
    window.scheduled = window.ended = due;
    for (std::uint64_t n = 0; n < due; ++n) {
      const Truth now = truth(window.from);
      const bool good = rng.chance(now.success);
      ++window.counts[bucket_of(good ? Answer::ok : Answer::denied)];
      if (good) window.latency.record(duration(now.takes * (1 - now.spread / 2 + now.spread * rng.uniform())));
      window.send_late.record(duration(now.sent_late));
    }
    out.push_back({{"t", window.to}, {"event", "window"}, {"probe", probe}, {"window", to_json(window)}});
  }
  return out;
}

inline void add_load(Evidence& evidence, const std::string& probe, double from, double to, double rate, const std::function<Truth(double t)>& truth, Rng& rng) {
  for (const Json& event : load_events(probe, from, to, rate, truth, rng)) evidence.add(event);
}

inline void add_shares(Evidence& evidence, double from, double to, const std::function<std::vector<int>(double t)>& sessions) {
  for (double at = from; at < to - 1e-9; at += 0.5) {
    Json servers = Json::object();
    const auto now = sessions(at);
    for (std::size_t i = 0; i < now.size(); ++i) servers["auth" + std::to_string(i + 1)] = {{"sessions", now[i]}, {"errors", 0}, {"queue", 0}, {"current", 1}, {"weight", 10}, {"status", "UP"}};
    evidence.add({{"t", at + 0.5}, {"event", "window"}, {"probe", "shares"}, {"window", {{"from", at}, {"to", at + 0.5}, {"servers", servers}, {"queue", 0}}}});
  }
}

}  // namespace capsize::test
