// What planning and probing may do to a machine: look.
#pragma once
#include "injector/base/task.h"
#include "injector/op.h"

namespace capsize {

class HostView {
 public:
  virtual ~HostView() = default;
  // `query` is an op whose type only looks (Lasts::look). Throws Error when the machine, its privilege or the thing asked says no.
  // Thread: control.
  virtual Task<Json> inspect(Op query) = 0;
};

}  // namespace capsize
