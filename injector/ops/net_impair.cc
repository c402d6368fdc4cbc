// net.impair: something is done to packets for as long as it is held. net.restore: it is gone, and what it left behind that is inert, too.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "injector/base/error.h"
#include "injector/net/backends.h"
#include "injector/net/held_impairments.h"
#include "injector/net/packet_rules.h"
#include "injector/net/socket_holder.h"
#include "injector/netlink/retired_sockets.h"
#include "injector/ops/net_ops.h"

namespace capsize {
namespace {

constexpr Duration kDrainLimit = std::chrono::seconds(2);
constexpr Duration kDrainPoll = std::chrono::milliseconds(10);

// The names of those that were let go of here: what is gone of these was undone, not never there.
std::set<std::string>& let_go() {
  static std::set<std::string> names;
  return names;
}

class HeldByName final : public Held {
 public:
  HeldByName(std::string name, std::shared_ptr<HeldImpairment> held) : name_(std::move(name)), held_(std::move(held)) {}
  void release() noexcept override {
    held_->release();
    let_go().insert(name_);
  }

 private:
  std::string name_;
  std::shared_ptr<HeldImpairment> held_;
};

std::unique_ptr<HeldImpairment> hold(const Impairment& impairment) {
  switch (impairment.backend) {
    case ImpairBackend::queue: return hold_by_queue(impairment);
    case ImpairBackend::device: return hold_by_device(impairment);
    case ImpairBackend::rules: break;
  }
  return hold_by_rules(impairment);
}

Task<Applied> apply(Json args, OpContext& context) {
  const Impairment impairment = impairment_from_json(args);
  std::shared_ptr<HeldImpairment> held = hold(impairment);
  note_held(impairment.name, held, context.clock.now());
  Applied applied;
  applied.detail["backend"] = to_string(impairment.backend);
  applied.detail["table"] = impairment.name;
  applied.held = std::make_unique<HeldByName>(impairment.name, std::move(held));
  co_return applied;
}

UndoResult still_there(const Impairment& impairment, std::uint32_t owner) {
  UndoResult result;
  result.detail["table"] = impairment.name;
  if (owner == 0) {
    result.state = UndoState::refused;
    result.because = fmt::format("the nftables table {} is there and belongs to nobody, so it is not the one that was put there", impairment.name);
    result.remedy = fmt::format("look at it: nft list table inet {}", impairment.name);
    return result;
  }
  const SocketHolder holder = find_netlink_holder(impairment.place, owner);
  result.state = UndoState::failed;
  result.detail["owner"] = owner;
  if (holder.pid == ::getpid()) {
    result.because = fmt::format("the nftables table {} is still held by this capsize", impairment.name);
    result.remedy = fmt::format("end it, and the kernel removes the table: kill {}", holder.pid);
  } else if (holder.pid != 0) {
    result.because = fmt::format("the nftables table {} is held by process {} ({})", impairment.name, holder.pid, holder.name);
    result.remedy = fmt::format("end that process, and the kernel removes the table: kill {}", holder.pid);
  } else {
    result.because = fmt::format("the nftables table {} is held by a process that cannot be seen from here, through netlink port {}", impairment.name, owner);
    result.remedy = "look for it on the host or in its container: /proc/net/netlink of that namespace has the port";
  }
  return result;
}

UndoResult restore(const Impairment& impairment) {
  TableLook table;
  try {
    table = look_for_table(impairment.place, impairment.name);
  } catch (const Error& error) {
    // What is held ends with its holder or with its namespace, whichever is first.
    // One that is there and could not be asked, as for want of a file descriptor, is another matter.
    std::error_code ignored;
    const bool gone = !impairment.place.path.empty() && !std::filesystem::exists(impairment.place.path, ignored);
    const bool ended = error.kind() == ErrorKind::changed || (error.kind() == ErrorKind::unavailable && gone);
    if (ended) return {UndoState::nothing_to_undo, "its network namespace cannot be reached any more, and nothing of it lasts without its holder: " + error.fact(), "", {}};
    return {UndoState::failed, "cannot tell whether it is gone: " + error.fact(), error.remedy(), {}};
  }
  if (table.there) return still_there(impairment, table.owner);
  const bool undone = let_go().count(impairment.name) != 0;
  UndoResult swept;
  if (impairment.backend == ImpairBackend::device) swept = sweep_device(impairment);
  if (impairment.backend == ImpairBackend::device && (swept.state != UndoState::nothing_to_undo || !undone)) return swept;
  if (undone) return {UndoState::undone, fmt::format("the nftables table {} is gone", impairment.name), "", {}};
  return {UndoState::nothing_to_undo, fmt::format("there is no nftables table {}: it went with its holder, or was never there", impairment.name), "", {}};
}

// Packets that are still to come out of a device; none when it cannot be told, or while its table holds: then more would come.
std::uint64_t still_waiting(const Impairment& impairment) {
  try {
    return impairment.backend == ImpairBackend::device && !look_for_table(impairment.place, impairment.name).there ? packets_waiting(impairment) : 0;
  } catch (const Error&) {
    return 0;
  }
}

Task<UndoResult> undo(Json args, OpContext& context) {
  const Impairment impairment = impairment_from_json(args);
  // What a delay still holds is let go before the device is removed, unless that takes too long.
  const TimePoint end = context.clock.now() + kDrainLimit;
  while (still_waiting(impairment) > 0 && context.clock.now() < end) {
    co_await context.clock.sleep(kDrainPoll);
  }
  const UndoResult result = restore(impairment);
  for (Duration wait = close_retired(); wait > Duration(); wait = close_retired()) {
    co_await context.clock.sleep(wait);
  }
  co_return result;
}

}  // namespace

OpType net_impair() {
  OpType type{"net.impair", Lasts::while_held, "packets are lost, refused, delayed or changed, by an nftables table that the kernel removes with the process that holds it"};
  type.apply = apply;
  return type;
}

OpType net_restore() {
  OpType type{"net.restore", Lasts::while_held, "proves that the table of an impairment is gone, and removes the idle device it may have left"};
  type.undo = undo;
  return type;
}

}  // namespace capsize
