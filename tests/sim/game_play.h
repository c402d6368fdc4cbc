// What the tests of game days share: the shipped one played sealed, and a short one whose one fault is told.
#pragma once
#include "experiments/game/answers.h"
#include "experiments/game/sealed.h"
#include "experiments/verdict.h"
#include "tests/sim/login_world.h"

namespace capsize::test {

inline const std::filesystem::path kPlaybooks = std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks";

inline std::vector<Json> events_of(const LoginWorld::Result& result, const std::string& kind) {
  std::vector<Json> out;
  for (const Json& event : result.events) {
    if (event["event"] == kind) out.push_back(event);
  }
  return out;
}

inline std::vector<ScriptedAnswer> shipped_answers(const Playbook& playbook) {
  AnswersResult result = read_answers(file_text(kPlaybooks / "answers/game-day.json"), playbook);
  INFO(result.diagnostics.text("answers/game-day.json"));
  REQUIRE(result.diagnostics.ok());
  return std::move(result.answers);
}

// The seed with which this cause is chosen.
inline std::uint64_t seed_for(const Playbook& playbook, std::size_t choice) {
  for (std::uint64_t seed = 1;; ++seed) {
    if (seal_choice(playbook, seed, "salt").choice == choice) return seed;
  }
}

struct Played {
  LoginWorld::Result result;
  std::vector<Json> seen;  // by whom the cause is hidden from
  Json opened;             // the playbook as it was run
};

inline Played play_sealed(LoginWorld& world, const Playbook& playbook, std::size_t choice, std::vector<ScriptedAnswer> answers = {}) {
  RunOptions options;
  options.seed = seed_for(playbook, choice);
  options.seal = seal_choice(playbook, options.seed, "salt");
  options.answers = std::move(answers);
  Played out;
  world.on_start = [&](Timeline& timeline) {
    timeline.veil = [&](const Json& event) { return seen_meanwhile(event, playbook.as_run); };
    timeline.on_event = [&](const Json& event) { out.seen.push_back(event); };
  };
  const Playbook open = open_sealed(playbook, choice);
  out.opened = open.as_run;
  out.result = world.run_with(open, options);
  world.on_start = nullptr;
  return out;
}

// A short one, whose one fault is told.
inline Playbook short_playbook(LoginWorld& world, const Json& steps) {
  Json json = Json::parse(R"({
    "playbook": 1, "title": "asks",
    "variables": {"login_url": "", "session_url": "", "balancer_socket": "", "backend": ""},
    "targets": {"balancer": {"type": "haproxy", "socket": "${balancer_socket}", "backend": "${backend}"}},
    "probes": {"login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "165/s", "users": 500, "timeout": "1s"}},
    "timing": {"baseline": "4s", "recovery": "20s", "settle": "4s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "99%"}],
    "faults": [{"fault": "balancer.skew", "target": "balancer", "server": "auth2", "share": "80%", "for": "6s"}]
  })");
  if (!steps.empty()) json["steps"] = steps;
  return world.playbook(json.dump());
}

inline Json two_questions() {
  return Json::parse(R"([
    {"ask": "What is wrong?", "name": "cause", "during": "baseline", "at": "1s", "within": "10m", "scores": "hypothesis"},
    {"ask": "Still there?", "name": "there", "during": "fault", "at": "2s", "within": "10m"},
    {"note": "half way", "during": "fault", "at": "3s"}])");
}

inline double undone_at(const LoginWorld::Result& result) { return events_of(result, "undone").at(0)["t"].get<double>(); }

inline bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace capsize::test
