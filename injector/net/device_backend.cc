#include "injector/base/error.h"
#include "injector/net/backends.h"

namespace capsize {

std::unique_ptr<HeldImpairment> hold_by_device(const Impairment&) { throw Error(ErrorKind::unavailable, "this capsize has no device back end yet"); }
UndoResult sweep_device(const Impairment&) { return {UndoState::nothing_to_undo, "no device was made", "", {}}; }

}  // namespace capsize
