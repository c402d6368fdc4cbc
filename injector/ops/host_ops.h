// The ops on a whole machine: burdens that a process of ours bears, and what is seen of them.
#pragma once
#include "injector/op_type.h"

namespace capsize {

inline constexpr std::uint64_t kStateFolderFloor = std::uint64_t{64} << 20;  // bytes that stay free where undo journals live

OpType host_burden();
OpType host_unburden();
OpType host_cpu_use();
OpType host_memory_use();
OpType host_space();
OpType host_disk_use();
OpType host_clock_use();

std::string fresh_burden_id();  // for a burden that is being planned

// Is this host's state folder, there already or not, on that device?
bool state_folder_is_on(const std::string& state_folder, std::uint64_t device);

}  // namespace capsize
