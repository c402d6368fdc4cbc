// Which process, for ever: a pid alone is reused, and so, within a clock tick, is a pid with its start time.
#pragma once
#include <cstdint>
#include <string>

#include "injector/base/json.h"

namespace capsize {

struct ProcessIdentity {
  int pid = 0;
  std::uint64_t start_ticks = 0;    // since boot, 10 ms each
  std::uint64_t pidfs_inode = 0;    // never reused within a boot; 0: the kernel is older than 6.9
  std::uint64_t pid_namespace = 0;  // where `pid` means this process
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

enum class Liveness { alive, gone, unknown };

std::string boot_id();                                 // throws Error
ProcessIdentity identity_of(int pid);                  // throws Error: no such process, or it cannot be told
ProcessIdentity own_identity();
Liveness liveness(const ProcessIdentity& identity);    // of this boot; a zombie is gone

Json to_json(const ProcessIdentity& identity);
ProcessIdentity process_identity_from_json(const Json& json);  // total: what is missing is 0

}  // namespace capsize
