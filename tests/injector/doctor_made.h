// Made inputs for a doctor: what it would see on some host.
#pragma once
#include <catch2/catch.hpp>

#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"

namespace capsize::doctor_test {

using Verdict = PacketRule::Verdict;

inline const NetworkPlace kHere{{"", 1}, "", ""};
inline const NetworkPlace kBlue{{"/run/netns/blue", 2}, "network namespace /run/netns/blue", "nsenter --net=/run/netns/blue "};

inline std::vector<std::string> kinds(const std::vector<Symptom>& found) {
  std::vector<std::string> out;
  for (const Symptom& symptom : found) out.push_back(symptom.kind);
  return out;
}
using Kinds = std::vector<std::string>;

inline QueueDiscipline netem(std::uint32_t parent, std::uint32_t handle) { return {2, "netem", handle, parent, "delay 100ms"}; }
inline const NetworkDevice kEth0{2, "eth0", "", true};

inline PacketRule rule(const std::string& chain, Verdict verdict) {
  PacketRule out;
  out.family = "ip";
  out.table = "filter";
  out.chain = chain;
  out.handle = 7;
  out.verdict = verdict;
  return out;
}

inline SeenProcess process(int pid, const std::string& name, char state) {
  SeenProcess out;
  out.pid = pid;
  out.name = name;
  out.program = name;
  out.state = state;
  return out;
}

inline CgroupLook cgroup(const std::string& path) {
  CgroupLook out;
  out.path = path;
  out.folder = "/sys/fs/cgroup" + path;
  out.v2 = true;
  out.processes = 3;
  return out;
}

}  // namespace capsize::doctor_test
