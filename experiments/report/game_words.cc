// What a game day came to, in words: for the terminal, the reports and the postmortem.
#include <fmt/format.h>

#include "experiments/game/score.h"
#include "experiments/report/summary.h"
#include "experiments/report/words.h"

namespace capsize {
namespace {

struct Line {
  const char* key;
  const char* what;
};
constexpr Line kLines[] = {{"detected", "time to detect"},
                           {"first_hypothesis", "first hypothesis"},
                           {"right_hypothesis", "right hypothesis"},
                           {"mitigation", "mitigation"},
                           {"recovery", "recovery"}};

// Of a question that nobody was asked there is nothing to say.
bool was_asked(const Json& line) { return member(line, "asked") != false; }

}  // namespace

bool never_told(const Json& verdict) { return untold(member(verdict, "sealed")) && member(member(verdict, "phases"), "fault").is_object(); }

GameWords game_words(const Json& verdict) {
  GameWords out;
  const Json& sealed = member(verdict, "sealed");
  out.commitment = text_of(sealed, "commitment");
  out.opening = text_of(sealed, "opening");
  out.matches = member(sealed, "matches") == true;
  if (const std::string name = text_of(sealed, "name"); !name.empty()) out.cause = name + ": " + text_of(sealed, "cause");
  out.untold = untold(sealed);
  const Json& score = member(verdict, "score");
  if (!score.is_object()) return out;
  out.began = number_of(score, "began").has_value();
  // Where nothing was injected and nothing asked for, not even the recovery is a line.
  bool any = out.began;
  for (const Line& line : kLines) any = any || (line.key != std::string_view("recovery") && was_asked(member(score, line.key)));
  for (const Line& line : kLines) {
    const Json& one = member(score, line.key);
    if (!any || !was_asked(one)) continue;
    const auto seconds = number_of(one, "seconds");
    const std::string text = text_of(one, "text");
    out.score.push_back({line.what, seconds ? plain_seconds(*seconds) : "never", seconds && !text.empty() ? "\"" + text + "\"" : text_of(one, "because"), seconds.has_value()});
  }
  if (const auto alarms = number_of(score, "false_alarms"); alarms && *alarms > 0) {
    out.score.push_back({"false alarms", plain_count(*alarms), "said that something was wrong before anything was", true});
  }
  for (const Json& one : list_of(score, "hypotheses")) {
    const auto after = number_of(one, "after");
    out.hypotheses.push_back({after ? (*after < 0 ? plain_seconds(-*after) + " before" : plain_seconds(*after)) : "", text_of(one, "text"), text_of(one, "judged")});
  }
  return out;
}

}  // namespace capsize
