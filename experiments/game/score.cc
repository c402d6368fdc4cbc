#include "experiments/game/score.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/game/sealed.h"

namespace capsize {
namespace {

constexpr double kSlice = 1.0;   // seconds in which the steady state is clearly missed, or not
constexpr double kStep = 0.25;

struct Said {
  double t = 0;
  std::string question, text;
};

// The answers to questions that are scored so, in the order of the timeline.
std::vector<Said> said_as(const Playbook& playbook, const std::vector<Json>& events, Scores scores) {
  std::vector<Said> out;
  for (const Json& event : events) {
    if (event.value("event", "") != "answer") continue;
    const std::string name = event.value("question", "");
    const auto step = std::find_if(playbook.steps.begin(), playbook.steps.end(), [&](const RoomStep& one) { return !one.ask.empty() && one.name == name; });
    if (step != playbook.steps.end() && step->scores == scores) out.push_back({event.value("t", 0.0), name, event.value("text", "")});
  }
  return out;
}

bool scored_as(const Playbook& playbook, Scores scores) {
  return std::any_of(playbook.steps.begin(), playbook.steps.end(), [&](const RoomStep& step) { return !step.ask.empty() && step.scores == scores; });
}

// Whether a question that is scored so was asked, and of somebody.
bool asked_as(const std::vector<Json>& events, Scores scores) {
  return std::any_of(events.begin(), events.end(), [&](const Json& event) {
    return event.value("event", "") == "ask" && event.value("scores", "") == to_string(scores) && event.value("answerable", true);
  });
}

// When what is to be found out was in place: the chosen cause of a sealed run, else the first fault.
std::optional<double> began(const Playbook& playbook, const std::vector<Json>& events) {
  const std::size_t chosen = playbook.opened ? playbook.sealed.at(*playbook.opened).faults.size() : playbook.faults.size();
  const std::size_t first = playbook.faults.size() - std::min(chosen, playbook.faults.size());
  for (const Json& event : events) {
    if (event.value("event", "") == "injected" && event.value("fault", std::size_t{0}) >= first) return event.value("t", 0.0);
  }
  return std::nullopt;
}

std::optional<double> felt(const Evidence& evidence, double from) {
  const double end = evidence.complete_until();
  for (double at = from; at + kSlice <= end; at += kStep) {
    for (const Expectation& expectation : evidence.playbook().steady_state) {
      if (evidence.clearly_missed(expectation, {at, at + kSlice})) return at - from;
    }
  }
  return std::nullopt;
}

Json line(std::optional<double> seconds, std::string because) {
  Json out = {{"seconds", nullptr}, {"because", std::move(because)}};
  if (seconds) out["seconds"] = *seconds;
  return out;
}

Json line_of(const Said& said, double from) {
  Json out = line(said.t - from, fmt::format("{:.1f} s after it began: \"{}\"", said.t - from, said.text));
  out["text"] = said.text;
  return out;
}

std::string judged(const Playbook& playbook, const std::string& text) {
  if (!playbook.opened) return "unknown";
  const auto named = causes_named(playbook.sealed, text);
  if (std::find(named.begin(), named.end(), *playbook.opened) == named.end()) return "wrong";
  return named.size() == 1 ? "right" : "several";
}

Json first_after(const Playbook& playbook, const std::vector<Said>& all, Scores scores, double from, bool asked) {
  for (const Said& said : all) {
    if (said.t >= from) return line_of(said, from);
  }
  if (!asked) return line(std::nullopt, scored_as(playbook, scores) ? "nobody was asked" : fmt::format("no question of the playbook scores \"{}\"", to_string(scores)));
  return line(std::nullopt, "nobody said anything while it could be known");
}

Json right_one(const Playbook& playbook, const Json& hypotheses, double from, bool asked) {
  if (!playbook.opened) return line(std::nullopt, "the run was not sealed: everybody could know it");
  for (const Json& one : hypotheses) {
    if (one["judged"] != "right" || one["t"].get<double>() < from) continue;
    return line_of({one["t"].get<double>(), "", one["text"].get<std::string>()}, from);
  }
  if (!asked) return line(std::nullopt, "nobody was asked");
  if (hypotheses.empty()) return line(std::nullopt, "there was no hypothesis");
  return line(std::nullopt, fmt::format("none of {} named \"{}\" and nothing else once it had begun", hypotheses.size() == 1 ? "one hypothesis" : fmt::format("{} hypotheses", hypotheses.size()), playbook.sealed.at(*playbook.opened).name));
}

Json recovery_line(const Evidence& evidence, const Json& recovery, double from) {
  const Json& after = recovery.at("seconds");
  if (!after.is_number() || !evidence.undone_at()) return line(std::nullopt, recovery.value("because", ""));
  const double whole = *evidence.undone_at() + after.get<double>() - from;
  return line(whole, fmt::format("well again {:.1f} s after it began, and {:.1f} s after it was taken away", whole, after.get<double>()));
}

}  // namespace

Json game_score(const Playbook& playbook, const std::vector<Json>& events, const Evidence& evidence, const Json& recovery) {
  if ((!playbook.asks() && !playbook.opened) || evidence.untold()) return nullptr;
  const auto from = began(playbook, events);
  Json out = {{"began", nullptr}, {"felt", nullptr}};
  const auto hypotheses = said_as(playbook, events, Scores::hypothesis);
  const auto alarms = said_as(playbook, events, Scores::detected);
  Json told = Json::array();
  for (const Said& said : hypotheses) {
    told.push_back({{"t", said.t}, {"question", said.question}, {"text", said.text}, {"judged", judged(playbook, said.text)}});
    told.back()["after"] = from ? Json(said.t - *from) : Json(nullptr);
  }
  out["false_alarms"] = std::count_if(alarms.begin(), alarms.end(), [&](const Said& said) { return !from || said.t < *from; });
  const bool of_detected = asked_as(events, Scores::detected), of_hypothesis = asked_as(events, Scores::hypothesis), of_mitigation = asked_as(events, Scores::mitigation);
  const std::pair<const char*, bool> lines[] = {{"detected", of_detected}, {"first_hypothesis", of_hypothesis}, {"right_hypothesis", of_hypothesis && playbook.opened}, {"mitigation", of_mitigation}};
  if (!from) {
    for (const auto& [key, asked] : lines) out[key] = line(std::nullopt, "nothing was injected"), out[key]["asked"] = asked;
    out["recovery"] = line(std::nullopt, "nothing was injected");
    out["hypotheses"] = std::move(told);
    return out;
  }
  out["began"] = *from;
  if (const auto seconds = felt(evidence, *from)) out["felt"] = *seconds;
  out["detected"] = first_after(playbook, alarms, Scores::detected, *from, of_detected);
  out["first_hypothesis"] = first_after(playbook, hypotheses, Scores::hypothesis, *from, of_hypothesis);
  out["right_hypothesis"] = right_one(playbook, told, *from, of_hypothesis);
  out["mitigation"] = first_after(playbook, said_as(playbook, events, Scores::mitigation), Scores::mitigation, *from, of_mitigation);
  for (const auto& [key, asked] : lines) out[key]["asked"] = asked;
  out["recovery"] = recovery_line(evidence, recovery, *from);
  out["hypotheses"] = std::move(told);
  return out;
}

Json sealed_json(const std::vector<Json>& events) {
  Json out;
  bool told = false;  // the name of the cause is in the file some moments before what was done: without that nothing is told
  for (const Json& event : events) {
    const std::string kind = event.value("event", "");
    if (kind == "planned") told = true;
    if (kind == "seal") out = {{"commitment", event.value("commitment", "")}, {"causes", event.value("causes", 0)}};
    if (kind != "opened" || !told || !out.is_object()) continue;
    for (const char* key : {"choice", "name", "cause", "opening"}) out[key] = event.contains(key) ? event[key] : Json();
    out["matches"] = commitment_of(event.value("opening", "")) == out["commitment"].get<std::string>();
  }
  return out;
}

bool untold(const Json& sealed) { return sealed.is_object() && !sealed.contains("opening"); }

Json questions_json(const std::vector<Json>& events) {
  Json out = Json::array();
  for (const Json& event : events) {
    const std::string kind = event.value("event", "");
    if (kind == "ask") out.push_back({{"question", event.value("question", "")}, {"text", event.value("text", "")}, {"asked", event.value("t", 0.0)}, {"answers", Json::array()}});
    for (Json& one : out) {
      if (one["question"] != event.value("question", "")) continue;
      if (kind == "answer") one["answers"].push_back({{"t", event.value("t", 0.0)}, {"after", event.value("after", 0.0)}, {"text", event.value("text", "")}});
      if (kind == "unanswered") one["unanswered"] = event.value("because", "");
    }
  }
  return out;
}

}  // namespace capsize
