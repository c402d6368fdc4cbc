// capsize run PLAYBOOK
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <charconv>
#include <random>

#include "experiments/cli/control.h"
#include "experiments/cli/playbook_flags.h"
#include "experiments/cli/room_terminal.h"
#include "experiments/cli/run_folder.h"
#include "experiments/cli/run_outputs.h"
#include "experiments/game/answers.h"
#include "experiments/game/sealed.h"
#include "experiments/lab/lab.h"
#include "experiments/report/terminal.h"
#include "experiments/runner.h"
#include "experiments/verdict.h"
#include "injector/base/error.h"
#include "injector/base/located_json.h"
#include "injector/undo/status.h"

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
  bool sealed = false;
  std::string answers;  // file
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

// Nobody who sees the process's arguments may be able to choose again: with --sealed the seed comes from the environment, or from chance.
std::uint64_t seed_of(const RunFlags& flags) {
  if (!flags.sealed) return chosen_seed(flags.seed);
  if (flags.seed != 0) throw Error(ErrorKind::refused, "--seed with --sealed: whoever sees the arguments of the process could choose again", "set CAPSIZE_SEED in the environment, or leave it to chance: the verdict names the seed");
  const auto text = from_environment("CAPSIZE_SEED");
  if (!text) return chosen_seed(0);
  std::uint64_t seed = 0;
  const auto result = std::from_chars(text->data(), text->data() + text->size(), seed);
  if (result.ec != std::errc() || result.ptr != text->data() + text->size() || seed == 0) throw Error(ErrorKind::refused, "CAPSIZE_SEED is not a seed", "set it to a whole number above zero");
  return seed;
}

std::string fresh_salt() {
  std::random_device random;
  std::string out;
  for (int i = 0; i < 4; ++i) out += fmt::format("{:08x}", random());
  return out;
}

void check_sealed(const Playbook& playbook, const RunFlags& flags) {
  const bool has_sealed = !playbook.sealed.empty();
  if (flags.sealed && !has_sealed) throw Error(ErrorKind::refused, "--sealed: the playbook has no \"sealed\" causes to choose from", "add them (docs/game-days.md), or run it without --sealed");
  if (flags.sealed && flags.without_faults) throw Error(ErrorKind::refused, "--sealed with --without-faults: nothing would be hidden", "leave one of the two out");
  if (!flags.sealed && has_sealed && !flags.without_faults) throw Error(ErrorKind::refused, "the playbook is a sealed game day: one of its causes is to be chosen", "run it with --sealed, or calm with --without-faults");
}

// What the run is about, decided before anything is touched.
struct GameDay {
  std::uint64_t seed = 1;
  std::optional<Seal> seal;
  std::vector<ScriptedAnswer> answers;
  std::unique_ptr<RoomTerminal> terminal;  // of people who can answer
};

GameDay game_day_of(const Playbook& playbook, const RunFlags& flags, std::vector<ScriptedAnswer> answers) {
  check_sealed(playbook, flags);
  GameDay out;
  out.seed = seed_of(flags);
  if (flags.sealed) out.seal = seal_choice(playbook, out.seed, fresh_salt());
  out.answers = std::move(answers);
  if (playbook.asks() && flags.answers.empty()) out.terminal = RoomTerminal::open();
  return out;
}

class Play {
 public:
  // `closed`: the playbook as it was read; of a sealed run it is what others may see until the end.
  Play(const Playbook& closed, GameDay game, const RunFlags& flags, const CliContext& context, std::string run)
      : closed_(closed), playbook_(game.seal ? open_sealed(closed, game.seal->choice) : closed), game_(std::move(game)), flags_(flags), context_(context), run_(std::move(run)),
        display_(make_run_display(STDOUT_FILENO, context.json ? DisplayMode::json : game_.terminal ? DisplayMode::plain : DisplayMode::automatic)) {}

  FinishedRun play() {
    const auto work = [this] { return drive(); };
    std::exception_ptr failed;
    try {
      run_control(stop_, work, [this](bool first) { display_->note(first ? "stopping: reverting now" : "still reverting: a second signal does not skip it"); });
    } catch (...) {
      failed = std::current_exception();
    }
    tell_all();
    if (failed) std::rethrow_exception(failed);
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
    options_.seed = game_.seed;
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
      if (game_.terminal) asio::co_spawn(executor, game_.terminal->listen(clock_), asio::bind_cancellation_slot(end_listening_.slot(), [](std::exception_ptr) {}));
      try {
        co_await run_playbook(playbook_, *prepared, options_, world, *timeline_, stop_);
      } catch (...) {
        problem = std::current_exception();
      }
      end_ticks_.emit(asio::cancellation_type::terminal);
      end_listening_.emit(asio::cancellation_type::terminal);
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
    options_.seal = game_.seal;
    options_.answers = game_.answers;
    if (game_.terminal) options_.room = &game_.terminal->room;
    folder_ = make_run_folder(context_.state_dir(), run_, flags_.out);
    write_whole(folder_ / "playbook.json", closed_.as_run.dump(2) + "\n");
    in_progress_.emplace(context_.state_dir(), run_, folder_);
    timeline_.emplace(clock_, folder_ / "timeline.jsonl");
    if (game_.seal) timeline_->veil = [this](const Json& event) { return seen_meanwhile(event, closed_.as_run); };
    timeline_->on_event = [this](const Json& event) { display_->event(event); };
  }

  // The end of a sealed run: what was hidden goes into its files, and to the display.
  void tell_all() {
    if (!game_.seal || !timeline_) return;
    try {
      write_whole(folder_ / "playbook.json", playbook_.as_run.dump(2) + "\n");
      timeline_->unveil();  // only now: a timeline that tells what its playbook lacks would be judged as another run
    } catch (const std::exception& problem) {  // the verdict is told from what is known here
      warn("what was sealed is not in the run's files, which cannot be judged again", problem.what());
    }
    display_->told(timeline_->events());
  }

  const Playbook& closed_;
  const Playbook playbook_;
  GameDay game_;
  const RunFlags& flags_;
  const CliContext& context_;
  const std::string run_;
  SystemClock clock_;
  StopSource stop_;
  asio::cancellation_signal end_ticks_;  // outlives the coroutine it ends
  asio::cancellation_signal end_listening_;
  RunOptions options_;
  std::unique_ptr<RunDisplay> display_;
  fs::path folder_;
  std::optional<RunInProgress> in_progress_;
  std::optional<Timeline> timeline_;
};

std::optional<std::vector<ScriptedAnswer>> answers_or_complain(const Playbook& playbook, const RunFlags& flags, const CliContext& context) {
  if (flags.answers.empty()) return std::vector<ScriptedAnswer>();
  AnswersResult result = read_answers(read_document(flags.answers), playbook);
  if (context.json && !result.diagnostics.ok()) fmt::print("{}\n", Json({{"problems", result.diagnostics.json(flags.answers)}}).dump());
  else fmt::print(stderr, "{}", result.diagnostics.text(flags.answers));
  if (!result.diagnostics.ok()) return std::nullopt;
  return std::move(result.answers);
}

// To a verdict, or nothing: the playbook or the file of answers is wrong, and has been told so.
std::optional<FinishedRun> play(const RunFlags& flags, const CliContext& context) {
  const SystemClock clock;
  const std::string id = new_run_id(clock.wall(), flags.playbook) + (flags.sealed ? std::string(kSealedSuffix) : std::string());
  std::optional<LabForRun> lab;
  PlaybookFlags variables = flags.variables;
  if (!flags.lab.empty()) {
    lab.emplace(flags.lab, context.state_dir(), id);
    variables.lab = lab->variables();
  }
  const auto playbook = read_or_complain(flags.playbook, variables, context);
  if (!playbook) return std::nullopt;
  auto answers = answers_or_complain(*playbook, flags, context);
  if (!answers) return std::nullopt;
  try {
    return Play(*playbook, game_day_of(*playbook, flags, std::move(*answers)), flags, context, id).play();
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
  command->add_flag("--sealed", flags->sealed, "a game day: one of the playbook's \"sealed\" causes, chosen by the seed (CAPSIZE_SEED) and told only at the end; its hash is shown at the start");
  command->add_option("--answers", flags->answers, "file with the answers to the playbook's questions, where nobody is at the terminal");
  command->add_flag("--without-faults", flags->without_faults, "the same load and expectations, unharmed: it must hold");
  command->callback([flags, &context] { context.exit_code = run(*flags, context); });
}

}  // namespace capsize
