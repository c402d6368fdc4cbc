// HAProxy servers that were set aside at runtime: drained, in maintenance, or with another weight than the configuration gives them.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/doctor/balancer_sockets.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxBackends = 1000;
constexpr Duration kPatience = std::chrono::seconds(2);

std::vector<std::string> backend_names(const std::string& reply) {
  std::vector<std::string> out;
  std::istringstream lines(reply);
  for (std::string line; std::getline(lines, line) && out.size() < kMaxBackends;) {
    const bool is_name = !line.empty() && line[0] != '#' && line.find(' ') == std::string::npos && line != "MASTER";
    if (is_name) out.push_back(line);
  }
  return out;
}

Task<> ask_one(Clock& clock, std::string socket, Examination& examination) {
  HaproxyClient client(clock, socket, kPatience);
  const std::string question = "show backend";
  const std::string names = co_await client.ask(question);
  std::size_t servers = 0;
  for (const std::string& name : backend_names(names)) {
    const BackendState backend = co_await client.backend(name);
    servers += backend.servers.size();
    auto found = judge_backend(backend, socket);
    std::move(found.begin(), found.end(), std::back_inserter(examination.findings));
  }
  examination.looked_at.push_back(fmt::format("HAProxy {} ({} servers)", socket, servers));
}

Task<> ask(const Surroundings& here, Examination& examination) {
  std::vector<std::string> sockets = here.options.haproxy_sockets;
  for (const std::string& found : balancer_sockets(here, examination)) {
    if (std::find(sockets.begin(), sockets.end(), found) == sockets.end()) sockets.push_back(found);
  }
  for (const std::string& socket : sockets) {
    std::string problem, remedy;
    try {
      co_await ask_one(here.clock, socket, examination);
    } catch (const Error& error) {
      problem = error.fact();
      remedy = error.remedy();
    }
    if (!problem.empty()) examination.unseen.push_back({"the servers of HAProxy " + printable(socket, 200), problem, remedy});
  }
}

// For a shell: what is sent to the socket by hand.
std::string command(const std::string& socket, const std::string& words) {
  const std::string address = socket.starts_with('/') ? socket : "TCP:" + socket;
  return fmt::format("echo {} | socat stdio {}", shell_word(words), shell_word(address));
}

Symptom begin_finding(const BackendState& backend, const ServerState& server, const std::string& socket) {
  Symptom out;
  out.severity = Gravity::suspect;
  out.where = fmt::format("HAProxy {}, backend {}", printable(socket, 200), printable(backend.name, 128));
  out.advice = "an operator may have done it on purpose, for maintenance or a slow start by hand";
  out.what = "server " + printable(server.name, 128);
  return out;
}

}  // namespace

std::vector<Symptom> judge_backend(const BackendState& backend, const std::string& socket) {
  std::vector<Symptom> out;
  for (const ServerState& server : backend.servers) {
    const std::string name = backend.name + "/" + server.name;
    if ((server.admin_state & kAdminForced) != 0) {
      Symptom finding = begin_finding(backend, server, socket);
      const bool maintenance = (server.admin_state & kAdminForcedMaint) != 0;
      finding.kind = maintenance ? "balancer.maintenance" : "balancer.drain";
      finding.what += maintenance ? " was put into maintenance at runtime: it gets no sessions" : " was drained at runtime: it gets no new sessions";
      finding.undo = command(socket, fmt::format("set server {} state ready", name));
      out.push_back(std::move(finding));
    }
    const bool by_agent = (server.agent_state & kAgentOn) == kAgentOn;  // the server itself says its weight
    if (server.weight != server.initial_weight && !by_agent) {
      Symptom finding = begin_finding(backend, server, socket);
      finding.kind = "balancer.weight";
      finding.what += fmt::format(" has weight {}, its configuration says {}", server.weight, server.initial_weight);
      finding.undo = command(socket, fmt::format("set server {} weight {}", name, server.initial_weight));
      out.push_back(std::move(finding));
    }
  }
  return out;
}

DoctorCheck check_balancers() {
  return {"balancers", "HAProxy servers drained, in maintenance, or with another weight than configured, at runtime (sockets of running HAProxies, and those named by --haproxy)", nullptr, ask};
}

}  // namespace capsize
