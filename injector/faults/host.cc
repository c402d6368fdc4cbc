#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"
#include "injector/faults/host_faults.h"
#include "injector/targets/host.h"

namespace capsize {

Step burden_step(const std::string& id, Json order) {
  Step step;
  order["id"] = id;
  step.apply.type = "host.burden";
  step.apply.args = std::move(order);
  step.undo.type = "host.unburden";
  step.undo.args["id"] = id;
  return step;
}

std::uint64_t memory_floor(std::uint64_t total) { return std::max(total / 20, std::uint64_t{256} << 20); }

void refuse_starvation(const Json& look, std::uint64_t left, const FaultRequest& request, FaultPlan& plan) {
  const auto total = look.at("total").get<std::uint64_t>();
  if (left >= memory_floor(total)) return;
  if (!request.allow.contains(std::string(kAllowStarveHost))) {
    throw Error(ErrorKind::refused,
                fmt::format("{} of {} of memory would be left on this host, less than {}: the kernel may end any process there", show_bytes(left), show_bytes(total), show_bytes(memory_floor(total))),
                fmt::format("leave more, or add \"allow\": [\"{}\"] with a reason", kAllowStarveHost));
  }
  plan.allowed.emplace_back(kAllowStarveHost);
}

std::string in_percent(double share) { return fmt::format("{:.1f}%", share * 100); }

std::string no_bearer(const Json& after) {
  return after.value("bearer", 0) == 0 ? "no process of capsize bears this burden: it was never taken up, or was killed" : "";
}

}  // namespace capsize
