// host.memory: a machine has less memory for everybody else.
#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"
#include "injector/faults/host_faults.h"
#include "injector/targets/host.h"

namespace capsize {
namespace {

constexpr double kMostOfIntended = 0.95;
constexpr std::uint64_t kNear = std::uint64_t{64} << 20;  // others take and give back while we look

struct MemoryParams {
  std::optional<Size> size;
  std::optional<Size> leave;
};

std::optional<Mistake> a_mebibyte_or_more(const Size& size) {
  if (size.bytes >= std::uint64_t{1} << 20) return std::nullopt;
  return Mistake{"less than 1MiB", "write a size, as \"512MiB\""};
}

const Spec<MemoryParams>& memory_params() {
  static const auto spec = Spec<MemoryParams>()
                               .optional("size", &MemoryParams::size, "how much memory capsize holds", if_given(Rule<Size>{a_mebibyte_or_more, nullptr}))
                               .optional("leave", &MemoryParams::leave, "or how much it leaves to everybody else; capsize takes and gives back as they do", if_given(Rule<Size>{a_mebibyte_or_more, nullptr}))
                               .exactly_one_of({"size", "leave"});
  return spec;
}

const AnySpec& memory_spec() { return memory_params(); }

FaultPlan decide(const FaultRequest& request, const MemoryParams& params, const Json& look) {
  const auto total = look.at("total").get<std::uint64_t>();
  const auto available = look.at("available").get<std::uint64_t>();
  const auto id = look.at("new_id").get<std::string>();
  const std::uint64_t left = params.leave ? params.leave->bytes : available - std::min(available, params.size->bytes);
  FaultPlan plan;
  if (left >= available) {
    throw Error(ErrorKind::refused, fmt::format("{} of memory are to be left, and no more than {} are available now", show_bytes(left), show_bytes(available)), "leave less than that");
  }
  refuse_starvation(look, left, request, plan);
  if (params.size && params.size->bytes >= available) {
    throw Error(ErrorKind::refused, fmt::format("{} of memory are wanted, and {} are available", show_bytes(params.size->bytes), show_bytes(available)), "ask for less");
  }
  Json order = {{"burden", "memory"}, {"floor", plan.allowed.empty() ? memory_floor(total) : 0}};
  order[params.size ? "bytes" : "leave"] = params.size ? params.size->bytes : params.leave->bytes;
  plan.steps.push_back(burden_step(id, std::move(order)));
  plan.intended = params.size ? Json{{"held", params.size->bytes}} : Json{{"available", params.leave->bytes}};
  plan.summary = params.size ? fmt::format("capsize holds {} of the {} of memory that are available: it ends with the agent", show_bytes(params.size->bytes), show_bytes(available))
                             : fmt::format("capsize holds memory until {} of the {} that are available are left: it ends with the agent", show_bytes(left), show_bytes(available));
  plan.observe = {"host.memory_use", {{"id", id}}};
  return plan;
}

Task<FaultPlan> plan_memory(FaultRequest request, HostView& host) {
  const MemoryParams params = memory_params().parse_or_throw(request.params);
  Op query;
  query.type = "host.memory_use";
  const Json look = co_await host.inspect(query);
  co_return decide(request, params, look);
}

Effect memory_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  const auto held = after.value("held", std::uint64_t{0});
  const auto available = after.value("available", std::uint64_t{0});
  const auto available_before = before.value("available", std::uint64_t{0});
  effect.measured = {{"held", held}, {"available", available}, {"available_before", available_before}};
  effect.because = no_bearer(after);
  if (!effect.because.empty()) return effect;
  std::string wanted;
  if (plan.intended.contains("held")) {
    const auto intended = plan.intended.at("held").get<std::uint64_t>();
    effect.bites = static_cast<double>(held) >= kMostOfIntended * static_cast<double>(intended);
    wanted = show_bytes(intended) + " to be held";
  } else {
    const auto intended = plan.intended.at("available").get<std::uint64_t>();
    const std::uint64_t to_take = available_before - std::min(available_before, intended);
    effect.bites = held > 0 && available <= intended + std::min(std::max(kNear, intended / 10), to_take / 2);
    wanted = show_bytes(intended) + " to be left";
  }
  effect.because = fmt::format("capsize holds {}, and {} are available (before: {}); intended were {}", show_bytes(held), show_bytes(available), show_bytes(available_before), wanted);
  return effect;
}

}  // namespace

FaultType host_memory() {
  FaultType type;
  type.name = "host.memory";
  type.doc = "A machine has less memory for everybody else.";
  type.target_types = {"host"};
  type.spec = memory_spec;
  type.example = {{"fault", "host.memory"}, {"target", "machine"}, {"leave", "512MiB"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_memory;
  type.effect = memory_effect;
  type.undo_doc = "ends the process that holds the memory; by itself the kernel does so as soon as the agent is gone, however it dies";
  return type;
}

}  // namespace capsize
