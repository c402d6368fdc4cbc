#include "experiments/history/run_record.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "experiments/report/words.h"

namespace capsize {
namespace {

constexpr double kFifth = 0.2;
constexpr double kWorthSaying = 1;  // seconds of recovery

std::string digest(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned length = 0;
  if (EVP_Digest(text.data(), text.size(), bytes.data(), &length, EVP_sha256(), nullptr) != 1) return "";
  std::string out;
  for (unsigned i = 0; i < 8 && i < length; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out;
}

// Not the targets and probes: their addresses change from one lab, or one deployment, to the next.
std::string shape_of(const Json& playbook) {
  Json shape = Json::object();
  for (const char* part : {"faults", "hypothesis", "steady_state", "timing", "abort_when"}) shape[part] = member(playbook, part);
  return digest(shape.dump(-1, ' ', true, Json::error_handler_t::replace));
}

void add_measures(RunRecord& out, const Json& findings) {
  for (const Json& finding : findings) {
    const Json& evidence = member(finding, "evidence");
    MeasureRecord one;
    one.expectation = text_of(finding, "expectation");
    one.measure = text_of(evidence, "measure");
    one.during = text_of(evidence, "during");
    one.kind = text_of(evidence, "kind");
    one.holds = text_of(finding, "holds");
    one.value = number_of(evidence, "value");
    one.low = number_of(evidence, "low");
    one.high = number_of(evidence, "high");
    if (one.measure != "recovery_time") out.measures.push_back(std::move(one));
  }
}

const MeasureRecord* find(const RunRecord& record, const MeasureRecord& wanted) {
  for (const MeasureRecord& one : record.measures) {
    if (one.expectation == wanted.expectation && one.during == wanted.during) return &one;
  }
  return nullptr;
}

std::string shown(const MeasureRecord& one) { return one.value ? plain_value(one.kind, *one.value) : "not known"; }

bool has_interval(const MeasureRecord& one) { return one.low && one.high && *one.low < *one.high; }

bool moved(const MeasureRecord& before, const MeasureRecord& now) {
  if (!before.value || !now.value) return false;
  if (has_interval(before) && has_interval(now)) return *now.low > *before.high || *now.high < *before.low;
  return std::abs(*now.value - *before.value) > kFifth * std::max(std::abs(*before.value), std::abs(*now.value));
}

// Whether more of it is worse, as the expectation says it.
std::optional<bool> more_is_worse(const std::string& expectation) {
  if (expectation.find(" at most ") != std::string::npos || expectation.find(" below ") != std::string::npos) return true;
  if (expectation.find(" at least ") != std::string::npos || expectation.find(" above ") != std::string::npos) return false;
  return std::nullopt;
}

std::string holds_words(const std::string& holds) { return holds == "yes" ? "held" : holds == "no" ? "missed" : "not known"; }

std::optional<Change> change_of(const MeasureRecord& before, const MeasureRecord& now) {
  Change out;
  out.what = now.expectation;
  if (before.holds != now.holds) {
    out.before = fmt::format("{} ({})", holds_words(before.holds), shown(before));
    out.now = fmt::format("{} ({})", holds_words(now.holds), shown(now));
    if (before.holds != "unknown" && now.holds != "unknown") out.worse = now.holds == "no";
    return out;
  }
  if (!moved(before, now)) return std::nullopt;
  out.before = shown(before);
  out.now = shown(now);
  if (const auto more = more_is_worse(now.expectation)) out.worse = (*now.value > *before.value) == *more;
  return out;
}

std::string recovery_words(const RunRecord& record) {
  if (record.recovered == true && record.recovery_seconds) return plain_seconds(*record.recovery_seconds);
  return record.recovered == false ? "none" : "not known";
}

std::optional<Change> recovery_change(const RunRecord& before, const RunRecord& now) {
  Change out{"recovery time", recovery_words(before), recovery_words(now), std::nullopt};
  if (before.recovered != now.recovered) {
    if (before.recovered && now.recovered) out.worse = now.recovered == false;
    return out;
  }
  if (!before.recovery_seconds || !now.recovery_seconds) return std::nullopt;
  const double difference = *now.recovery_seconds - *before.recovery_seconds;
  if (std::abs(difference) < kWorthSaying || std::abs(difference) < kFifth * std::max(*before.recovery_seconds, *now.recovery_seconds)) return std::nullopt;
  out.worse = difference > 0;
  return out;
}

// From good to bad; inconclusive and invalid are neither.
std::optional<bool> outcome_worse(const std::string& before, const std::string& now) {
  const std::vector<std::string> order = {"held", "refuted", "unrecovered", "aborted", "residue"};
  const auto a = std::find(order.begin(), order.end(), before);
  const auto b = std::find(order.begin(), order.end(), now);
  if (a == order.end() || b == order.end()) return std::nullopt;
  return b > a;
}

std::optional<MeasureTrend> trend_of(std::string what, std::string kind, std::vector<double> earlier, double now) {
  if (earlier.empty()) return std::nullopt;
  std::sort(earlier.begin(), earlier.end());
  MeasureTrend out;
  out.what = std::move(what);
  out.kind = std::move(kind);
  out.now = now;
  const std::size_t half = earlier.size() / 2;
  out.median = earlier.size() % 2 == 1 ? earlier[half] : (earlier[half - 1] + earlier[half]) / 2;
  out.least = earlier.front();
  out.most = earlier.back();
  out.runs = earlier.size();
  out.place = out.runs < kTrendRuns ? "few" : now > out.most ? "above" : now < out.least ? "below" : "within";
  return out;
}

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

}  // namespace

std::string playbook_key(const std::string& playbook_file) {
  const std::filesystem::path file(playbook_file);
  return (file.extension() == ".json" ? file.stem() : file.filename()).string();
}

RunRecord record_of(const std::string& playbook_file, const Json& playbook, const Json& verdict, const std::string& folder) {
  RunRecord out;
  out.run = text_of(verdict, "run");
  out.playbook = playbook_key(playbook_file);
  out.title = text_of(verdict, "title");
  out.outcome = text_of(verdict, "outcome");
  out.because = text_of(verdict, "because");
  out.exit_code = static_cast<int>(number_of(verdict, "exit_code").value_or(70));
  out.started = text_of(verdict, "started");
  out.ended = text_of(verdict, "ended");
  out.version = CAPSIZE_VERSION;
  out.shape = shape_of(playbook);
  out.folder = folder;
  out.without_faults = member(verdict, "without_faults") == true;
  const Json& recovery = member(verdict, "recovery");
  if (const Json& recovered = member(recovery, "recovered"); recovered.is_boolean()) out.recovered = recovered.get<bool>();
  out.recovery_seconds = number_of(recovery, "seconds");
  out.residue = static_cast<int>(list_of(verdict, "residue").size());
  add_measures(out, list_of(verdict, "findings"));
  add_measures(out, list_of(verdict, "steady_state"));
  return out;
}

std::string Change::text() const { return fmt::format("{}: {}, now {}{}", what, before, now, worse == true ? " (worse)" : worse == false ? " (better)" : ""); }

std::vector<Change> changes(const RunRecord& before, const RunRecord& now) {
  std::vector<Change> out;
  if (before.outcome != now.outcome) out.push_back({"outcome", before.outcome, now.outcome, outcome_worse(before.outcome, now.outcome)});
  if (auto recovery = recovery_change(before, now)) out.push_back(std::move(*recovery));
  for (const MeasureRecord& one : now.measures) {
    const MeasureRecord* old = find(before, one);
    if (old == nullptr) continue;
    if (auto change = change_of(*old, one)) out.push_back(std::move(*change));
  }
  if (before.shape != now.shape) out.push_back({"the playbook", "other faults, expectations or timing", "as it is", std::nullopt});
  if (before.version != now.version) out.push_back({"capsize", before.version, now.version, std::nullopt});
  return out;
}

std::string MeasureTrend::text() const {
  const std::string range = fmt::format("{} to {}", plain_value(kind, least), plain_value(kind, most));
  const std::string words = place == "above" ? "more than in any of them" : place == "below" ? "less than in any of them" : place == "within" ? "as they were" : "too few to compare";
  return fmt::format("{}: {}; in the {} run{} before: median {}, {}: {}", what, plain_value(kind, now), runs, runs == 1 ? "" : "s", plain_value(kind, median), range, words);
}

std::vector<MeasureTrend> trends(const std::vector<RunRecord>& before, const RunRecord& now) {
  std::vector<MeasureTrend> out;
  std::vector<const RunRecord*> alike;
  for (const RunRecord& one : before) {
    if (one.shape == now.shape && one.without_faults == now.without_faults) alike.push_back(&one);
  }
  if (now.recovery_seconds) {
    std::vector<double> earlier;
    for (const RunRecord* one : alike) {
      if (one->recovery_seconds) earlier.push_back(*one->recovery_seconds);
    }
    if (auto trend = trend_of("recovery time", "duration", std::move(earlier), *now.recovery_seconds)) out.push_back(std::move(*trend));
  }
  for (const MeasureRecord& measure : now.measures) {
    if (!measure.value || measure.during == "baseline") continue;
    std::vector<double> earlier;
    for (const RunRecord* one : alike) {
      const MeasureRecord* old = find(*one, measure);
      if (old != nullptr && old->value) earlier.push_back(*old->value);
    }
    if (auto trend = trend_of(measure_words(measure.measure) + " " + during_words(measure.during), measure.kind, std::move(earlier), *measure.value)) out.push_back(std::move(*trend));
  }
  return out;
}

Json to_json(const RunRecord& record) {
  Json out = {{"run", record.run}, {"playbook", record.playbook}, {"title", record.title}, {"outcome", record.outcome}, {"exit_code", record.exit_code}, {"because", record.because}};
  out["started"] = record.started;
  out["ended"] = record.ended;
  out["version"] = record.version;
  out["folder"] = record.folder;
  out["without_faults"] = record.without_faults;
  out["recovery"] = {{"recovered", record.recovered ? Json(*record.recovered) : Json(nullptr)}, {"seconds", optional_json(record.recovery_seconds)}};
  out["residue"] = record.residue;
  out["measures"] = Json::array();
  for (const MeasureRecord& one : record.measures) {
    out["measures"].push_back({{"expectation", one.expectation}, {"measure", one.measure}, {"during", one.during}, {"kind", one.kind}, {"holds", one.holds},
                               {"value", optional_json(one.value)}, {"low", optional_json(one.low)}, {"high", optional_json(one.high)}});
  }
  return out;
}

Json to_json(const Change& change) {
  return {{"what", change.what}, {"before", change.before}, {"now", change.now}, {"worse", change.worse ? Json(*change.worse) : Json(nullptr)}, {"text", change.text()}};
}

Json to_json(const MeasureTrend& trend) {
  return {{"what", trend.what}, {"kind", trend.kind}, {"now", trend.now}, {"median", trend.median}, {"least", trend.least}, {"most", trend.most}, {"runs", trend.runs}, {"place", trend.place}, {"text", trend.text()}};
}

}  // namespace capsize
