// The deciding half of each check: what was seen in, findings out. Pure, so that each can be tested with made inputs.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/doctor/surroundings.h"
#include "injector/netlink/discipline_look.h"
#include "injector/netlink/ruleset_look.h"
#include "injector/targets/haproxy.h"
#include "injector/undo/status.h"

namespace capsize {

// netem and tbf wherever they are, ifb devices that are in use, filters that steer packets to one or drop them by chance.
std::vector<Symptom> judge_traffic_control(const DisciplineLook& seen, const NetworkPlace& place);

// Who holds a netlink socket, as far as it can be told.
struct TableOwner {
  int pid = 0;  // 0: not found
  std::string name;
  bool is_capsize = false;
};
std::vector<Symptom> judge_tables(const std::vector<PacketTable>& tables, const NetworkPlace& place, const std::function<TableOwner(const PacketTable&)>& owner_of);
// Chains of known tools (what is in them is not told again), rules that drop by chance, queue, redirect, or refuse by number of connections.
std::vector<Symptom> judge_rules(const PacketRuleset& seen, const NetworkPlace& place);
std::vector<Symptom> judge_ip_sets(const std::vector<std::string>& names, const NetworkPlace& place);

// `tracer`: the process that traces it, when it can be seen.
std::vector<Symptom> judge_process(const SeenProcess& process, const SeenProcess* tracer, bool stopped_by_capsize);

struct CgroupLook {
  std::string path;             // below its mount: "/system.slice/nginx.service"
  std::string folder;           // in the file system
  bool v2 = false;
  std::size_t processes = 0;    // in it and below
  std::optional<std::int64_t> quota_us;   // none: no limit
  std::int64_t period_us = 100000;
  std::uint64_t periods = 0, throttled = 0;  // since it was made
  bool frozen = false;          // by itself, not by one above
  std::optional<std::uint64_t> memory_limit;  // bytes; none: no limit
  std::string memory_file;      // that holds it: "memory.max"
  std::vector<std::pair<std::string, std::string>> io_limits;  // file, the line in it
};
std::vector<Symptom> judge_cgroup(const CgroupLook& cgroup);

std::vector<Symptom> judge_backend(const BackendState& backend, const std::string& socket);
std::vector<Symptom> judge_journal(const JournalStatus& journal);

std::vector<Symptom> judge_mounts(const std::vector<MountLine>& mounts);
std::vector<Symptom> judge_hosts_file(std::string_view text, const std::string& path);

}  // namespace capsize
