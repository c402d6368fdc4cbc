#include <fmt/format.h>

#include "experiments/report/summary.h"
#include "experiments/report/words.h"

namespace capsize {
namespace {

std::string with(std::string text, const std::string& because) { return because.empty() ? text : std::move(text) + ": " + because; }

std::string phase_text(const Json& event) {
  const std::string phase = text_of(event, "phase");
  const std::string because = text_of(event, "because");
  const auto lasts = number_of(event, "lasts");
  const std::string length = lasts ? " for " + plain_seconds(*lasts) : "";
  if (phase == "baseline") return with("baseline: the unharmed system is watched" + length, because);
  if (phase == "fault") return with("fault phase begins" + (lasts ? ", " + plain_seconds(*lasts) : ""), because);
  if (phase == "revert") return with("undoing every fault", because);
  if (phase == "recovery") return with("recovery: watched until the steady state lasts" + (lasts ? ", at most " + plain_seconds(*lasts) : ""), because);
  if (phase == "escape") return with("escape test: the login load is lowered step by step until logins succeed" + (lasts ? ", for at most " + plain_seconds(*lasts) : ""), because);
  if (phase == "end") return with("the run ends", because);
  return with("phase " + phase, because);
}

std::string gate_text(const Json& event) {
  const std::string holds = text_of(event, "holds");
  if (holds == "yes") return "the baseline is steady";
  std::string out = holds == "no" ? "the baseline is not steady" : "the baseline may not be steady";
  for (const Json& finding : list_of(event, "findings")) {
    if (text_of(finding, "holds") != "yes") out += "; " + text_of(finding, "because");
  }
  return out;
}

std::string undo_text(const Json& event, const std::string& name) {
  const std::string state = text_of(event, "state");
  const std::string because = text_of(event, "because");
  std::string out;
  if (state == "undone") out = with(name + " undone", because);
  else if (state == "nothing_to_undo") out = with(name + ": nothing to undo", because);
  else out = with(fmt::format("{} NOT undone ({})", name, state.empty() ? "unknown" : state), because);
  const std::string remedy = text_of(event, "remedy");
  return remedy.empty() ? out : out + "; " + remedy;
}

// Of a game day: what is sealed, what was asked and answered.
std::optional<std::string> tell_game(const std::string& kind, const Json& event) {
  const std::string text = text_of(event, "text");
  const std::string question = text_of(event, "question");
  if (kind == "seal") {
    return fmt::format("sealed: one of {} causes; the SHA-256 of the choice is {}", plain_count(number_of(event, "causes").value_or(0)), text_of(event, "commitment"));
  }
  if (kind == "opened") return with("the seal is opened: it was " + text_of(event, "name"), text_of(event, "cause"));
  if (kind == "note") return (text_of(event, "from") == "room" ? "said: " : "note: ") + text;
  if (kind == "ask") {
    return fmt::format("QUESTION {}: {}{}", question, text, member(event, "answerable") == false ? "" : fmt::format(" (answer within {})", plain_seconds(number_of(event, "within").value_or(0))));
  }
  if (kind == "answer") return fmt::format("answer to {} after {}: {}", question, plain_seconds(number_of(event, "after").value_or(0)), text);
  if (kind == "unanswered") return with(question + " was not answered", text_of(event, "because"));
  return std::nullopt;
}

}  // namespace

Teller::Told& Teller::fault(const Json& event) {
  const auto index = std::min(static_cast<std::size_t>(std::max(0.0, number_of(event, "fault").value_or(0))), kMaxFaults - 1);
  if (faults_.size() <= index) faults_.resize(index + 1);
  return faults_[index];
}

std::string Teller::name(const Json& event) {
  const auto index = static_cast<std::size_t>(std::max(0.0, number_of(event, "fault").value_or(0)));
  const Json& all = member(playbook_, "faults");
  std::string out = all.is_array() && index < all.size() ? text_of(all[index], "fault") : std::string();
  if (out.empty()) return fmt::format("fault {}", index + 1);
  return all.size() > 1 ? fmt::format("{} (fault {})", out, index + 1) : out;
}

std::vector<std::string> Teller::in_place() const {
  std::vector<std::string> out;
  for (const Told& fault : faults_) {
    if (fault.injected) out.push_back(fault.summary.empty() ? fault.name : fault.name + ": " + fault.summary);
  }
  return out;
}

std::optional<EventWords> Teller::tell(const Json& event) {
  const std::string kind = text_of(event, "event");
  const double t = number_of(event, "t").value_or(0);
  const auto say = [&](const char* what, std::string text) { return EventWords{t, what, std::move(text)}; };
  if (kind == "run") {
    playbook_ = member(event, "playbook");
    const bool unharmed = member(event, "without_faults") == true;
    return say("run", fmt::format("run {}: {}{}", text_of(event, "run"), text_of(event, "title"), unharmed ? " (without faults)" : ""));
  }
  if (kind == "phase") return say("phase", phase_text(event));
  if (kind == "gate") return say("phase", gate_text(event));
  if (kind == "planned") {
    Told& told = fault(event);
    told.name = name(event);
    told.summary = text_of(event, "summary");
    return say("plan", with(told.name + " planned", told.summary));
  }
  if (kind == "injecting" || kind == "injected") {
    Told& told = fault(event);
    told.name = name(event);
    told.injected = true;
    if (kind == "injecting") return std::nullopt;
    return say("fault", with(told.name + " injected", told.summary));
  }
  if (kind == "effect") {
    const Json& effect = member(event, "effect");
    const bool bites = member(effect, "bites") == true;
    Told& told = fault(event);
    if (told.bites == bites) return std::nullopt;
    told.bites = bites;
    return say("fault", with(name(event) + (bites ? " bites" : " does not bite"), text_of(effect, "because")));
  }
  if (kind == "undo") {
    const std::string state = text_of(event, "state");
    if (state == "undone" || state == "nothing_to_undo") fault(event).injected = false;
    return say("undo", undo_text(event, name(event)));
  }
  if (kind == "undone") {
    return say("undo", member(event, "ok") == false ? "NOT every fault is undone: see the undo above" : "every fault is gone and read back: the recovery clock starts");
  }
  if (kind == "stop") {
    const std::string by = text_of(event, "kind");
    return say("stop", with(by == "operator" ? "stopped by the operator" : "stopped", text_of(event, "because")));
  }
  if (kind == "escape") return say("notice", "the login load is lowered to " + plain_value("ratio", number_of(event, "share").value_or(1)));
  if (auto words = tell_game(kind, event)) return say(kind == "ask" ? "ask" : "notice", std::move(*words));
  if (kind == "notice") return say("notice", with(text_of(event, "what"), text_of(event, "because")));
  return std::nullopt;
}

}  // namespace capsize
