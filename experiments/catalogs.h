// The tables a playbook may draw on: the real ones by default; tests bring tables of their own.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "injector/fault.h"
#include "injector/target_type.h"
#include "probes/probe.h"

namespace capsize {

struct Catalogs {
  const std::vector<FaultType>* faults = &fault_catalog();
  const std::vector<ProbeType>* probes = &probe_catalog();
  const std::vector<TargetType>* targets = &target_catalog();

  // Null: no such name.
  const FaultType* fault(std::string_view name) const { return find(*faults, name); }
  const ProbeType* probe(std::string_view name) const { return find(*probes, name); }
  const TargetType* target(std::string_view name) const { return find(*targets, name); }
  std::vector<std::string> fault_names() const { return names(*faults); }
  std::vector<std::string> probe_names() const { return names(*probes); }
  std::vector<std::string> target_names() const { return names(*targets); }

 private:
  template <class T>
  static const T* find(const std::vector<T>& table, std::string_view name) {
    for (const T& type : table) {
      if (type.name == name) return &type;
    }
    return nullptr;
  }
  template <class T>
  static std::vector<std::string> names(const std::vector<T>& table) {
    std::vector<std::string> out;
    for (const T& type : table) out.emplace_back(type.name);
    return out;
  }
};

}  // namespace capsize
