#include "experiments/lab/haproxy_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::uint64_t kReservedFiles = 100;    // listeners, checks, runtime API, pipes
constexpr std::uint64_t kFilesPerConnection = 2; // client's side and server's side
constexpr std::uint64_t kMostConnections = 8000;

std::uint64_t connection_limit(std::uint64_t open_files) {
  const std::uint64_t usable = open_files > kReservedFiles ? open_files - kReservedFiles : 0;
  return std::clamp(usable / kFilesPerConnection, std::uint64_t{1}, kMostConnections);
}

// Nothing protects a server: requests pile up on it without a bound for as long as the client's patience, and
// longer, because nobody takes an abandoned request back. No check notices a server that hangs.
constexpr std::string_view kAsItWas = R"(  timeout queue 60s
  timeout server 60s
  no option abortonclose
)";

// A server gets no more than it has slots for, whatever its weight; a request that finds no slot soon is
// refused instead of kept, and one whose client has gone is dropped. A frozen server costs the few requests
// it holds one retry elsewhere (logins may be repeated), and no more once two checks have failed.
constexpr std::string_view kHardened = R"(  timeout queue 500ms
  timeout server 400ms
  timeout check 200ms
  option abortonclose
  retries 2
  option redispatch 1
  retry-on conn-failure empty-response response-timeout
  option httpchk GET /health
  default-server inter 500ms fastinter 200ms fall 2 rise 2
)";

}  // namespace

LabProfile lab_profile(std::string_view name) {
  if (name == "as-it-was") return LabProfile::as_it_was;
  if (name == "hardened") return LabProfile::hardened;
  throw Error(ErrorKind::refused, fmt::format("the lab has no profile \"{}\"", name), "write as-it-was or hardened");
}

std::string haproxy_config(const HaproxyConfig& config) {
  const bool hardened = config.profile == LabProfile::hardened;
  std::string text = fmt::format(R"(global
  nbthread 1
  maxconn {maxconn}
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect 1s
  timeout client 30s
frontend logins
  bind {frontend}
  monitor-uri {alive}
  http-request use-service prometheus-exporter if {{ path {metrics} }}
  default_backend {backend}
backend {backend}
  balance roundrobin
{protection})",
                                 fmt::arg("maxconn", connection_limit(config.open_files)),
                                 fmt::arg("socket", config.socket.string()), fmt::arg("frontend", config.frontend),
                                 fmt::arg("alive", kLabAlivePath), fmt::arg("metrics", kLabMetricsPath), fmt::arg("backend", kLabBackend),
                                 fmt::arg("protection", hardened ? kHardened : kAsItWas));
  for (const HaproxyServer& server : config.servers) {
    text += fmt::format("  server {} {} weight 10", server.name, server.address);
    if (hardened) text += fmt::format(" maxconn {} check", config.slots);
    text += "\n";
  }
  return text;
}

}  // namespace capsize
