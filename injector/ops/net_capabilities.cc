// net.capabilities: what the kernel at hand can do for network faults, and fresh names for one of them.
#include <fmt/format.h>
#include <sys/utsname.h>

#include <random>

#include "injector/base/error.h"
#include "injector/base/rng.h"
#include "injector/net/json_parts.h"
#include "injector/net/kernel_trials.h"
#include "injector/netlink/network_namespace.h"
#include "injector/netlink/retired_sockets.h"
#include "injector/ops/net_ops.h"

namespace capsize {
namespace {

Rng fresh_chance() {
  std::random_device random;
  return Rng(std::uint64_t{random()} << 32 | random());
}

Json answer(const Json& args) {
  const JsonParts parts(args, "the arguments of net.capabilities", {"place"});
  NetworkNamespace place = parts.has("place") ? network_namespace_from_json(parts.at("place")) : NetworkNamespace();
  if (place.inode == 0) place = look_up_network_namespace(place.path);
  const KernelTrials trials = try_kernel(place);
  Json out = {{"cap_net_admin", may_administer(place)}, {"missing", trials.missing}, {"place", to_json(place)}};
  for (const auto& [name, can] : trials.can) out[name] = can;
  utsname kernel{};
  ::uname(&kernel);
  out["kernel"] = kernel.release;
  Rng chance = fresh_chance();
  out["nonce"] = fmt::format("{:012x}", chance.next() >> 16);
  out["mark"] = 1 + chance.below(0xfffffffe);
  return out;
}

Task<Json> look(Json args, OpContext& context) {
  Json out = answer(args);
  // What was tried is let go of before anybody works on: it may be all that keeps the namespace that was made for it.
  for (Duration wait = close_retired(); wait > Duration(); wait = close_retired()) {
    co_await context.clock.sleep(wait);
  }
  co_return out;
}

}  // namespace

OpType net_capabilities() {
  OpType type{"net.capabilities", Lasts::look, "what the kernel can do for network faults, tried in a network namespace made for that, with fresh names for one of them"};
  type.look = look;
  return type;
}

}  // namespace capsize
