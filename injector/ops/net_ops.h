// The ops on a network namespace: what it can do, a change to its packets, and the undo of that.
#pragma once
#include "injector/op_type.h"

namespace capsize {

OpType net_capabilities();
OpType net_impair();
OpType net_restore();

}  // namespace capsize
