// THE table of target types.
#include "injector/target_type.h"

namespace capsize {

const std::vector<TargetType>& target_catalog() {
  static const std::vector<TargetType> table = {
  };
  return table;
}

const TargetType* find_target_type(std::string_view name) {
  for (const TargetType& type : target_catalog()) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

}  // namespace capsize
