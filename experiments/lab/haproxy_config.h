// The balancer's configuration in the lab, for two profiles of the same service: `as-it-was`, which lets one
// wrong weight become an outage, and `hardened`, to which the same weight is harmless.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace capsize {

inline constexpr std::string_view kLabBackend = "auth";
inline constexpr std::string_view kLabAlivePath = "/lab/alive";      // HAProxy itself answers this
inline constexpr std::string_view kLabMetricsPath = "/lab/metrics";  // and this, in Prometheus' format

enum class LabProfile { as_it_was, hardened };

// "as-it-was" or "hardened". Throws Error (refused) for anything else.
LabProfile lab_profile(std::string_view name);

struct HaproxyServer {
  std::string name;
  std::string address;  // "127.0.0.1:20001"
};

struct HaproxyConfig {
  LabProfile profile = LabProfile::as_it_was;
  std::string frontend;            // address to listen on
  std::filesystem::path socket;    // of the runtime API
  std::vector<HaproxyServer> servers;
  int slots = 10;                  // of each server
  std::uint64_t open_files = 1024; // the limit of the process, which bounds its connections
};

std::string haproxy_config(const HaproxyConfig& config);

}  // namespace capsize
