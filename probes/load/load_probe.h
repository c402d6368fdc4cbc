// A probe that is a load generator with some transport. With real sockets there are as many generators as the plan has workers, each with a
// thread, an io_context and a clock of its own, so that nothing the control thread does delays a login; in virtual time
// (ProbeContext::transport is set) there is one, on the control thread.
#pragma once
#include <functional>
#include <memory>

#include "probes/load/generator.h"
#include "probes/probe.h"

namespace capsize {

// Makes the transport of one of the workers, for the clock that it will be used with.
using TransportFactory = std::function<std::unique_ptr<LoginTransport>(Clock& clock, std::uint64_t worker)>;

// Threads that a load needs, as far as there are cores for them beside the control thread's. At least one.
std::uint64_t workers_for(double logins_per_second);

std::unique_ptr<Probe> make_load_probe(ProbeContext context, LoadPlan plan, TransportFactory sockets);

}  // namespace capsize
