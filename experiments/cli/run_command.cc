// capsize run PLAYBOOK
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "experiments/cli/control.h"
#include "experiments/cli/playbook_flags.h"
#include "experiments/cli/run_folder.h"
#include "experiments/cli/run_outputs.h"
#include "experiments/lab/lab.h"
#include "experiments/report/terminal.h"
#include "experiments/runner.h"
#include "experiments/verdict.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

struct RunFlags {
  std::string playbook;
  PlaybookFlags variables;
  std::string lab;
  std::string out;
  std::uint64_t seed = 0;
  bool without_faults = false;
  RunOutputs outputs;
};

// The lab of `--lab`: up for the length of the run, in a folder of its own that goes with it.
class LabForRun {
 public:
  LabForRun(const std::string& profile, const fs::path& state, const std::string& run) : dir_(state / "labs" / run) {
    LabOptions options;
    options.profile = profile;
    options.dir = dir_;
    fs::create_directories(dir_.parent_path());
    lab_.emplace(options);
  }
  ~LabForRun() {
    lab_.reset();
    std::error_code ignored;
    fs::remove_all(dir_, ignored);
  }
  LabForRun(const LabForRun&) = delete;
  LabForRun& operator=(const LabForRun&) = delete;
  std::map<std::string, Json> variables() const { return lab_->info().value("variables", Json::object()).get<std::map<std::string, Json>>(); }

 private:
  fs::path dir_;
  std::optional<OwnedLab> lab_;
};

// Redraws while the run goes on; ends when cancelled.
Task<> tick(Clock& clock, const Timeline& timeline, RunDisplay& display) {
  for (;;) {
    co_await clock.sleep(std::chrono::milliseconds(250));
    display.tick(timeline.now_seconds());
  }
}

class Play {
 public:
  Play(const Playbook& playbook, const RunFlags& flags, const CliContext& context, std::string run)
      : playbook_(playbook), flags_(flags), context_(context), run_(std::move(run)), display_(make_run_display(STDOUT_FILENO, context.json ? DisplayMode::json : DisplayMode::automatic)) {}

  FinishedRun play() {
    const auto work = [this] { return drive(); };
    run_control(stop_, work, [this](bool first) { display_->note(first ? "stopping: reverting now" : "still reverting: a second signal does not skip it"); });
    FinishedRun run{playbook_.as_run, timeline_->events(), judge(playbook_, timeline_->events()), folder_};
    if (!timeline_->write_problem().empty()) run.verdict["problem"] = timeline_->write_problem();
    try {
      write_reports(folder_, run.playbook, run.events, run.verdict);
    } catch (const std::exception& problem) {  // the verdict stands
      run.verdict["problem"] = std::string("not all reports could be written: ") + problem.what();
      warn("the reports", problem.what());
    }
    display_->verdict(run.verdict, folder_.string());
    return run;
  }

 private:
  Task<> drive() {
    World world = real_world(clock_, context_, run_);
    options_.seed = chosen_seed(flags_.seed);
    const auto prepared = co_await prepare(playbook_, world, options_.seed);
    std::exception_ptr problem;
    try {
      begin();
    } catch (...) {
      problem = std::current_exception();
    }
    if (!problem) {
      const auto executor = co_await asio::this_coro::executor;
      asio::co_spawn(executor, tick(clock_, *timeline_, *display_), asio::bind_cancellation_slot(end_ticks_.slot(), [](std::exception_ptr) {}));
      try {
        co_await run_playbook(playbook_, *prepared, options_, world, *timeline_, stop_);
      } catch (...) {
        problem = std::current_exception();
      }
      end_ticks_.emit(asio::cancellation_type::terminal);
    }
    try {
      co_await prepared->close();
    } catch (const std::exception& error) {  // everything is judged by now: what an agent does not answer to its dismissal changes nothing
      warn("a host", playbook_.redact(error.what()));
    }
    if (problem) std::rethrow_exception(problem);
  }

  void begin() {
    if (stop_.requested()) throw Error(ErrorKind::unavailable, "stopped before anything was done");
    options_.run = run_;
    options_.without_faults = flags_.without_faults;
    folder_ = make_run_folder(context_.state_dir(), run_, flags_.out);
    write_whole(folder_ / "playbook.json", playbook_.as_run.dump(2) + "\n");
    in_progress_.emplace(context_.state_dir(), run_, folder_);
    timeline_.emplace(clock_, folder_ / "timeline.jsonl");
    timeline_->on_event = [this](const Json& event) { display_->event(event); };
  }

  const Playbook& playbook_;
  const RunFlags& flags_;
  const CliContext& context_;
  const std::string run_;
  SystemClock clock_;
  StopSource stop_;
  asio::cancellation_signal end_ticks_;  // outlives the coroutine it ends
  RunOptions options_;
  std::unique_ptr<RunDisplay> display_;
  fs::path folder_;
  std::optional<RunInProgress> in_progress_;
  std::optional<Timeline> timeline_;
};

// To a verdict, or nothing: the playbook is wrong, and has been told so.
std::optional<FinishedRun> play(const RunFlags& flags, const CliContext& context) {
  const SystemClock clock;
  const std::string id = new_run_id(clock.wall(), flags.playbook);
  std::optional<LabForRun> lab;
  PlaybookFlags variables = flags.variables;
  if (!flags.lab.empty()) {
    lab.emplace(flags.lab, context.state_dir(), id);
    variables.lab = lab->variables();
  }
  const auto playbook = read_or_complain(flags.playbook, variables, context);
  if (!playbook) return std::nullopt;
  try {
    return Play(*playbook, flags, context, id).play();
  } catch (const Error& error) {
    throw Error(error.kind(), playbook->redact(error.fact()), playbook->redact(error.remedy()));
  }
}

int run(const RunFlags& flags, const CliContext& context) {
  std::optional<FinishedRun> played;
  try {
    flags.outputs.check();
    played = play(flags, context);
  } catch (const Error& error) {
    flags.outputs.write_no_run(flags.playbook, error.exit_code(), error.what());
    throw;
  } catch (const std::exception& error) {
    flags.outputs.write_no_run(flags.playbook, kExitBug, error.what());
    throw;
  }
  if (!played) {
    flags.outputs.write_no_run(flags.playbook, kExitBadPlaybook, "the playbook is wrong: see what `capsize check` says of it");
    return kExitBadPlaybook;
  }
  std::fflush(stdout);
  flags.outputs.write(context, flags.playbook, *played);
  return played->verdict.value("exit_code", kExitBug);
}

}  // namespace

void add_run(CLI::App& app, CliContext& context) {
  auto flags = std::make_shared<RunFlags>();
  auto* command = app.add_subcommand("run", "play a playbook: baseline, fault, revert, recovery, verdict; Ctrl-C reverts");
  command->add_option("PLAYBOOK", flags->playbook, "the playbook (JSON)")->required();
  flags->variables.add_to(*command);
  command->add_option("--lab", flags->lab, "bring a lab of this profile up for the run: as-it-was or hardened")->check(CLI::IsMember({"as-it-was", "hardened"}));
  command->add_option("--out", flags->out, "folder for the run's files (default: runs/RUN of the state folder)");
  command->add_option("--seed", flags->seed, "repeat the chances of an earlier run (the verdict names its seed)");
  flags->outputs.add_to(*command);
  command->add_flag("--without-faults", flags->without_faults, "the same load and expectations, unharmed: it must hold");
  command->callback([flags, &context] { context.exit_code = run(*flags, context); });
}

}  // namespace capsize
