// host.disk: a file system is full, or nearly so.
#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"
#include "injector/faults/host_faults.h"
#include "injector/targets/host.h"

namespace capsize {
namespace {

constexpr std::uint64_t kStateFolderFloorBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kNear = std::uint64_t{2} << 20;  // others write and delete while we look
constexpr double kMostOfIntended = 0.9;

struct DiskParams {
  std::string path;
  std::optional<Share> share;
  std::optional<Size> leave;
};

const Spec<DiskParams>& disk_params() {
  static const auto spec = Spec<DiskParams>()
                               .required("path", &DiskParams::path, "a folder on the file system that is meant", absolute_path())
                               .optional("share", &DiskParams::share, "how full it gets, as `df` counts it")
                               .optional("leave", &DiskParams::leave, "or how much room is left on it; \"0B\": none")
                               .exactly_one_of({"share", "leave"});
  return spec;
}

const AnySpec& disk_spec() { return disk_params(); }

FaultPlan decide(const FaultRequest& request, const DiskParams& params, const Json& look) {
  const auto used = look.at("used").get<std::uint64_t>();
  const auto available = look.at("available").get<std::uint64_t>();
  const double all = static_cast<double>(used) + static_cast<double>(available);
  const std::uint64_t leave = params.leave ? params.leave->bytes : static_cast<std::uint64_t>((1 - params.share->value) * all);
  if (look.at("read_only").get<bool>()) throw Error(ErrorKind::unavailable, fmt::format("the file system of {} is mounted read-only", params.path), "name a folder on another one");
  if (!look.value("writable", true)) throw Error(ErrorKind::privilege, fmt::format("capsize may make no file in {}", params.path), "run capsize there as root, or name a folder that is its user's");
  if (leave >= available) {
    throw Error(ErrorKind::refused, fmt::format("the file system of {} has {} left and is {} full already", params.path, show_bytes(available), in_percent(all > 0 ? static_cast<double>(used) / all : 0)),
                "leave less than that");
  }
  if (look.at("state_folder_here").get<bool>() && leave < kStateFolderFloorBytes) {
    throw Error(ErrorKind::refused, fmt::format("{} would be left where capsize keeps its undo journals ({} is on the same file system)", show_bytes(leave), params.path),
                "leave 64MiB or more, or keep the state folder elsewhere: --state DIR or CAPSIZE_STATE");
  }
  FaultPlan plan;
  if (look.at("in_memory").get<bool>()) {
    const auto memory = look.at("memory").at("available").get<std::uint64_t>();
    refuse_starvation(look.at("memory"), memory - std::min(memory, available - leave), request, plan);
  }
  const auto id = look.at("new_id").get<std::string>();
  plan.steps.push_back(burden_step(id, {{"burden", "disk"}, {"path", params.path}, {"leave", leave}, {"floor", look.at("state_folder_here").get<bool>() ? kStateFolderFloorBytes : 0}}));
  const double full = all > 0 ? 1 - static_cast<double>(leave) / all : 1;
  plan.summary = fmt::format("the file system of {} is filled until {} of the {} there are left ({} full), by a file that ends with the agent", params.path, show_bytes(leave), show_bytes(available), in_percent(full));
  plan.intended = {{"available", leave}, {"fill", available - leave}, {"full", full}};
  plan.observe = {"host.space", {{"id", id}, {"path", params.path}}};
  return plan;
}

Task<FaultPlan> plan_disk(FaultRequest request, HostView& host) {
  const DiskParams params = disk_params().parse_or_throw(request.params);
  Op query;
  query.type = "host.space";
  query.args["path"] = params.path;
  const Json look = co_await host.inspect(query);
  co_return decide(request, params, look);
}

Json shown(const Json& look) {
  const auto used = look.value("used", std::uint64_t{0});
  const auto available = look.value("available", std::uint64_t{0});
  const double all = static_cast<double>(used) + static_cast<double>(available);
  return {{"available", available}, {"full", all > 0 ? static_cast<double>(used) / all : 0.0}};
}

Effect disk_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"before", shown(before)}, {"during", shown(after)}};
  effect.because = no_bearer(after);
  if (!effect.because.empty()) return effect;
  if (!before.contains("device") || before.at("device") != after.value("device", Json())) {
    effect.because = "another file system is mounted there now";
    return effect;
  }
  const auto intended = plan.intended.at("available").get<std::uint64_t>();
  const auto fill = plan.intended.at("fill").get<std::uint64_t>();
  const auto available = after.value("available", std::uint64_t{0});
  const auto allowance = std::max<std::uint64_t>(std::min(kNear, fill / 2), static_cast<std::uint64_t>((1 - kMostOfIntended) * static_cast<double>(fill)));
  effect.bites = available <= intended + allowance;
  effect.because = fmt::format("{} are left, {} were intended (before: {}); the file system is {} full", show_bytes(available), show_bytes(intended), show_bytes(before.value("available", std::uint64_t{0})),
                               in_percent(effect.measured["during"]["full"].get<double>()));
  return effect;
}

}  // namespace

FaultType host_disk() {
  FaultType type;
  type.name = "host.disk";
  type.doc = "A file system is full, or nearly so.";
  type.target_types = {"host"};
  type.spec = disk_spec;
  type.example = {{"fault", "host.disk"}, {"target", "machine"}, {"path", "/var/log"}, {"share", "98%"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_disk;
  type.effect = disk_effect;
  type.undo_doc = "ends the process that has the file open, and with it the file, which has no name; by itself the kernel does so as soon as the agent is gone, however it dies";
  return type;
}

}  // namespace capsize
