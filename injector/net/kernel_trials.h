// What the kernel at hand can do for network faults, found by doing it where it harms nobody: in a network namespace made for that.
#pragma once
#include <map>
#include <string>

#include "injector/net/traffic.h"

namespace capsize {

struct KernelTrials {
  std::map<std::string, bool> can;             // "rules", "egress_rules", "queue", "ifb", "clsact", "netem", "tbf", "ipv6", "sock_destroy"
  std::map<std::string, std::string> missing;  // by the same names: what the kernel answered, and what brings it
};

// Takes some 50 ms the first time; remembered for the life of the process where everything could be tried. Where no namespace may be made for
// that, as in a container without CAP_SYS_ADMIN, what harms nobody is tried in `place`, and the rest is said to be untried.
KernelTrials try_kernel(const NetworkNamespace& place = {});

// Whether the kernel lets us change the network of that namespace (CAP_NET_ADMIN). Throws Error when it cannot be entered at all.
bool may_administer(const NetworkNamespace& place);

}  // namespace capsize
