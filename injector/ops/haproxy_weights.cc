// haproxy.weights sets weights, haproxy.restore_weights puts back those that are still as set.
//   {"socket", "backend", "process": {"pid", "start"}, "servers": {name: {"from", "to"}}}
//   {"socket", "backend", "process": {"pid", "start"}, "servers": {name: {"expect", "restore"}}}
#include "injector/ops/haproxy_ops.h"

namespace capsize {
namespace {

bool is_weight(const Json& value) { return value.is_number_integer() && value.get<std::int64_t>() >= 0 && value.get<std::int64_t>() <= kMaxWeight; }

Task<Applied> apply(Json args, OpContext& context) {
  HaproxyPlace place = haproxy_place_from(args);
  std::vector<ServerChange> changes = server_changes_from(args, "to", "from", is_weight);
  Applied applied = co_await change_servers(kServerWeight, std::move(place), std::move(changes), context);
  co_return applied;
}

Task<UndoResult> undo(Json args, OpContext& context) {
  HaproxyPlace place = haproxy_place_from(args);
  std::vector<ServerChange> changes = server_changes_from(args, "expect", "restore", is_weight);
  UndoResult result = co_await restore_servers(kServerWeight, std::move(place), std::move(changes), context);
  co_return result;
}

}  // namespace

const OpType& haproxy_weights() {
  static const OpType type = {.name = "haproxy.weights", .lasts = Lasts::until_restart, .doc = "sets the weights of servers of an HAProxy backend", .apply = apply};
  return type;
}

const OpType& haproxy_restore_weights() {
  static const OpType type = {
      .name = "haproxy.restore_weights", .lasts = Lasts::until_restart, .doc = "puts back the weights that are still as haproxy.weights set them", .undo = undo};
  return type;
}

}  // namespace capsize
