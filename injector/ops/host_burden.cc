// host.burden and host.unburden: a machine has less to give for as long as a process of ours lives.
#include <fmt/format.h>

#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/burdens/bearer.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/ops/host_ops.h"
#include "injector/targets/host.h"

namespace capsize {
namespace {

constexpr Duration kEndLimit = std::chrono::seconds(8);  // the kernel frees some gigabytes a second

std::string id_of(const Json& args) {
  const Json id = args.value("id", Json());
  if (!id.is_string() || !is_burden_id(id.get<std::string>())) throw Error(ErrorKind::bug, "a burden without an id", "this is a bug in capsize");
  return id.get<std::string>();
}

class HeldBurden final : public Held {
 public:
  explicit HeldBurden(std::unique_ptr<Bearer> bearer) : bearer_(std::move(bearer)) {}
  void release() noexcept override { bearer_->end(); }

 private:
  std::unique_ptr<Bearer> bearer_;
};

// What was planned with another state folder, or before a mount, must not fill the journal's file system either.
void raise_floor(Json& order, const OpContext& context) {
  const FileSystemSpace space = file_system_space(order.at("path").get<std::string>());
  const std::uint64_t floor = state_folder_is_on(context.state_folder, space.device) ? kStateFolderFloor : 0;
  order["floor"] = std::max(order.at("floor").get<std::uint64_t>(), floor);
}

Task<Applied> apply(Json args, OpContext& context) {
  const std::string id = id_of(args);
  if (args.value("burden", "") == "disk") raise_floor(args, context);
  auto starting = Bearer::start(context.clock, id, std::move(args));
  auto bearer = co_await std::move(starting);
  Applied applied;
  applied.detail = bearer->detail();
  applied.held = std::make_unique<HeldBurden>(std::move(bearer));
  co_return applied;
}

Task<UndoResult> undo(Json args, OpContext& context) {
  const std::string id = id_of(args);
  int pid = 0;
  auto ending = end_bearer(id, context.clock, kEndLimit, pid);
  const BearerEnd end = co_await std::move(ending);
  UndoResult result;
  if (end == BearerEnd::was_not_there) {
    result.state = UndoState::nothing_to_undo;
    result.because = fmt::format("no process bears burden {}: it ends with the agent", id);
  } else if (end == BearerEnd::ended) {
    result.state = UndoState::undone;
    result.because = fmt::format("process {} ({}) has ended, and all that it took was given back", pid, bearer_name(id));
  } else {
    result.state = UndoState::failed;
    result.because = fmt::format("process {} ({}) was killed and has not ended after {}", pid, bearer_name(id), show(kEndLimit));
    result.remedy = fmt::format("the kernel may still be giving back what it took: see /proc/{}/status, then revert again", pid);
  }
  result.detail = {{"pid", pid}};
  co_return result;
}

}  // namespace

OpType host_burden() {
  OpType type{"host.burden", Lasts::while_held, "a process of capsize takes processor time, memory, room on a file system or a disk's time, or starts a command with a wrong clock"};
  type.apply = apply;
  return type;
}

OpType host_unburden() {
  OpType type{"host.unburden", Lasts::while_held, "ends the process that bears a burden, and sees to it that all it took was given back"};
  type.undo = undo;
  return type;
}

}  // namespace capsize
