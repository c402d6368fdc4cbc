// report.html: one file that opens without a network. Its first screen says, with scripts off too, what was done, what failed and by how
// much, how long the recovery took and whether everything was undone.
#pragma once
#include <string>
#include <vector>

#include "experiments/report/html_writer.h"
#include "experiments/report/summary.h"
#include "injector/base/json.h"

namespace capsize {

// Pure. `playbook` as run, `events` of the timeline, `verdict` as in verdict.json.
std::string html_report(const Json& playbook, const std::vector<Json>& events, const Json& verdict);

// Its parts (html_sections.cc).
void write_charts(Html& html, const std::vector<Chart>& charts, const std::vector<ProbeWindows>& probes, const Summary& summary);
void write_findings(Html& html, const Summary& summary);
void write_suspects(Html& html, const Summary& summary);
void write_game(Html& html, const Summary& summary);
void write_alerts(Html& html, const Summary& summary);
void write_faults(Html& html, const Summary& summary, const Json& verdict);
void write_rest(Html& html, const Summary& summary, const Json& playbook);

}  // namespace capsize
