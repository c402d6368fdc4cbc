// Where the running HAProxies can be asked: their command lines name their configurations, and those name their sockets.
#pragma once
#include <string>
#include <vector>

#include "injector/doctor/surroundings.h"

namespace capsize {

// Files and folders named by -f on a command line, as written. Pure.
std::vector<std::string> configurations_of(const std::vector<std::string>& command_line);
// Addresses of the "stats socket" lines of a configuration: paths and "host:port". Pure.
std::vector<std::string> sockets_in(std::string_view configuration);

// Of all HAProxies that run here; in other mount namespaces too. Those whose configuration cannot be read go to `examination`.
std::vector<std::string> balancer_sockets(const Surroundings& here, Examination& examination);

}  // namespace capsize
