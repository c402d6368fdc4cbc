// The agent: serves this machine's LocalHost over stdin and stdout to a runner at the far end of any command, and undoes everything by
// itself when that runner is gone.
//
// One JSON object a line. The agent begins: {"hello": "capsize-agent", "version", "ops", "pid", "boot_id", "uid"}.
// Requests {"id": 1, "do": ..., ...}, answered by {"id": 1, "ok": ...} or {"id": 1, "error": {...}}, in any order:
//   begin {run, lease_ms} · claim {targets} · inspect {op} · apply {step, plan, lifetime_ms} · undo {step} · undo_all · close · ping
//   status · revert {run}            (need no begin)
// Notices {"notice": {...}} come between them.
#pragma once
#include <string_view>

#include "injector/undo/reverter.h"

namespace capsize {

inline constexpr std::string_view kAgentHello = "capsize-agent";
inline constexpr Duration kDefaultLease = std::chrono::seconds(15);

// `capsize agent [--state DIR]`. Returns its exit code: 0, or 6 when something may still be injected.
int agent_main(int argc, char** argv, FindOp find = find_op);

}  // namespace capsize
