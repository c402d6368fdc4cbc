#include "injector/host/agent.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "injector/base/error.h"
#include "injector/base/json_lines.h"
#include "injector/base/param_types.h"
#include "injector/base/settle.h"
#include "injector/base/within.h"
#include "injector/host/local_host.h"
#include "injector/undo/status.h"

namespace capsize {
namespace {

constexpr Duration kLeaseGrace = std::chrono::milliseconds(50);   // for what has arrived but was not read yet
constexpr Duration kFarewellLimit = std::chrono::seconds(1);      // for the last lines to a runner that may not read
constexpr Duration kShortestLease = std::chrono::milliseconds(200);

class Agent {
 public:
  Agent(asio::io_context& io, Clock& clock, std::filesystem::path state, FindOp find)
      : io_(io), clock_(clock), path_(std::move(state)), find_(std::move(find)), boot_id_(boot_id()),
        in_(io.get_executor(), UniqueFd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3))),
        out_(io.get_executor(), UniqueFd(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3))),
        term_(io.get_executor(), SIGTERM) {}

  void start() {
    send(hello());
    asio::co_spawn(io_, serve(), asio::detached);
    asio::co_spawn(io_, watch_lease(), asio::detached);
    asio::co_spawn(io_, watch_term(), asio::detached);
  }
  int exit_code() const { return exit_code_; }

 private:
  Json hello() const {
    Json ops = Json::array();
    for (const OpType& type : op_catalog()) ops.push_back(type.name);
    return {{"hello", kAgentHello}, {"version", CAPSIZE_VERSION}, {"ops", ops}, {"pid", getpid()}, {"boot_id", boot_id_}, {"uid", geteuid()}};
  }

  // A runner that is gone must never stop an undo: what cannot be said is dropped.
  void send(const Json& json) {
    try {
      out_.send(json);
    } catch (const Error& too_long) {
      if (json.contains("id")) out_.send({{"id", json["id"]}, {"error", to_json(too_long)}});
    }
  }

  Task<> serve() {
    std::string why = "its runner is gone: end of file";
    try {
      for (;;) {
        const auto request = co_await in_.read();
        if (!request || leaving_) break;
        last_line_ = clock_.now();
        asio::co_spawn(io_, answer(*request), asio::detached);
      }
    } catch (const std::exception& problem) {
      why = std::string("its runner cannot be understood: ") + problem.what();
    }
    co_await leave(why);
  }

  Task<> watch_lease() {
    for (;;) {
      const TimePoint end = last_line_ + lease_;
      co_await clock_.sleep_until(end);
      if (clock_.now() < last_line_ + lease_) continue;
      co_await clock_.sleep(kLeaseGrace);
      if (clock_.now() < last_line_ + lease_) continue;
      const std::string why = "its runner has said nothing for " + show(lease_);
      co_await leave(why);
      co_return;
    }
  }

  Task<> watch_term() {
    co_await term_.async_wait(asio::use_awaitable);
    co_await leave("it was told to end (SIGTERM)");
  }

  // Undoes all, says so if anybody listens, and ends this process.
  Task<> leave(std::string why) {
    if (leaving_) co_return;
    leaving_ = true;
    if (host_) {
      const auto reports = co_await settle(host_->undo_all());
      Json notice = {{"what", "lease_undo"}, {"because", why}, {"reports", Json::array()}};
      if (reports->value) {
        for (const UndoReport& report : *reports->value) notice["reports"].push_back(to_json(report));
        if (any_left(*reports->value)) exit_code_ = kExitResidue;
      }
      if (!closed_) send({{"notice", notice}});
      auto closing = closed_ ? host_->close() : host_->close_untold();
      const auto closed = co_await settle(std::move(closing));
      if (closed->error || reports->error) exit_code_ = kExitResidue;
    }
    auto farewell = within<void>(clock_, kFarewellLimit, out_.drain());
    co_await settle(std::move(farewell));
    io_.stop();
  }

  Task<> answer(Json request) {
    Json reply = {{"id", request.is_object() ? request.value("id", Json()) : Json()}};
    auto work = carry_out(request);
    const auto settled = co_await settle(std::move(work));
    if (settled->value) reply["ok"] = std::move(*settled->value);
    if (settled->error) reply["error"] = describe(settled->error);
    send(reply);
    if (closed_) {
      const std::string why = "its run is over";
      co_await leave(why);
    }
  }

  static Json describe(const std::exception_ptr& problem) {
    try {
      std::rethrow_exception(problem);
    } catch (const Error& error) {
      return to_json(error);
    } catch (const Json::exception& error) {
      return to_json(Error(ErrorKind::bug, std::string("a request to the agent is not as it must be: ") + error.what()));
    } catch (const std::exception& error) {
      return to_json(Error(ErrorKind::bug, error.what()));
    }
  }

  LocalHost& host() {
    if (!host_) throw Error(ErrorKind::bug, "the agent was asked to work before it was told its run");
    return *host_;
  }

  Task<Json> carry_out(Json request) {
    const std::string what = request.at("do").get<std::string>();
    if (what == "ping") co_return Json(true);
    if (what == "begin") {
      co_await begin(request);
    } else if (what == "claim") {
      co_await claim(request);
    } else if (what == "inspect") {
      const Op query = op_from_json(request.at("op"));
      const Json seen = co_await host().inspect(query);
      co_return seen;
    } else if (what == "apply") {
      const Json detail = co_await apply(request);
      co_return detail;
    } else if (what == "undo") {
      const StepId step = request.at("step").get<std::string>();
      const auto report = co_await host().undo(step);
      co_return to_json(report);
    } else if (what == "undo_all") {
      const auto reports = co_await host().undo_all();
      co_return to_json(reports);
    } else if (what == "close") {
      co_await host().close();
      closed_ = true;
    } else if (what == "status") {
      co_return status();
    } else if (what == "revert") {
      const Json reports = co_await revert(request);
      co_return reports;
    } else {
      throw Error(ErrorKind::bug, "the agent does not know the request " + what.substr(0, 80));
    }
    co_return Json(true);
  }

  static Json to_json(const std::vector<UndoReport>& reports) {
    Json json = Json::array();
    for (const UndoReport& report : reports) json.push_back(capsize::to_json(report));
    return json;
  }
  static Json to_json(const UndoReport& report) { return capsize::to_json(report); }
  static Json to_json(const Error& error) { return capsize::to_json(error); }

  Task<> begin(Json request) {
    if (host_) throw Error(ErrorKind::bug, "the agent was told its run twice");
    LocalHostOptions options;
    options.run = request.at("run").get<std::string>();
    options.boot_id = boot_id_;
    options.find = find_;
    options.start_guard = guard_process(clock_);
    check_run_id(options.run);
    const Duration lease = std::chrono::milliseconds(request.at("lease_ms").get<std::int64_t>());
    if (lease < kShortestLease) throw Error(ErrorKind::refused, "a lease of " + show(lease) + " is too short");
    StateDir state = StateDir::open(path_);
    co_await refuse_residue(state, clock_, boot_id_, options.residue_patience);
    host_ = std::make_unique<LocalHost>(clock_, std::move(state), std::move(options));
    host_->on_notice = [this](Json notice) { send({{"notice", std::move(notice)}}); };
    lease_ = lease;
    asio::co_spawn(io_, watch_lease(), asio::detached);  // the first watch sleeps for what may be longer
  }

  Task<> claim(Json request) {
    std::vector<TargetHere> targets;
    for (const Json& target : request.at("targets")) targets.push_back({target.at("name").get<std::string>(), target.at("type").get<std::string>(), target.at("params")});
    co_await host().claim(std::move(targets));
  }

  Task<Json> apply(Json request) {
    const StepId id = request.at("step").get<std::string>();
    const Step step = step_from_json(request.at("plan"));
    const Duration lifetime = std::chrono::milliseconds(request.at("lifetime_ms").get<std::int64_t>());
    if (leaving_) throw Error(ErrorKind::unavailable, "the agent is ending: nothing is injected any more");
    const Json detail = co_await host().apply(id, step, lifetime);
    co_return detail;
  }

  Json status() const {
    Json list = Json::array();
    const auto state = StateDir::open_existing(path_);
    if (!state) return list;
    for (const JournalStatus& journal : list_journals(*state, boot_id_)) list.push_back(capsize::to_json(journal));
    return list;
  }

  Task<Json> revert(Json request) {
    const std::string run = request.at("run").get<std::string>();
    auto state = StateDir::open_existing(path_);
    if (!state) co_return Json::array();
    RevertOptions options;
    options.find = find_;
    options.boot_id = boot_id_;
    const auto reports = co_await revert_run(std::move(*state), run, clock_, options);
    co_return to_json(reports);
  }

  asio::io_context& io_;
  Clock& clock_;
  std::filesystem::path path_;
  FindOp find_;
  std::string boot_id_;
  JsonLineReader in_;
  JsonLineWriter out_;
  asio::signal_set term_;
  std::unique_ptr<LocalHost> host_;
  TimePoint last_line_ = clock_.now();
  Duration lease_ = kDefaultLease;
  bool leaving_ = false;
  bool closed_ = false;
  int exit_code_ = 0;
};

// Where /proc is another pid namespace's, every look at a process would find a stranger.
void refuse_foreign_proc() {
  std::error_code none;
  const std::string self = std::filesystem::read_symlink("/proc/self", none).string();
  if (self == std::to_string(getpid())) return;
  throw Error(ErrorKind::unavailable, none ? "no /proc is mounted here, or only that of another pid namespace, so no process can be told from another" : "the /proc that is mounted here is that of another pid namespace",
              "with nsenter, enter both the pid and the mount namespace (--pid --mount), or neither");
}

}  // namespace

int agent_main(int argc, char** argv, FindOp find) {
  // A terminal's Ctrl-C and its end go to everybody in front of it: what they mean is the runner's to say.
  for (const int number : {SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ, SIGTSTP, SIGTTIN, SIGTTOU}) signal(number, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  try {
    std::filesystem::path state;
    for (int i = 2; i < argc; ++i) {
      if (std::strcmp(argv[i], "--state") != 0 || i + 1 == argc) throw Error(ErrorKind::refused, fmt::format("capsize agent: {} is not an option of it", argv[i]));
      state = argv[++i];
    }
    if (state.empty()) state = default_state_path();
    refuse_foreign_proc();
    asio::io_context io(1);
    SystemClock clock;
    Agent agent(io, clock, state, std::move(find));
    agent.start();
    io.run();
    return agent.exit_code();
  } catch (const Error& problem) {
    fmt::print(stderr, "capsize agent: {}\n", problem.what());
    return problem.exit_code();
  } catch (const std::exception& problem) {
    fmt::print(stderr, "capsize agent: {}\n", problem.what());
    return kExitBug;
  }
}

}  // namespace capsize
