#include "experiments/lab/lab_info.h"

#include "experiments/lab/haproxy_config.h"

namespace capsize {

Json lab_info(const LabFacts& facts) {
  const LabPart& balancer = facts.parts.back();
  const std::string url = "http://" + balancer.address;
  Json variables = {
      {"login_url", url + "/login"},
      {"session_url", url + "/session"},
      {"metrics_url", url + std::string(kLabMetricsPath)},
      {"balancer_address", balancer.address},
      {"balancer_pid", std::to_string(balancer.process.pid)},
      {"balancer_pid_file", (facts.dir / "haproxy.pid").string()},
      {"balancer_socket", (facts.dir / "haproxy.sock").string()},
      {"backend", std::string(kLabBackend)},
  };
  Json processes = Json::array();
  for (const LabPart& part : facts.parts) {
    Json entry = to_json(part.process);
    entry["name"] = part.name;
    entry["address"] = part.address;
    entry["pid_file"] = (facts.dir / (part.name + ".pid")).string();
    entry["log"] = (facts.dir / (part.name + ".log")).string();
    if (&part != &balancer) {
      const std::size_t colon = part.address.rfind(':');
      variables[part.name + "_address"] = part.address;
      variables[part.name + "_host"] = part.address.substr(0, colon);
      variables[part.name + "_port"] = part.address.substr(colon + 1);
      variables[part.name + "_pid"] = std::to_string(part.process.pid);
      variables[part.name + "_pid_file"] = entry["pid_file"];
    }
    processes.push_back(entry);
  }
  return {{"format", 1},
          {"profile", facts.profile},
          {"dir", facts.dir.string()},
          {"started", facts.started},
          {"frontend", url},
          {"supervisor", to_json(facts.supervisor)},
          {"processes", processes},
          {"variables", variables}};
}

}  // namespace capsize
