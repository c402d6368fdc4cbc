// What an experiment can be aimed at. A target's JSON in the playbook is {"type": …, "host": …, and the type's own parameters}.
#pragma once
#include <string_view>
#include <vector>

#include "injector/base/spec.h"

namespace capsize {

struct TargetType {
  std::string_view name;
  std::string_view doc;
  const AnySpec& (*spec)();
  Json example;
};

const std::vector<TargetType>& target_catalog();  // THE table of target types
const TargetType* find_target_type(std::string_view name);

}  // namespace capsize
