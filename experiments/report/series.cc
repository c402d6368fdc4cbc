#include "experiments/report/series.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "experiments/report/words.h"

namespace capsize {
namespace {

struct Curve {
  const ProbeWindows* probe;
  std::string measure;
  std::string label;
};

double middle(const Window* window) { return (number_of(*window, "from").value_or(0) + number_of(*window, "to").value_or(0)) / 2; }

Chart chart_of(std::string id, std::string title, std::string kind, const std::vector<Curve>& curves) {
  Chart chart{std::move(id), std::move(title), std::move(kind), {}, {}, {}};
  double from = 0;
  double to = 0;
  for (const Curve& curve : curves) {
    chart.labels.push_back(curve.label);
    chart.measures.push_back(curve.probe->name + "." + curve.measure);
    if (curve.probe->windows.empty()) continue;
    from = std::min(from, number_of(*curve.probe->windows.front(), "from").value_or(0));
    to = std::max(to, number_of(*curve.probe->windows.back(), "to").value_or(0));
  }
  const double width = std::max(1.0, std::ceil((to - from) / static_cast<double>(kMaxChartRows)));
  for (double at = std::floor(from); at < to; at += width) {
    std::vector<std::optional<double>> values;
    for (const Curve& curve : curves) {
      const auto measured = curve.probe->measure(curve.measure, at, at + width);
      values.push_back(measured && std::isfinite(measured->value) ? std::optional(measured->value) : std::nullopt);
    }
    const bool empty = std::all_of(values.begin(), values.end(), [](const auto& value) { return !value; });
    if (!empty || !chart.rows.empty()) chart.rows.emplace_back(at + width / 2, std::move(values));
  }
  return chart;
}

// The end of a run often cuts a slice short: a ratio of three attempts would end the curve in a spike that means nothing.
void drop_thin_end(Chart& chart, const std::vector<ProbeWindows>& probes) {
  double to = 0;
  for (const ProbeWindows& probe : probes) {
    if (!probe.windows.empty()) to = std::max(to, number_of(*probe.windows.back(), "to").value_or(0));
  }
  if (chart.rows.size() < 3) return;
  const double width = chart.rows[1].first - chart.rows[0].first;
  if (to - (chart.rows.back().first - width / 2) < width / 2) chart.rows.pop_back();
}

}  // namespace

bool ProbeWindows::offers(std::string_view measure) const {
  const ProbeType* found = find_probe(type);
  return found != nullptr && find_measure(*found, measure) != nullptr;
}

std::optional<Measured> ProbeWindows::measure(std::string_view measure, double from, double to) const {
  const ProbeType* found = find_probe(type);
  if (found == nullptr || found->measure == nullptr) return std::nullopt;
  const auto first = std::partition_point(windows.begin(), windows.end(), [&](const Window* w) { return middle(w) < from; });
  const auto past = std::partition_point(first, windows.end(), [&](const Window* w) { return middle(w) < to; });
  if (first == past) return std::nullopt;
  return found->measure(measure, {first, past});
}

std::vector<std::string> ProbeWindows::servers() const {
  std::set<std::string> names;
  for (const Window* window : windows) {
    for (const auto& [server, state] : member(*window, "servers").items()) {
      if (names.size() < kMaxChartServers) names.insert(server);
    }
  }
  return {names.begin(), names.end()};
}

std::vector<ProbeWindows> probe_windows(const Json& playbook, const std::vector<Json>& events) {
  std::vector<ProbeWindows> out;
  const Json& probes = member(playbook, "probes");
  if (!probes.is_object()) return out;
  for (const auto& [name, use] : probes.items()) out.push_back({name, text_of(use, "probe"), {}, member(use, "suspect").is_string()});
  std::stable_partition(out.begin(), out.end(), [](const ProbeWindows& probe) { return !probe.suspect; });
  for (const Json& event : events) {
    if (text_of(event, "event") != "window" || !member(event, "window").is_object()) continue;
    const std::string name = text_of(event, "probe");
    for (ProbeWindows& probe : out) {
      if (probe.name == name) probe.windows.push_back(&event.at("window"));
    }
  }
  return out;
}

std::vector<Chart> charts(const std::vector<ProbeWindows>& probes) {
  std::vector<Curve> success, latency, shares;
  for (const ProbeWindows& probe : probes) {
    if (probe.offers("success_ratio")) success.push_back({&probe, "success_ratio", probe.name});
    if (probe.offers("latency.p50")) latency.push_back({&probe, "latency.p50", probe.name + " median"});
    if (probe.offers("latency.p99")) latency.push_back({&probe, "latency.p99", probe.name + " p99"});
    if (!probe.offers("share.x")) continue;
    for (const std::string& server : probe.servers()) shares.push_back({&probe, "share." + server, server});
  }
  std::vector<Chart> out;
  if (!success.empty()) out.push_back(chart_of("success", "Success ratio", "ratio", success));
  if (!latency.empty()) out.push_back(chart_of("latency", "Latency", "duration", latency));
  if (!shares.empty()) out.push_back(chart_of("shares", "Share of new sessions by server", "ratio", shares));
  for (Chart& chart : out) drop_thin_end(chart, probes);
  std::erase_if(out, [](const Chart& chart) { return chart.rows.empty(); });
  return out;
}

}  // namespace capsize
