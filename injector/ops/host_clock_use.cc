// host.clock_use: what time it is for a command that was started with a wrong clock. A program cannot be asked for the time it sees. So
// capsize starts itself with what that command was started with, and compares; and looks whether the command did take up the library.
#include <fmt/format.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>

#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/base/spawn.h"
#include "injector/base/within.h"
#include "injector/burdens/bearer.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/burdens/burden.h"
#include "injector/ops/host_ops.h"
#include "injector/targets/host.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

constexpr Duration kWitnessLimit = std::chrono::seconds(3);
constexpr const char* kLibrary = "faketime/libfaketimeMT.so.1";  // the one that is right for programs with threads, too

// Where distributions put it; empty: not there.
std::string find_library() {
  namespace fs = std::filesystem;
  for (const char* base : {"/usr/lib", "/usr/lib64", "/usr/local/lib"}) {
    std::error_code problem;
    if (fs::exists(fs::path(base) / kLibrary, problem)) return fs::path(base) / kLibrary;
    for (fs::directory_iterator it(base, problem), end; !problem && it != end; it.increment(problem)) {
      std::error_code none;
      if (fs::exists(it->path() / kLibrary, none)) return it->path() / kLibrary;
    }
  }
  return "";
}

// Of the one who plans, in effect.
bool may_unshare() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  return ::syscall(SYS_capget, &header, data) == 0 && (data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN)) != 0;
}

// libfaketime leaves these behind when it is not asked to end in good order.
void sweep_after(int pid) {
  for (const char* name : {"faketime_shm_", "sem.faketime_sem_"}) ::unlink(fmt::format("/dev/shm/{}{}", name, pid).c_str());
}

// Seconds ahead of our own clock, and how much that may be off by; nothing: the witness did not answer.
struct Shift {
  double seconds = 0;
  double error = 0;
};

Task<std::optional<Shift>> ask_witness(std::map<std::string, std::string> environment, Clock& clock) {
  Pipe out = make_pipe();
  SpawnRequest request;
  request.command = {"/proc/self/exe", "burden", "--wall-clock"};
  request.descriptors[1] = out.write.get();
  request.from_root = true;
  request.environment = std::move(environment);
  const WallTime before = clock.wall();
  const Child witness = spawn(request);
  out.write.reset();
  auto work = within<void>(clock, kWitnessLimit, wait_for_end(witness.pidfd.get()));
  const auto ended = co_await std::move(work);
  const WallTime after = clock.wall();
  if (!ended) {
    kill_child(witness);
    co_await wait_for_end(witness.pidfd.get());
  }
  reap(witness);
  sweep_after(witness.pid);
  char text[32] = {};
  const ssize_t count = ended ? ::read(out.read.get(), text, sizeof text) : 0;
  std::int64_t said = 0;
  if (count <= 0 || std::from_chars(text, text + count, said).ec != std::errc()) co_return std::nullopt;
  const double least = static_cast<double>(said - after.time_since_epoch().count()) / 1e3;
  const double most = static_cast<double>(said - before.time_since_epoch().count()) / 1e3;
  Shift shift;
  shift.seconds = (least + most) / 2;
  shift.error = (most - least) / 2;
  co_return shift;
}

Task<Json> look_clock(Json args, OpContext& context) {
  if (!args.contains("id")) {
    Json planning = {{"library", find_library()}};
    planning["may_unshare"] = may_unshare();
    planning["new_id"] = fresh_burden_id();
    co_return planning;
  }
  const std::string id = args.value("id", "");
  if (!is_burden_id(id)) throw Error(ErrorKind::bug, "a look at a burden without an id", "this is a bug in capsize");
  const BearerLook bearer = find_bearer(id);
  const int command = bearer.pid == 0 || bearer.ending ? 0 : command_of_bearer(id);
  Json answer = {{"bearer", bearer.ending ? 0 : bearer.pid}, {"command", command}, {"shift", nullptr}};
  if (command == 0) co_return answer;
  answer["loaded"] = whole_file(fmt::format("/proc/{}/maps", command)).find("libfaketime") != std::string::npos;
  auto asking = ask_witness(clock_environment(args.at("library").get<std::string>(), args.at("shift").get<double>()), context.clock);
  const auto shift = co_await std::move(asking);
  if (!shift) co_return answer;
  answer["shift"] = shift->seconds;
  answer["error"] = shift->error;
  co_return answer;
}

}  // namespace

OpType host_clock_use() {
  OpType type{"host.clock_use", Lasts::look, "what time it is for a command that was started with a wrong clock"};
  type.look = look_clock;
  return type;
}

}  // namespace capsize
