#include "experiments/report/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace capsize {
namespace {

std::string trimmed(double value, int digits) {
  std::string out = fmt::format("{:.{}f}", value, digits);
  if (out.find('.') != std::string::npos) {
    while (out.back() == '0') out.pop_back();
    if (out.back() == '.') out.pop_back();
  }
  return out == "-0" ? "0" : out;
}

std::string with_digits(std::string_view kind, double value, int extra) {
  if (kind == "ratio") return trimmed(value * 100, 1 + extra) + " %";
  if (kind == "rate") return trimmed(value, (std::abs(value) < 100 ? 1 : 0) + extra) + "/s";
  if (kind != "duration") return value == std::floor(value) ? plain_count(value) : trimmed(value, 2 + extra);
  const double size = std::abs(value);
  if (size >= 120) return plain_seconds(value);
  if (size >= 1) return trimmed(value, (size < 10 ? 2 : 1) + extra) + " s";
  return trimmed(value * 1e3, (size < 0.01 ? 2 : size < 0.1 ? 1 : 0) + extra) + " ms";
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 25> kMeasures = {{
    {"success_ratio", "success ratio"}, {"rate", "rate"}, {"latency.p50", "median latency"}, {"latency.p90", "p90 latency"},
    {"latency.p99", "p99 latency"}, {"latency.p999", "p99.9 latency"}, {"latency.max", "longest latency"},
    {"latency_from_send.p50", "median latency from send"}, {"latency_from_send.p90", "p90 latency from send"}, {"latency_from_send.p99", "p99 latency from send"},
    {"latency_from_send.p999", "p99.9 latency from send"}, {"latency_from_send.max", "longest latency from send"},
    {"denied", "attempts denied"}, {"refused", "connections refused"}, {"timed_out", "attempts timed out"},
    {"broken", "broken answers"}, {"wrongly_accepted", "wrong passwords accepted"}, {"users_affected", "users affected"},
    {"attempts", "attempts"}, {"retry_amplification", "attempts per login"},
    {"fairness", "fairness (Jain's index)"}, {"backlog", "backlog"}, {"recovery_time", "recovery time"},
    {"time_to_detect", "time to detect"}, {"time_to_clear", "time to clear"},
}};

void flatten(const Json& json, const std::string& prefix, std::string& out) {
  if (json.is_array() && json.size() == 1) return flatten(json.front(), prefix, out);  // of one thing no number is worth saying
  if (json.is_structured() && !json.empty()) {
    for (const auto& [key, value] : json.items()) flatten(value, prefix.empty() ? key : prefix + "." + key, out);
    return;
  }
  if (!out.empty()) out += ", ";
  if (!prefix.empty()) out += prefix + " ";
  const bool share = prefix.find("share") != std::string::npos;
  if (json.is_number() && share && json.get<double>() >= 0 && json.get<double>() <= 1) out += plain_value("ratio", json.get<double>());
  else if (json.is_string()) out += json.get<std::string>();
  else if (json.is_number_float()) out += trimmed(json.get<double>(), 4);
  else out += json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

OutcomeWords outcome_words(std::string_view outcome) {
  if (outcome == "held") return {"Held", "the system degraded gracefully and came back in time", "good"};
  if (outcome == "refuted") return {"Refuted", "the degradation was not graceful", "bad"};
  if (outcome == "unrecovered") return {"Did not recover", "the fault was gone, but the steady state did not come back in time", "bad"};
  if (outcome == "inconclusive") return {"Inconclusive", "the run cannot say either way", "unsure"};
  if (outcome == "invalid") return {"Invalid", "the run proves nothing: the fault or the load was not what it should have been", "unsure"};
  if (outcome == "aborted") return {"Aborted", "the run was stopped before it could answer", "unsure"};
  if (outcome == "residue") return {"Residue", "something may still be injected", "bad"};
  return {"Unknown", "the verdict names no outcome that this version knows", "unsure"};
}

std::string plain_value(std::string_view kind, double value, std::optional<double> limit) {
  if (!std::isfinite(value)) return "unbounded";
  int extra = 0;
  while (limit && extra < 4 && value != *limit && with_digits(kind, value, extra) == with_digits(kind, *limit, extra)) ++extra;
  return with_digits(kind, value, extra);
}

std::string plain_seconds(double seconds) {
  if (std::abs(seconds) < 120) return trimmed(seconds, 1) + " s";
  const auto whole = static_cast<long long>(std::round(seconds));
  if (whole < 7200) return whole % 60 == 0 ? fmt::format("{} min", whole / 60) : fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string plain_count(double count) {
  if (!(std::abs(count) < 1e15)) return fmt::format("{:.3g}", count);
  std::string digits = fmt::format("{}", static_cast<long long>(std::round(count)));
  const std::size_t first = digits.front() == '-' ? 1 : 0;
  if (digits.size() - first <= 4) return digits;  // "1234" reads well enough; "10 230" needs the gap
  for (std::size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, " ");
  return digits;
}

std::string measure_words(std::string_view name) {
  for (const auto& [suffix, words] : kMeasures) {
    if (name == suffix) return std::string(words);
    if (name.size() > suffix.size() && name.ends_with(suffix) && name[name.size() - suffix.size() - 1] == '.') {
      return fmt::format("{} {}", name.substr(0, name.size() - suffix.size() - 1), words);
    }
  }
  const std::size_t share = name.find(".share.");
  if (share != std::string_view::npos) return fmt::format("{}: share of {}", name.substr(0, share), name.substr(share + 7));
  const std::size_t queue = name.find(".queue.");
  if (queue != std::string_view::npos) return fmt::format("{}: queue of {}", name.substr(0, queue), name.substr(queue + 7));
  std::string out(name);
  std::replace(out.begin(), out.end(), '_', ' ');
  return out;
}

std::string during_words(std::string_view during) {
  if (during == "fault") return "during the fault";
  if (during == "baseline") return "before the fault";
  if (during == "recovery") return "after the fault";
  if (during == "run") return "over the whole run";
  if (during.starts_with("fault ")) return fmt::format("while {} was in place", during.substr(6));
  return {};
}

const Json& member(const Json& json, const char* key) {
  static const Json null;
  if (!json.is_object()) return null;
  const auto found = json.find(key);
  return found == json.end() ? null : *found;
}

const Json& list_of(const Json& json, const char* key) {
  static const Json none = Json::array();
  const Json& found = member(json, key);
  return found.is_array() ? found : none;
}

std::string text_of(const Json& json, const char* key) {
  const Json& value = member(json, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::optional<double> number_of(const Json& json, const char* key) {
  const Json& value = member(json, key);
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

std::string flat(const Json& json) {
  if (json.is_null()) return {};
  std::string out;
  flatten(json, "", out);
  return out;
}

}  // namespace capsize
