// The ops on system calls of a process: failed or delayed for as long as capsize lives.
#pragma once
#include "injector/op_type.h"

namespace capsize {

OpType process_syscalls();         // {"identities"} -> {"processes": [whether it is tampered with, and how many calls were met]}
OpType process_tamper_syscalls();  // {"identity", "calls", "error" or "delay_ns", "share", "seed"}; its undo is process.release

}  // namespace capsize
