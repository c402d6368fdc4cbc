// The last run of a playbook as a text file for the node exporter's textfile collector: OpenMetrics that is the Prometheus text format, too
// (gauges alone, no time stamps on samples). One file a playbook.
#pragma once
#include <string>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

// `ended`: seconds since the epoch. Pure.
std::string metrics_report(const std::string& playbook_name, const Json& playbook, const std::vector<Json>& events, const Json& verdict, double ended);
// Of a run without a verdict: its exit code and when, so that an alert on either sees it. Pure.
std::string metrics_of_no_run(const std::string& playbook_name, int code, double ended);

}  // namespace capsize
