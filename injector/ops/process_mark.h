// A signal does not say who sent it. A file, made right before ours is sent, does: without it a process was stopped or ended by someone else,
// and is left alone. It means nothing after a restart of the machine, as the signal itself.
#pragma once
#include <string>

#include "injector/op_type.h"
#include "injector/targets/process.h"

namespace capsize {

// "/state/marks/KIND-boot-pid-start-inode", in the folder that args["mark_folder"] names. Throws Error::bug.
std::string process_mark(const std::string& kind, const Json& args, const TargetProcess& process);

void write_mark(const std::string& mark);  // throws Error: nothing may be done then

struct MarkLook {
  Proof there = Proof::cannot_tell;
  std::string because;
};
MarkLook look_for_mark(const std::string& mark);

// The result, when the mark could be removed: it has done its work, and one that stays would let a later undo act on what someone else did.
UndoResult without_mark(UndoResult result, const std::string& mark);

}  // namespace capsize
