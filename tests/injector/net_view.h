// A host as the faults of the network see it, for tests: JSON in, JSON out.
#pragma once
#include <catch2/catch.hpp>
#include <map>

#include "injector/fault.h"
#include "injector/net/impairment.h"
#include "tests/injector/plan_fault.h"

namespace capsize::test {

// A machine with 10.0.0.5 and fd00::5, Debian's kernel or one that lacks what `without` names.
inline Json net_machine(const std::vector<std::string>& without = {}) {
  Json out = Json::parse(R"({
    "net.resolve": {"addresses": {}, "problems": {}, "local": ["10.0.0.5", "127.0.0.0/8", "::1", "fd00::5"], "own_namespace": true, "place": {"path": "", "inode": 100}},
    "net.control_path": {"connections": [], "resolvers": [], "namespace": 100},
    "net.capabilities": {"cap_net_admin": true, "rules": true, "egress_rules": true, "queue": true, "ifb": true, "clsact": true, "netem": true, "tbf": true, "ipv6": true,
                         "sock_destroy": true, "missing": {}, "kernel": "6.1", "nonce": "0123456789ab", "mark": 4660, "place": {"path": "", "inode": 100}}
  })");
  for (const std::string& capability : without) {
    out["net.capabilities"][capability] = false;
    out["net.capabilities"]["missing"][capability] = "the kernel has no " + capability + ": install it";
  }
  return out;
}

class NetView final : public HostView {
 public:
  explicit NetView(Json answers = net_machine()) : answers_(std::move(answers)) {}
  Task<Json> inspect(Op query) override {
    asked[query.type] = query.args;
    if (!answers_.contains(query.type)) throw Error(ErrorKind::bug, "nobody answers " + query.type);
    co_return answers_[query.type];
  }
  std::map<std::string, Json> asked;

 private:
  Json answers_;
};

inline FaultPlan plan_of(const char* fault, const std::string& target_type, Json target, Json params, NetView& view, std::set<std::string> allow = {}, std::vector<std::string> keep_open = {}) {
  const FaultType* type = find_fault(fault);
  REQUIRE(type != nullptr);
  REQUIRE(accepts(*type, target_type));
  FaultRequest request;
  request.params = std::move(params);
  request.target_type = target_type;
  request.target = std::move(target);
  request.allow = std::move(allow);
  request.keep_open = std::move(keep_open);
  return test::plan_fault(fault, std::move(request), view);
}

inline FaultPlan plan_of(const char* fault, const std::string& target_type, Json target, Json params, Json machine = net_machine(), std::set<std::string> allow = {}, std::vector<std::string> keep_open = {}) {
  NetView view(std::move(machine));
  return plan_of(fault, target_type, std::move(target), std::move(params), view, std::move(allow), std::move(keep_open));
}

inline test::Refused refusal_of(const char* fault, const std::string& target_type, Json target, Json params, Json machine = net_machine(), std::set<std::string> allow = {}, std::vector<std::string> keep_open = {}) {
  return test::refused_by([&] { plan_of(fault, target_type, std::move(target), std::move(params), std::move(machine), std::move(allow), std::move(keep_open)); });
}

inline bool says(const test::Refused& refused, ErrorKind kind, const std::string& words) {
  INFO(refused.text);
  CHECK(refused.kind == kind);
  CHECK(refused.text.find(words) != std::string::npos);
  return refused.kind == kind && refused.text.find(words) != std::string::npos;
}

inline Impairment impairment_of(const FaultPlan& plan, std::size_t step = 0) {
  REQUIRE(plan.steps.size() > step);
  CHECK(plan.steps[step].apply.type == "net.impair");
  CHECK(plan.steps[step].undo.type == "net.restore");
  return impairment_from_json(plan.steps[step].apply.args);
}

// What a plan meets, in words, of all its steps.
inline std::vector<std::string> met_by(const FaultPlan& plan) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const Impairment one = impairment_of(plan, i);
    for (const PacketMatch& match : one.affected) out.push_back(describe(match));
  }
  return out;
}

using Words = std::vector<std::string>;

// What net.watch answers: so many packets met, and connections of our own that take so long.
inline Json watched(Json counts, Json echo = nullptr) {
  Json one = {{"name", "capsize_0123456789ab"}, {"there", true}, {"held_ms", 2000}};
  one["others"] = counts.is_object() ? counts.value("matched", Json(0)) : Json(0);
  one["counts"] = std::move(counts);
  Json out = {{"impairments", Json::array({one})}, {"echo", Json::array()}};
  if (!echo.is_null()) out["echo"].push_back(std::move(echo));
  return out;
}

inline Json echo_in(double ms, int connected = 5) {
  Json out = {{"connect", "127.0.0.1:8081"}, {"attempts", 5}, {"connected", connected}, {"refused", 0}, {"timed_out", 5 - connected}, {"limit_ms", 1000.0}};
  if (connected > 0) out["p50_ms"] = ms, out["min_ms"] = ms * 0.9;
  return out;
}

}  // namespace capsize::test
