// Changing servers: compare with the plan, change, read back.
#include "injector/ops/haproxy_change.h"

namespace capsize {
namespace {

void expect_as_planned(const ServerProperty& property, const HaproxyPlace& place, const BackendState& found, const std::vector<ServerChange>& changes) {
  if (!found.process.same_as(place.process)) {
    throw Error(ErrorKind::changed, fmt::format("HAProxy at {} was reloaded or restarted since the plan (pid {} -> {})", place.socket, place.process.pid, found.process.pid),
                "run again: the plan is made anew");
  }
  for (const ServerChange& change : changes) {
    const ServerState* server = found.find(change.server);
    if (server == nullptr) {
      throw Error(ErrorKind::changed, fmt::format("HAProxy's backend {} has no server {} any more", place.backend, change.server), "run again: the plan is made anew");
    }
    const Json value = property.read(*server);
    if (value != change.before) {
      throw Error(ErrorKind::changed, fmt::format("{}/{} has {} {}, the plan saw {}", place.backend, change.server, property.noun, value.dump(), change.before.dump()),
                  "find out who changes it; run again: the plan is made anew");
    }
  }
}

}  // namespace

Task<Applied> change_servers(const ServerProperty& property, HaproxyPlace place, std::vector<ServerChange> changes, OpContext& context) {
  HaproxyClient client(context.clock, place.socket);
  const BackendState before = co_await client.backend(place.backend);
  expect_as_planned(property, place, before, changes);
  std::vector<ServerValue> wanted;
  for (const ServerChange& change : changes) wanted.push_back({change.server, change.mine});
  std::vector<std::string> commands = change_commands(property, before, wanted);
  co_await client.change(std::move(commands), context.share_connection);

  const BackendState after = co_await client.backend(place.backend);
  if (!after.process.same_as(before.process)) {
    throw Error(ErrorKind::changed, fmt::format("HAProxy at {} was reloaded while it was being changed (pid {} -> {})", place.socket, before.process.pid, after.process.pid),
                "run again when nobody reloads it");
  }
  Applied applied;
  applied.detail = {{"process", to_json(after.process)}, {"servers", Json::object()}};
  for (const ServerChange& change : changes) {
    const ServerState* server = after.find(change.server);
    const Json value = server == nullptr ? Json(nullptr) : property.read(*server);
    if (value != change.mine) {
      throw Error(ErrorKind::unavailable, fmt::format("{}/{} has {} {} right after {} was set", place.backend, change.server, property.noun, value.dump(), change.mine.dump()),
                  "look for an agent-check or a script that sets it too");
    }
    applied.detail["servers"][change.server] = {{"from", change.before}, {"to", change.mine}};
  }
  co_return applied;
}

}  // namespace capsize
