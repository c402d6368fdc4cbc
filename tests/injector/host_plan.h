// Plans a fault of a machine against a look that a test makes up.
#pragma once
#include "tests/injector/plan_fault.h"

namespace capsize::host_plan {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class FakeView final : public HostView {
 public:
  explicit FakeView(Json look) : look_(std::move(look)) {}
  Task<Json> inspect(Op query) override {
    asked = query;
    co_return look_;
  }
  Op asked;

 private:
  Json look_;
};

inline FaultPlan plan(const char* fault, FakeView& view, Json params, std::set<std::string> allow = {}) {
  FaultRequest request;
  request.params = std::move(params);
  request.target_type = "host";
  request.allow = std::move(allow);
  return test::plan_fault(fault, std::move(request), view);
}

inline FaultPlan plan(const char* fault, const Json& look, Json params, std::set<std::string> allow = {}) {
  FakeView view(look);
  return plan(fault, view, std::move(params), std::move(allow));
}

inline test::Refused refusal(const char* fault, const Json& look, Json params) {
  return test::refused_by([&] { plan(fault, look, std::move(params)); });
}

// The bearer of a plan's one step is ended by the id that its observation asks about.
inline void check_one_burden(const FaultPlan& made, const Json& order) {
  REQUIRE(made.steps.size() == 1);
  Json args = order;
  args["id"] = "0a1b2c3d";
  CHECK(made.steps[0].apply == Op{"host.burden", args});
  CHECK(made.steps[0].undo == Op{"host.unburden", {{"id", "0a1b2c3d"}}});
  CHECK(made.observe.args.at("id") == "0a1b2c3d");
}

}  // namespace capsize::host_plan
