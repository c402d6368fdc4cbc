// Processes as faults see them, for tests: JSON in, JSON out.
#pragma once
#include <catch2/catch.hpp>

#include "injector/fault.h"
#include "injector/targets/process.h"
#include "tests/injector/plan_fault.h"

namespace capsize::test {

inline TargetProcess some_process(int pid, const std::string& name = "server") {
  return {"aaaa-bbbb", pid, 345, 670 + static_cast<std::uint64_t>(pid), 4026531836, ExeFile{1, 2, "/usr/bin/" + name}, name};
}

// What process.identify says of one: it may be traced and signalled, and nobody does.
inline Json look_at(const TargetProcess& process, const Json& changes = Json::object()) {
  Json look = {{"identity", to_json(process)}, {"never_a_target", ""}, {"threads", 3}, {"states", {{"S", 3}}}, {"ended", false}, {"stopped", false}, {"tracer", nullptr},
               {"trace", {{"allowed", true}, {"because", ""}}}, {"signal", {{"allowed", true}, {"because", ""}}}, {"mark_folder", "/var/lib/capsize/marks"}};
  look.merge_patch(changes);
  return look;
}

inline Json found(std::vector<Json> looks, const std::string& that = "that run /usr/bin/server") { return {{"that", that}, {"found", std::move(looks)}}; }

// Answers looks by their type; keeps what was asked.
class ProcessView final : public HostView {
 public:
  explicit ProcessView(std::map<std::string, Json> answers) : answers_(std::move(answers)) {}
  Task<Json> inspect(Op query) override {
    asked.push_back(query);
    if (!answers_.contains(query.type)) throw Error(ErrorKind::bug, "nobody answers " + query.type);
    co_return answers_.at(query.type);
  }
  std::vector<Op> asked;

 private:
  std::map<std::string, Json> answers_;
};

}  // namespace capsize::test
