// THE table of ops: the only effects capsize has. Adding one is one file in ops/, one test, one line here.
#include "injector/op_type.h"

namespace capsize {

const std::vector<OpType>& op_catalog() {
  static const std::vector<OpType> table = {
  };
  return table;
}

}  // namespace capsize
