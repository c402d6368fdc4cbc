#include "probes/alert/alert_state.h"

#include <array>
#include <utility>

namespace capsize {
namespace {

constexpr std::array<std::pair<AlertState, std::string_view>, 6> kWords = {{{AlertState::silent, "silent"},
                                                                           {AlertState::pending, "pending"},
                                                                           {AlertState::firing, "firing"},
                                                                           {AlertState::suppressed, "suppressed"},
                                                                           {AlertState::no_rule, "no_rule"},
                                                                           {AlertState::broken, "broken"}}};

bool has_labels(const Json& found, const AlertLabels& wanted) {
  for (const auto& [name, value] : wanted) {
    const auto label = found.find(name);
    if (label == found.end() || *label != value) return false;
  }
  return true;
}

Json state(AlertState state, const std::string& because = "") {
  Json out = {{"state", to_string(state)}};
  if (!because.empty()) out["because"] = because;
  return out;
}

std::string who_suppresses(const Json& status) {
  const Json& silenced = status.at("silencedBy");
  if (!silenced.empty()) return "silenced by " + silenced.at(0).get<std::string>();
  const Json& inhibited = status.at("inhibitedBy");
  return inhibited.empty() ? "suppressed" : "inhibited by another alert";
}

}  // namespace

std::string_view to_string(AlertState state) {
  for (const auto& [value, word] : kWords) {
    if (value == state) return word;
  }
  return "unknown";
}

AlertState alert_state(const Window& window) {
  const auto found = window.find("state");
  if (found == window.end() || !found->is_string()) return AlertState::unknown;
  for (const auto& [value, word] : kWords) {
    if (*found == word) return value;
  }
  return AlertState::unknown;
}

Json read_rules(const Json& answer, const std::string& alert, const AlertLabels& labels) {
  bool known = false;
  bool evaluated = true;
  bool pending = false;
  bool firing = false;
  std::string error;
  for (const Json& group : answer.at("data").at("groups")) {
    for (const Json& rule : group.at("rules")) {
      if (rule.at("type") != "alerting" || rule.at("name") != alert) continue;
      known = true;
      const std::string health = rule.at("health").get<std::string>();
      if (health == "err") error = rule.value("lastError", "it does not say why");
      else if (health != "ok") evaluated = false;
      for (const Json& one : rule.at("alerts")) {
        if (!has_labels(one.at("labels"), labels)) continue;
        if (one.at("state") == "firing") firing = firing || health != "err";  // what a rule that fails last said is old
        else pending = true;
      }
    }
  }
  if (!known) return state(AlertState::no_rule, "there is no alert rule of this name");
  if (firing) return state(AlertState::firing);  // another rule of the same name may be broken: somebody is told
  if (!error.empty()) return state(AlertState::broken, "its rule cannot be evaluated: " + error);
  if (!evaluated) return {{"gap", "the rule of the alert has not been evaluated yet"}};
  return state(pending ? AlertState::pending : AlertState::silent);
}

Json read_alerts(const Json& answer, const std::string& alert, const AlertLabels& labels) {
  if (!answer.is_array()) return {{"gap", "its answer is no list of alerts"}};
  bool pending = false;
  std::string suppressed;
  for (const Json& one : answer) {
    const Json& found = one.at("labels");
    if (found.at("alertname") != alert || !has_labels(found, labels)) continue;
    const Json& status = one.at("status");
    const std::string word = status.at("state").get<std::string>();
    if (word == "active") return state(AlertState::firing);
    if (word == "suppressed") suppressed = who_suppresses(status);
    else pending = true;
  }
  if (!suppressed.empty()) return state(AlertState::suppressed, suppressed);
  return state(pending ? AlertState::pending : AlertState::silent);
}

}  // namespace capsize
