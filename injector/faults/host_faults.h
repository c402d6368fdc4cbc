// The faults of a whole machine, and what their plans have in common.
#pragma once
#include "injector/fault.h"

namespace capsize {

FaultType host_cpu();
FaultType host_memory();
FaultType host_disk();
FaultType host_io();
FaultType host_clock();

// What `allow` says when a host itself may be left with hardly any memory.
inline constexpr std::string_view kAllowStarveHost = "starve_host";

// The one step of a burden, with its undo.
Step burden_step(const std::string& id, Json order);

// The least memory, in bytes, that a fault leaves available on a host of so much: a twentieth, and at least 256 MiB.
std::uint64_t memory_floor(std::uint64_t total);

// Throws Error::refused when less than memory_floor() would be left of `look` (total, available), unless that is allowed: then notes so.
void refuse_starvation(const Json& look, std::uint64_t left, const FaultRequest& request, FaultPlan& plan);

// "30.5%", for people and reports.
std::string in_percent(double share);

// Why an effect cannot be there at all; empty: there is a process that bears the burden.
std::string no_bearer(const Json& after);

}  // namespace capsize
