// haproxy.servers: a look at one backend: which process answers, and every server with its settings and counters.
#include "injector/ops/haproxy_ops.h"

namespace capsize {
namespace {

Task<Json> look(Json args, OpContext& context) {
  const HaproxyTarget target = haproxy_target_spec().parse_or_throw(args);
  HaproxyClient client(context.clock, target.socket);
  const BackendState state = co_await client.backend(target.backend.text);
  co_return to_json(state);
}

}  // namespace

const OpType& haproxy_servers() {
  static const OpType type = {.name = "haproxy.servers", .lasts = Lasts::look, .doc = "the servers of an HAProxy backend, their settings and counters", .look = look};
  return type;
}

}  // namespace capsize
