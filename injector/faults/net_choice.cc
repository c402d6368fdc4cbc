// Which back end carries out an effect, and why. What the kernel at hand cannot do faithfully is refused, with what would bring it.
#include <fmt/format.h>

#include "injector/faults/net.h"

namespace capsize {
namespace {

[[noreturn]] void lacking(const NetCapabilities& can, const std::string& what, const char* capability) {
  const auto found = can.missing.find(capability);
  throw Error(ErrorKind::unavailable, fmt::format("{}: this machine lacks {}", what, capability), found != can.missing.end() ? found->second : "use another kernel");
}

bool has_netem(Hook hook, const NetCapabilities& can) { return can.netem && can.ifb && (hook == Hook::arrive || can.clsact); }

BackendChoice by_device(Hook hook, const NetCapabilities& can, const std::string& what, std::string because) {
  if (!can.ifb) lacking(can, what, "ifb");
  if (hook == Hook::leave && !can.clsact) lacking(can, what, "clsact");
  return {ImpairBackend::device, std::move(because), false};
}

bool only_delay(const PacketEffect& effect) {
  return effect.delay && !effect.loss && !effect.duplicate && !effect.corrupt && !effect.reorder && !effect.rate && !effect.refusal && !effect.dns;
}

std::string noun_of(const PacketEffect& effect) {
  if (effect.dns) return "answers to names";
  if (effect.rate) return "a rate limit";
  if (effect.reorder) return "reordering";
  if (effect.corrupt) return "corruption";
  if (effect.duplicate) return "duplication";
  if (effect.loss) return effect.loss->burst ? "loss in bursts" : "loss";
  return "a delay";
}

}  // namespace

BackendChoice choose_backend(const PacketEffect& effect, Hook hook, Protocol protocol, const NetCapabilities& can) {
  const std::string what = fmt::format("{} of what {}", noun_of(effect), hook == Hook::arrive ? "arrives" : "leaves this machine");
  if (!can.rules) lacking(can, what, "rules");
  if (effect.refusal) return {ImpairBackend::rules, "rules", false};
  // What is lost on its way out goes to a queue that nobody reads, for TCP to notice.
  const bool can_lose = hook == Hook::arrive || can.queue;
  if (effect.loss && !effect.loss->burst && !effect.delay && can_lose) return {ImpairBackend::rules, "rules", false};
  if (effect.rate) {
    if (!can.tbf && !can.netem) lacking(can, what, "tbf");
    return by_device(hook, can, what, can.tbf ? "device: tbf" : "device: netem");
  }
  if (effect.dns) {
    if (!can.queue) lacking(can, what, "queue");
    return {ImpairBackend::queue, "queue", false};
  }
  if (has_netem(hook, can)) return by_device(hook, can, what, "device: netem");
  const std::string lack = !can.netem ? "netem" : !can.ifb ? "ifb" : "clsact";
  if (hook == Hook::arrive) {
    if (!can.queue) lacking(can, what, lack.c_str());
    return {ImpairBackend::queue, fmt::format("queue: this kernel has no {}", lack), false};
  }
  // What leaves must not be held here: the sender's own kernel would throttle itself. Of TCP the answers can be late instead.
  if (only_delay(effect) && protocol == Protocol::tcp && can.queue) {
    return {ImpairBackend::queue, fmt::format("queue: this kernel has no {}, so what comes back is late instead, which gives the same round trip", lack), true};
  }
  const auto found = can.missing.find(lack);
  std::string remedy = found != can.missing.end() ? found->second : "use another kernel";
  if (only_delay(effect) && can.queue) remedy += "; or write \"protocol\": \"tcp\" in the target: of TCP, what comes back can be late instead";
  else remedy += "; or run capsize on the machine that receives, with direction \"in\"";
  throw Error(ErrorKind::unavailable, fmt::format("{}: this machine lacks {}", what, lack), std::move(remedy));
}

}  // namespace capsize
