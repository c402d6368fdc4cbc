// The sample whose texts come from people who mean harm.
#include "tests/experiments/report_samples.h"

namespace capsize {
namespace {

Json event(double t, const char* kind, Json fields) {
  fields["t"] = t;
  fields["event"] = kind;
  return fields;
}

// A game day, in which people say `text`, too.
void add_game(Sample& sample, const std::string& text) {
  const auto said = [&](double seconds) -> Json { return {{"seconds", seconds}, {"because", text}, {"text", text}, {"asked", true}}; };
  Json& score = sample.verdict["score"] = {{"began", 10.3}, {"felt", 2.0}, {"false_alarms", 1}, {"detected", said(4)}, {"first_hypothesis", said(6)}, {"mitigation", said(11)}, {"recovery", said(20)}};
  score["right_hypothesis"] = {{"seconds", nullptr}, {"because", text}, {"asked", true}};
  score["hypotheses"] = Json::array({{{"t", 16.3}, {"after", 6.0}, {"question", text}, {"text", text}, {"judged", "wrong"}}});
  sample.verdict["sealed"] = {{"commitment", "5f2a"}, {"causes", 2}, {"choice", 0}, {"name", text}, {"cause", text}, {"opening", text}, {"matches", false}};
  Json answer = {{"t", 16.3}, {"after", 5.0}, {"text", text}};
  sample.verdict["questions"] = Json::array({{{"question", text}, {"text", text}, {"asked", 11.3}, {"answers", Json::array({answer})}, {"unanswered", text}}});
  sample.verdict["recovery"]["retry_amplification"] = {{"probe", text}, {"baseline", 1.0}, {"fault", 2.4}, {"after", 3.0}};
  sample.verdict["recovery"]["escape"] = {{"escaped", false}, {"seconds", 20.0}, {"full_load", 205.0}, {"because", text}};
  sample.verdict["recovery"]["escape"]["steps"] = Json::array({{{"share", 0.5}, {"load", 102.5}, {"from", 62.0}, {"to", 82.0}, {"steady", false}, {"because", text}}});
  for (const Json& one : {event(1, "seal", {{"causes", 2}, {"commitment", "5f2a"}}), event(11, "note", {{"from", "playbook"}, {"text", text}}), event(11.1, "note", {{"from", "room"}, {"text", text}}),
                          event(11.3, "ask", {{"question", text}, {"text", text}, {"within", 20}, {"scores", "hypothesis"}, {"answerable", true}}),
                          event(16.3, "answer", {{"question", text}, {"after", 5.0}, {"text", text}}), event(31.3, "unanswered", {{"question", text}, {"because", text}}),
                          event(42, "opened", {{"choice", 0}, {"name", text}, {"cause", text}, {"opening", text}})}) {
    sample.events.push_back(one);
  }
}

}  // namespace

Sample hostile_sample(const std::string& text) {
  Sample sample = alerts_sample();
  for (Json& line : sample.verdict["suspects"]) {
    for (const char* key : {"suspect", "probe", "because"}) line[key] = text;
  }
  for (Json& line : sample.verdict["alerts"]) {
    line["probe"] = text + line["probe"].get<std::string>();
    for (const char* key : {"alert", "because"}) line[key] = text;
  }
  sample.verdict["left_out"][0]["probe"] = text;
  const auto rename = [&](Json& object, const char* key) { object[key] = object[key].is_string() ? object[key].get<std::string>() + text : text; };
  for (const char* key : {"title", "description"}) rename(sample.playbook, key);
  for (const char* key : {"title", "run", "because", "started", "outcome"}) rename(sample.verdict, key);
  sample.playbook["probes"]["login" + text] = sample.playbook["probes"]["login"];
  sample.verdict["outcome"] = "refuted";
  for (Json& finding : sample.verdict["findings"]) {
    for (const char* key : {"expectation", "because"}) rename(finding, key);
    for (const char* key : {"measure", "during", "comparison"}) rename(finding["evidence"], key);
  }
  Json& fault = sample.verdict["faults"][0];
  for (const char* key : {"fault", "target", "summary", "undo", "reason"}) rename(fault, key);
  fault["allowed"].push_back(text);
  fault["effect"]["intended"] = {{text, text}};
  fault["effect"]["measured"] = {{text, text}};
  rename(fault["effect"], "because");
  sample.verdict["residue"] = {{{"fault", 0}, {"step", text}, {"state", text}, {"because", text}, {"remedy", text}}, text};
  sample.verdict["recovery"] = {{"recovered", false}, {"because", text}, {"kind", text}, {"kind_because", text}, {"rebalance", {{"because", text}}}};
  for (Json& one : sample.events) {
    const std::string kind = one["event"];
    for (const char* key : {"because", "summary", "reason", "remedy", "title", "version"}) {
      if (kind != "window") rename(one, key);
    }
    if (kind == "run") one["playbook"] = sample.playbook;
    if (kind == "effect") rename(one["effect"], "because");
    if (kind == "window" && one["window"].contains("servers")) one["window"]["servers"][text] = one["window"]["servers"]["auth1"];
    if (kind == "window" && one["probe"] == "login" && one["t"].get<double>() > 20) one["probe"] = "login" + text;
  }
  add_game(sample, text);
  sample.events.push_back(event(43, "notice", {{"what", text}, {"because", text}}));
  sample.events.push_back(event(43, "stop", {{"kind", text}, {"because", text}}));
  sample.events.push_back(event(43, "lateness", {{"probe", text}, {text, text}}));
  return sample;
}

}  // namespace capsize
