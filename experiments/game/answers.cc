#include "experiments/game/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "injector/base/located_json.h"
#include "injector/base/spec.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxAnswers = 1000;

struct AnswerKeys {
  std::string to;
  Duration after{};
  std::string text;
};

Rule<std::string> some_text() {
  return {[](const std::string& text) -> std::optional<Mistake> {
            if (text.find_first_not_of(' ') == std::string::npos) return Mistake{"an empty answer", "write what a person would say, or leave the entry out"};
            if (text.size() > kMaxAnswerBytes) return Mistake{fmt::format("an answer of more than {} bytes", kMaxAnswerBytes), "write a shorter one"};
            return std::nullopt;
          },
          nullptr};
}

const Spec<AnswerKeys>& answer_spec() {
  static const auto spec = Spec<AnswerKeys>()
                               .required("to", &AnswerKeys::to, "the name of a question of the playbook")
                               .optional("after", &AnswerKeys::after, "how long after it was asked")
                               .required("text", &AnswerKeys::text, "what is answered", some_text());
  return spec;
}

std::string in_quotes(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

const RoomStep* question(const Playbook& playbook, const std::string& name) {
  for (const RoomStep& step : playbook.steps) {
    if (!step.ask.empty() && step.name == name) return &step;
  }
  return nullptr;
}

std::vector<std::string> questions(const Playbook& playbook) {
  std::vector<std::string> out;
  for (const RoomStep& step : playbook.steps) {
    if (!step.ask.empty()) out.push_back(step.name);
  }
  return out;
}

// The entries, or what is wrong with the file as a whole.
Json entries(const Json& json, Diagnostics& found) {
  if (!json.is_object()) {
    const Mistake mistake = wrong_type(json, "an object: { \"answers\": [ ... ] }");
    found.add("", mistake.fact, mistake.remedy);
    return Json::array();
  }
  for (const auto& [key, value] : json.items()) {
    if (key != "answers") found.add_key(pointer_join("", key), fmt::format("{} is not a key here", in_quotes(key)), "the only one is \"answers\"");
  }
  if (!json.contains("answers")) {
    found.add_key("", "\"answers\" is missing (what is answered)", "add \"answers\": [ { \"to\": \"...\", \"after\": \"5s\", \"text\": \"...\" } ]");
  } else if (!json["answers"].is_array()) {
    const Mistake mistake = wrong_type(json["answers"], "a list: [ ... ]");
    found.add("/answers", mistake.fact, mistake.remedy);
  } else if (json["answers"].size() > kMaxAnswers) {
    found.add("/answers", fmt::format("more than {} answers", kMaxAnswers), "leave some out");
  } else {
    return json["answers"];
  }
  return Json::array();
}

}  // namespace

AnswersResult read_answers(const std::string& text, const Playbook& playbook) {
  AnswersResult out;
  Diagnostics& found = out.diagnostics;
  const auto located = parse_located(text, found);
  if (!located) return out;
  std::map<std::string, std::size_t> given;
  const Json list = entries(located->json, found);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string pointer = pointer_join("/answers", i);
    const AnswerKeys keys = answer_spec().parse(list[i], pointer, {}, found);
    if (!list[i].is_object() || !list[i].contains("to") || !list[i]["to"].is_string()) continue;
    const RoomStep* step = question(playbook, keys.to);
    if (step == nullptr) {
      const Mistake mistake = wrong_word(keys.to, questions(playbook));
      found.add(pointer + "/to", fmt::format("the playbook has no question {}", in_quotes(keys.to)), questions(playbook).empty() ? "it asks nothing: run it without --answers" : mistake.remedy);
      continue;
    }
    if (keys.after > step->within) found.add(pointer + "/after", fmt::format("{} takes answers for {} only", in_quotes(keys.to), show(step->within)), "answer sooner, or make its \"within\" longer");
    if (given[keys.to]++ > 0 && !step->scores) found.add(pointer + "/to", fmt::format("{} is closed by its first answer, and has one already", in_quotes(keys.to)), "leave one out");
    out.answers.push_back({keys.to, keys.after, keys.text});
  }
  located->locate(found);
  return out;
}

}  // namespace capsize
