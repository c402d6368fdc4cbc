#include "injector/base/run_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>

#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/base/settle.h"
#include "injector/base/spawn.h"
#include "injector/base/within.h"

namespace capsize {
namespace {

// A file in memory that cannot grow: nobody has to read while the program writes, and what it leaves behind holds nothing open here.
UniqueFd bounded_file(const char* name) {
  UniqueFd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ::ftruncate(file.get(), kMaxProgramOutput) != 0 || ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) throw system_error(errno, "no room for what a program says");
  return file;
}

std::string written(const UniqueFd& file) {
  std::string out(kMaxProgramOutput, '\0');
  const ssize_t got = ::pread(file.get(), out.data(), out.size(), 0);
  out.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  out.resize(std::min(out.size(), out.find('\0')));
  return out;
}

struct Running {  // never outlives its owner
  Child child;
  bool reaped = false;
  ~Running() {
    if (reaped || child.pid <= 0) return;
    kill_child(child);
    for (int tries = 0; tries < 1000 && !reap(child); ++tries) ::sched_yield();
  }
};

Task<bool> end_of(int pidfd) {
  co_await wait_for_end(pidfd);
  co_return true;
}

}  // namespace

Task<ProgramResult> run_program(Clock& clock, std::vector<std::string> command, Duration limit) {
  const UniqueFd out = bounded_file("stdout");
  const UniqueFd err = bounded_file("stderr");
  SpawnRequest request;
  request.command = command;
  request.descriptors[1] = out.get();
  request.descriptors[2] = err.get();
  request.from_root = true;
  Running running;
  running.child = spawn(request);
  auto work = within(clock, limit, end_of(running.child.pidfd.get()));
  const auto ended = co_await std::move(work);
  ProgramResult result;
  result.ended = ended.has_value();
  if (result.ended) {
    const Ended how = reap(running.child).value_or(Ended{});
    running.reaped = true;
    result.how = describe(how);
    result.succeeded = how.by == Ended::By::exit && how.number == 0;
  } else {
    result.how = fmt::format("no end within {}", show(limit));
  }
  result.out = written(out);
  result.err = written(err);
  co_return result;
}

}  // namespace capsize
