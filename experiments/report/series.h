// What the charts and the live block show: a probe's own measures over slices of the recorded windows, so that a curve and a finding are
// the same numbers.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/json.h"
#include "probes/measure.h"
#include "probes/probe.h"

namespace capsize {

// One probe of the run with its windows. Points into the events it was read from.
struct ProbeWindows {
  std::string name;   // in the playbook
  std::string type;   // "login.http"
  std::vector<const Window*> windows;
  bool suspect = false;  // asked beside the load

  bool offers(std::string_view measure) const;
  // Over the windows whose middle lies in [from, to), as a finding counts them. Nothing where they cannot say.
  std::optional<Measured> measure(std::string_view measure, double from, double to) const;
  std::vector<std::string> servers() const;  // that any window names, sorted
};

// Suspects last. `events` must outlive the result.
std::vector<ProbeWindows> probe_windows(const Json& playbook, const std::vector<Json>& events);

struct Chart {
  std::string id;                    // "success", "latency", "shares"
  std::string title;
  std::string kind;                  // of its measures: "ratio" or "duration"
  std::vector<std::string> labels;   // of the curves
  std::vector<std::string> measures; // "login.success_ratio": in the order of labels
  std::vector<std::pair<double, std::vector<std::optional<double>>>> rows;  // middle of the slice in seconds, one value a curve
};

inline constexpr std::size_t kMaxChartRows = 1500;  // slices are 1 s, wider where a run is longer than this
inline constexpr std::size_t kMaxChartServers = 24;

// Charts with no curve are left out.
std::vector<Chart> charts(const std::vector<ProbeWindows>& probes);

}  // namespace capsize
