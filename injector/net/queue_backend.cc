#include "injector/base/error.h"
#include "injector/net/backends.h"

namespace capsize {

std::unique_ptr<HeldImpairment> hold_by_queue(const Impairment&) { throw Error(ErrorKind::unavailable, "this capsize has no queue back end yet"); }

}  // namespace capsize
