// A probe that is a load generator with some transport. With real sockets the generator has a thread, an io_context and a clock of its own,
// so that nothing the control thread does delays a login; in virtual time (ProbeContext::transport is set) it runs on the control thread.
#pragma once
#include <functional>
#include <memory>

#include "probes/load/generator.h"
#include "probes/probe.h"

namespace capsize {

// Makes the transport on the thread and for the clock that it will be used with.
using TransportFactory = std::function<std::unique_ptr<LoginTransport>(Clock& clock)>;

std::unique_ptr<Probe> make_load_probe(ProbeContext context, LoadPlan plan, TransportFactory sockets);

}  // namespace capsize
