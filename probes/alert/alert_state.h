// What Prometheus or an Alertmanager says of one alert, as a window has it in "state". Pure.
#pragma once
#include <map>
#include <string>
#include <string_view>

#include "probes/alert/poll_probe.h"

namespace capsize {

enum class AlertState {
  silent,      // there is a rule, evaluated without error, or an Alertmanager that has not heard of it
  pending,     // its condition holds, but not for long enough; or an Alertmanager has not looked at it yet
  firing,
  suppressed,  // an Alertmanager has it, but it is silenced or inhibited: nobody is told
  no_rule,     // Prometheus has no such rule
  broken,      // Prometheus cannot evaluate the rule
  unknown,     // no answer
};
std::string_view to_string(AlertState state);
AlertState alert_state(const Window& window);

// What a state proves. `silent` proves that it does not fire; no_rule and broken do not fire either, but prove nothing by it.
inline bool fires(AlertState state) { return state == AlertState::firing; }
inline bool is_there(AlertState state) { return state == AlertState::firing || state == AlertState::suppressed; }
inline bool is_silent(AlertState state) { return state == AlertState::silent || state == AlertState::pending; }

using AlertLabels = std::map<std::string, std::string>;  // those an alert must have; it may have more

// {"state", "because"?} or {"gap"}. Throw Json::exception where the answer is not of the documented form.
Json read_rules(const Json& answer, const std::string& alert, const AlertLabels& labels);   // GET /api/v1/rules of Prometheus
Json read_alerts(const Json& answer, const std::string& alert, const AlertLabels& labels);  // GET /api/v2/alerts of an Alertmanager

}  // namespace capsize
