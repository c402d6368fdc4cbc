// What capsize knows: faults, probes, targets and measures, for `capsize describe`; each with a playbook that works.
#pragma once
#include <string>
#include <string_view>

#include "experiments/catalogs.h"
#include "injector/base/json.h"
#include "injector/base/param_types.h"

namespace capsize {

struct Description {
  std::string text;  // for people, ends with a newline
  Json json;         // the same for programs
};

// Everything by name and one line.
Description describe_all(const Catalogs& catalogs = {});

// One fault, probe, target type or measure of the run, by its name; also a probe's measure as "login.http.success_ratio". A Mistake with
// did-you-mean where there is no such name.
Parsed<Description> describe(std::string_view name, const Catalogs& catalogs = {});

// The smallest playbooks that use one of them: they pass `capsize check`.
Json example_playbook(const FaultType& fault, const Catalogs& catalogs = {});
Json example_playbook(const ProbeType& probe, const Catalogs& catalogs = {});
Json example_playbook(const TargetType& target, const Catalogs& catalogs = {});

}  // namespace capsize
