// The agent, the guard and a runner of host_test.cc, with ops of its own: a file that is written and removed, a socket that is held,
// and a server that may carry out a command late.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/base/spawn.h"
#include "injector/host/agent.h"
#include "injector/host/remote_host.h"
#include "injector/undo/guard.h"

using namespace capsize;

namespace {

std::string text(const Json& args, const char* key) { return args.at(key).get<std::string>(); }

std::optional<std::string> content(const std::string& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

// When an undo begins, for who measures how long it took.
void note(const Json& args) {
  if (!args.contains("log")) return;
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::string line = fmt::format("{}\n", now.tv_sec * 1'000'000'000L + now.tv_nsec);
  const UniqueFd log(open(text(args, "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (write(log.get(), line.data(), line.size()) < 0) std::abort();
}

Task<Json> file_read(Json args, OpContext&) {
  const auto there = content(text(args, "path"));
  co_return there ? Json(*there) : Json();
}

Task<Applied> file_write(Json args, OpContext&) {
  // Whole or not at all, also when killed in the middle: an empty file would be taken for somebody else's.
  const std::filesystem::path path = text(args, "path");
  const std::filesystem::path made = path.parent_path().parent_path() / (path.filename().string() + ".new");
  std::ofstream(made) << text(args, "text");
  std::filesystem::rename(made, path);
  Applied applied;
  co_return applied;
}

Task<UndoResult> file_remove(Json args, OpContext&) {
  note(args);
  const std::string path = text(args, "path");
  const auto there = content(path);
  UndoResult result;
  if (!there) {
    result.state = UndoState::nothing_to_undo;
    result.because = path + " is not there";
  } else if (*there != text(args, "text")) {
    result.state = UndoState::refused;
    result.because = path + " says something else now";
  } else {
    std::filesystem::remove(path);
    result.state = UndoState::undone;
    result.because = path + " was removed";
  }
  co_return result;
}

sockaddr_un address_of(const std::string& name, socklen_t& length) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const bool abstract = name.front() == '@';
  std::memcpy(address.sun_path, name.data(), name.size());
  if (abstract) address.sun_path[0] = '\0';
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  return address;
}

struct HeldSocket final : Held {
  explicit HeldSocket(UniqueFd fd_) : fd(std::move(fd_)) {}
  void release() noexcept override { fd.reset(); }
  UniqueFd fd;
};

Task<Applied> socket_hold(Json args, OpContext&) {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  socklen_t length = 0;
  const sockaddr_un address = address_of(text(args, "name"), length);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 || listen(fd.get(), 1) != 0) throw system_error(errno, "bind");
  Applied applied;
  applied.held = std::make_unique<HeldSocket>(std::move(fd));
  co_return applied;
}

Task<UndoResult> socket_sweep(Json args, OpContext&) {
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  socklen_t length = 0;
  const sockaddr_un address = address_of(text(args, "name"), length);
  UndoResult result;
  const bool there = connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0;
  result.state = there ? UndoState::failed : UndoState::undone;
  result.because = there ? "it is still held" : "it is free";
  co_return result;
}

// Sends a command to a server that writes args.path when it comes to it.
Task<Applied> late_set(Json args, OpContext& context) {
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  socklen_t length = 0;
  const sockaddr_un address = address_of(text(args, "server"), length);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) throw system_error(errno, "connect");
  if (context.share_connection) {
    co_await context.share_connection(fd.get());
  }
  const std::string command = text(args, "path") + "\n";
  if (write(fd.get(), command.data(), command.size()) < 0) throw system_error(errno, "write");
  Applied applied;
  co_return applied;
}

const OpType* find_helper_op(std::string_view name) {
  static const std::vector<OpType> table = {
      {"file.read", Lasts::look, "reads", file_read, nullptr, nullptr},
      {"file.write", Lasts::persistent, "writes", nullptr, file_write, nullptr},
      {"file.remove", Lasts::persistent, "removes", nullptr, nullptr, file_remove},
      {"socket.hold", Lasts::while_held, "binds", nullptr, socket_hold, nullptr},
      {"socket.sweep", Lasts::while_held, "looks", nullptr, nullptr, socket_sweep},
      {"late.set", Lasts::persistent, "asks a server", nullptr, late_set, nullptr},
  };
  for (const OpType& type : table) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

Task<> runner(Clock& clock, RemoteHostOptions options, std::string folder, int files) {
  const auto host = co_await RemoteHost::start(clock, std::move(options));
  for (int i = 0; i < files; ++i) {
    const std::string id = "s" + std::to_string(i);
    const std::string path = folder + "/" + id;
    Step step;
    step.apply.type = "file.write";
    step.apply.args["path"] = path;
    step.apply.args["text"] = id;
    step.undo.type = "file.remove";
    step.undo.args = step.apply.args;
    step.undo.args["log"] = folder + "/log";
    const Json detail = co_await host->apply(id, step, std::chrono::minutes(10));
  }
  std::cout << "ready " << host->hello().at("pid").get<int>() << std::endl;
  co_await clock.sleep(std::chrono::hours(1));
}

// run STATE RUN FOLDER FILES LEASE_MS: injects and waits to be killed.
int run_main(char** argv) {
  asio::io_context io;
  SystemClock clock;
  RemoteHostOptions options;
  options.command = agent_command({}, argv[2]);
  options.run = argv[3];
  options.lease = std::chrono::milliseconds(std::stoi(argv[6]));
  asio::co_spawn(io, runner(clock, options, argv[4], std::stoi(argv[5])), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "agent") return agent_main(argc, argv, find_helper_op);
  if (what == "guard") return guard_main(argc, argv, find_helper_op);
  if (what == "run" && argc == 7) return run_main(argv);
  if (what == "noisy") {  // a login shell's banner before the agent
    std::cout << "Welcome to edge-1!\n{\"not\": \"a hello\"}\n" << std::string(5000, '#') << "\n" << std::flush;
    argv[1] = const_cast<char*>("agent");
    return agent_main(argc, argv, find_helper_op);
  }
  if (what == "chatter") {
    for (int i = 0; i < 3000; ++i) std::cout << "Welcome to edge-1, where nobody says hello to an agent\n";
    std::cout << std::flush;
    return 0;
  }
  if (what == "other_version") {
    std::cout << R"({"hello":"capsize-agent","version":"0.0.1","ops":[],"pid":1,"boot_id":"x","uid":0})" << std::endl;
    pause();
  }
  if (what == "silent") pause();
  if (what == "refused") {
    std::cerr << "Permission denied (publickey)." << std::endl;
    return 255;
  }
  return 64;
}
