// haproxy.admin_state drains servers that are ready, haproxy.restore_admin_state makes ready those that are still drained by us.
// HAProxy's `ready` clears both a drain and a maintenance, so it is only sent to a server that is drained and not in maintenance.
//   {"socket", "backend", "process": {"pid", "start"}, "servers": {name: {"from": "ready", "to": "drain"}}}
//   {"socket", "backend", "process": {"pid", "start"}, "servers": {name: {"expect": "drain", "restore": "ready"}}}
#include "injector/ops/haproxy_ops.h"

namespace capsize {
namespace {

bool is_state(const Json& value) { return value == "ready" || value == "drain"; }

Task<Applied> apply(Json args, OpContext& context) {
  HaproxyPlace place = haproxy_place_from(args);
  std::vector<ServerChange> changes = server_changes_from(args, "to", "from", is_state);
  Applied applied = co_await change_servers(kServerAdminState, std::move(place), std::move(changes), context);
  co_return applied;
}

Task<UndoResult> undo(Json args, OpContext& context) {
  HaproxyPlace place = haproxy_place_from(args);
  std::vector<ServerChange> changes = server_changes_from(args, "expect", "restore", is_state);
  UndoResult result = co_await restore_servers(kServerAdminState, std::move(place), std::move(changes), context);
  co_return result;
}

}  // namespace

const OpType& haproxy_admin_state() {
  static const OpType type = {.name = "haproxy.admin_state", .lasts = Lasts::until_restart, .doc = "drains servers of an HAProxy backend", .apply = apply};
  return type;
}

const OpType& haproxy_restore_admin_state() {
  static const OpType type = {.name = "haproxy.restore_admin_state",
                              .lasts = Lasts::until_restart,
                              .doc = "makes ready the servers that are still drained as haproxy.admin_state left them",
                              .undo = undo};
  return type;
}

}  // namespace capsize
