// The bearer's own side: quiet, the first to go when memory runs out, and gone with whoever started it.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <vector>

#include "injector/base/error.h"
#include "injector/base/json_lines.h"
#include "injector/base/unique_fd.h"
#include "injector/burdens/bearer.h"
#include "injector/burdens/bearer_wire.h"
#include "injector/burdens/burden.h"

namespace capsize {
namespace {

void say(const Json& message) {
  const std::string text = message.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (send(kBearerSocketFd, text.data(), text.size(), MSG_NOSIGNAL) < 0) std::_Exit(0);  // nobody is there any more
}

std::optional<Json> hear() {
  std::vector<char> buffer(kMaxBearerMessage);
  ssize_t count = -1;
  while ((count = recv(kBearerSocketFd, buffer.data(), buffer.size(), 0)) < 0 && errno == EINTR) {
  }
  if (count <= 0) return std::nullopt;
  return parse_json_line(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
}

// Whoever meets a lack of memory must meet us first, and nobody wants a core file of gigabytes.
void become_expendable() {
  const UniqueFd score(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (score && write(score.get(), "1000", 4) != 4) errno = 0;
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  std::signal(SIGXFSZ, SIG_IGN);
}

void bear(Burden& burden) {
  for (;;) {
    pollfd agent = {kBearerSocketFd, POLLIN, 0};
    const int ready = poll(&agent, 1, static_cast<int>(kFollowEvery.count()));
    if (ready > 0 && !hear()) std::_Exit(0);
    try {
      if (ready == 0) burden.follow();
    } catch (const Error&) {  // it stays as it is; what is measured says so
    }
  }
}

}  // namespace

bool is_burden_id(const std::string& text) {
  return text.size() == 8 && std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string bearer_name(const std::string& id) { return "burden-" + id; }

std::unique_ptr<Burden> burden_of(const Json& order) {
  const std::string which = order.value("burden", "");
  if (which == "cpu") return cpu_burden(order);
  if (which == "memory") return memory_burden(order);
  if (which == "disk") return disk_burden(order);
  if (which == "io") return io_burden(order);
  if (which == "clock") return clock_burden(order);
  throw Error(ErrorKind::bug, fmt::format("no burden is called \"{}\"", which), "this is a bug in capsize");
}

// What the clock says to a program that was started as this one was.
int say_wall_clock() {
  const std::string text = fmt::format("{}", SystemClock().wall().time_since_epoch().count());
  return write(STDOUT_FILENO, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : kExitUnavailable;
}

int bearer_main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[2], "--wall-clock") == 0) return say_wall_clock();
  const std::string id = argc == 4 && std::strcmp(argv[2], "--id") == 0 ? argv[3] : "";
  if (!is_burden_id(id) || fcntl(kBearerSocketFd, F_SETFD, FD_CLOEXEC) < 0) {
    std::fputs("capsize burden: started by an agent, not by hand\n", stderr);
    return kExitUsage;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NAME, bearer_name(id).c_str());
  say({{"word", "ready"}});  // only now comes the order: an agent that dies before this gives none
  try {
    const auto order = hear();
    if (!order) return 0;
    if (order->value("burden", "") != "clock") become_expendable();  // a command would inherit it
    const auto burden = burden_of(*order);
    const Json detail = burden->take_up([] { say({{"word", "begun"}}); });
    say({{"word", "in_place"}, {"detail", detail}});
    bear(*burden);
  } catch (const Error& problem) {
    say({{"word", "refused"}, {"error", to_json(problem)}});
  } catch (const std::exception& problem) {
    say({{"word", "refused"}, {"error", to_json(Error(ErrorKind::bug, std::string("a burden: ") + problem.what(), "this is a bug in capsize"))}});
  }
  std::_Exit(0);
}

}  // namespace capsize
