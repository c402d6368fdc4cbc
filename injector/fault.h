// A fault plans, an op acts. A fault looks at a host and returns steps; it says what it intends and how its effect is measured.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/spec.h"
#include "injector/base/task.h"
#include "injector/op.h"
#include "injector/targets/host_view.h"

namespace capsize {

// One fault of a playbook, its parameters and target already validated against their Specs.
struct FaultRequest {
  Json params = Json::object();   // the fault's own parameters, none of the keys every fault has (fault, target, at, for, allow, reason)
  std::string target_type;        // which of the types it accepts: "haproxy"
  Json target = Json::object();   // the target's own parameters (no type, no host)
  std::set<std::string> allow;    // "last_server", "majority", ...: what the playbook permits beyond the default blast radius
  std::uint64_t seed = 1;         // of the run: what is chosen by chance is chosen again with it
  std::vector<std::string> keep_open;  // "host:port" that this run itself speaks to over TCP: HAProxy's admin sockets
};

struct FaultPlan {
  Plan steps;
  std::string summary;            // a sentence for plan, report and log: "auth1 gets 80 % of backend auth (weights auth1 10 -> 80)"
  Json intended = Json::object(); // what the effect is compared with, as the report prints it
  Op observe;                     // a look whose answers before and during the fault prove its effect
  std::vector<std::string> allowed;  // which permissions of `allow` were needed; the report prints them with the reason
};

struct Effect {
  Json intended = Json::object();
  Json measured = Json::object();
  bool bites = false;
  std::string because;            // a sentence with the numbers, also why it cannot be told (then bites is false)
};

struct FaultType {
  std::string_view name;          // "balancer.skew"
  std::string_view doc;           // one sentence
  std::vector<std::string_view> target_types;  // names in the target table: it accepts any of these; empty: takes no target
  const AnySpec& (*spec)();
  Json example;                   // the fault's JSON in a playbook, with fault, target, at, for
  // Looks and decides. Throws Error::refused when the blast radius or a name is not allowed, Error::unavailable for what is missing.
  Task<FaultPlan> (*plan)(FaultRequest request, HostView& host) = nullptr;
  // Pure. `before`: the answer of `observe` right before the first apply; `after`: a later answer while the fault is in place.
  Effect (*effect)(const FaultPlan& plan, const Json& before, const Json& after) = nullptr;
  std::string_view undo_doc = {};  // one sentence: what the undo does, and how long the fault would last without it
  // It may overlap with any other fault on its target: its undo takes away only what it added, and compares with nothing that another
  // could have changed.
  bool stacks = false;
};

const std::vector<FaultType>& fault_catalog();  // THE table of faults
const FaultType* find_fault(std::string_view name);
bool accepts(const FaultType& fault, std::string_view target_type);

}  // namespace capsize
