// THE table of probes. Adding one is one source file, one test, one page in docs/probes/, one line here.
#include "probes/probe.h"
#include "probes/probes.h"

namespace capsize {
namespace {

bool fits(std::string_view pattern, std::string_view name) {
  const std::size_t open = pattern.find('<');
  if (open == std::string_view::npos) return pattern == name;
  return name.size() > open && name.substr(0, open) == pattern.substr(0, open);
}

}  // namespace

const std::vector<ProbeType>& probe_catalog() {
  static const std::vector<ProbeType> table = {
      login_http(),
      login_oauth2(),
      login_basic(),
      login_ldap(),
      login_radius(),
      balancer_shares(),
      tcp_connect(),
      http_get(),
      exec_probe(),
      prometheus_query(),
      alert_fired(),
  };
  return table;
}

const ProbeType* find_probe(std::string_view name) {
  for (const ProbeType& type : probe_catalog()) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

const MeasureInfo* find_measure(const ProbeType& probe, std::string_view name) {
  for (const MeasureInfo& info : probe.measures()) {
    if (fits(info.name, name)) return &info;
  }
  return nullptr;
}

}  // namespace capsize
