// `capsize history` for people and for scripts: the last runs of each playbook, what changed since the run before, and where the last one
// stands among the earlier ones. Pure.
#pragma once
#include <string>
#include <vector>

#include "experiments/history/run_record.h"

namespace capsize {

struct PlaybookHistory {
  std::string playbook;
  std::vector<RunRecord> runs;  // oldest first, at least one
};

// The last `shown` runs of each as a table; all of them count for trends.
std::string history_text(const std::vector<PlaybookHistory>& histories, std::size_t shown);
Json history_json(const std::vector<PlaybookHistory>& histories, std::size_t shown);

// The run before the last one that was done the same way (with its faults, or without); null: there is none.
const RunRecord* run_before(const PlaybookHistory& history);

}  // namespace capsize
