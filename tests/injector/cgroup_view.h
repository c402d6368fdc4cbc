// A host as a planning fault on cgroups sees it: answers to the looks, as JSON.
#pragma once
#include "injector/targets/process.h"
#include "tests/injector/plan_fault.h"

namespace capsize::cgroup_test {

inline TargetProcess server(int pid = 12) {
  TargetProcess out;
  out.boot_id = "aaaa-bbbb";
  out.pid = pid;
  out.start_ticks = 345;
  out.pidfs_inode = 678;
  out.pid_namespace = 4026531836;
  out.exe = ExeFile{1, 2, "/usr/bin/server"};
  out.comm = "server";
  return out;
}

inline Json identified(const TargetProcess& process = server()) {
  Json look = {{"identity", to_json(process)}, {"never_a_target", ""}, {"threads", 3}, {"states", {{"S", 3}}}, {"ended", false}, {"stopped", false}, {"tracer", nullptr},
               {"trace", {{"allowed", true}, {"because", ""}}}, {"signal", {{"allowed", true}, {"because", ""}}}, {"mark_folder", "/var/lib/capsize/marks"}};
  return {{"that", "with pid 12"}, {"found", Json::array({look})}};
}

// Version 1: in the topmost cgroup with everybody else.
inline Json placed_v1(const TargetProcess& process = server()) {
  return {{"identities", Json::array({to_json(process)})}, {"missing", ""}, {"version", 1}, {"path", "/"}, {"folder", "/sys/fs/cgroup/cpu"}, {"inode", 1},
          {"topmost", true}, {"members", 0}, {"stranger_count", 0}, {"strangers", Json::array()}, {"values", Json::object()}, {"not_writable", ""}};
}

// Version 2: a service in its own cgroup, two deep, whose parents pass the controller on.
inline Json placed_v2(const TargetProcess& process = server()) {
  Json lineage = Json::array({{{"folder", "/sys/fs/cgroup"}, {"inode", 1}, {"has", true}, {"enabled", true}},
                              {{"folder", "/sys/fs/cgroup/system.slice"}, {"inode", 20}, {"has", true}, {"enabled", true}}});
  return {{"identities", Json::array({to_json(process)})}, {"missing", ""}, {"version", 2}, {"path", "/system.slice/web.service"},
          {"folder", "/sys/fs/cgroup/system.slice/web.service"}, {"inode", 77}, {"topmost", false}, {"members", 3}, {"stranger_count", 0}, {"strangers", Json::array()},
          {"values", {{"cpu.max", "max 100000"}}}, {"not_writable", ""}, {"lineage", std::move(lineage)}};
}

class FakeView final : public HostView {
 public:
  explicit FakeView(Json placed) : placed_(std::move(placed)) {}
  Task<Json> inspect(Op query) override {
    asked.push_back(query);
    Json answer = query.type == "process.identify" ? identified() : extra;
    if (query.type == "cgroup.look") answer = {{"nonce", "0123456789ab"}, {"groups", Json::array({placed_})}};
    co_return answer;
  }
  std::vector<Op> asked;
  Json extra = Json::object();  // what any other look says

 private:
  Json placed_;
};

inline FaultPlan plan(const char* fault, FakeView& view, Json params, std::set<std::string> allow = {}) {
  FaultRequest request;
  request.params = std::move(params);
  request.target = {{"pid", "12"}};
  request.target_type = "process";
  request.allow = std::move(allow);
  return test::plan_fault(fault, std::move(request), view);
}

inline FaultPlan plan(const char* fault, const Json& placed, Json params, std::set<std::string> allow = {}) {
  FakeView view(placed);
  return plan(fault, view, std::move(params), std::move(allow));
}

inline test::Refused refusal(const char* fault, const Json& placed, Json params, std::set<std::string> allow = {}) {
  return test::refused_by([&] { plan(fault, placed, std::move(params), std::move(allow)); });
}

}  // namespace capsize::cgroup_test
