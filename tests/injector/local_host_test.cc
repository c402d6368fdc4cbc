#include "injector/host/local_host.h"

#include <boost/asio/detached.hpp>
#include <set>

#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/undo/status.h"
#include "tests/injector/scratch_dir.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

// The world that the ops of this test change: a set of names. And what the test wants to go wrong.
struct World {
  std::set<std::string> there;
  std::vector<std::string> log;
  std::map<std::string, int> undo_fails;  // so many times
  std::set<std::string> undo_refused;
  std::set<std::string> apply_throws;     // after it has changed the world
  std::set<std::string> hangs;
  Clock* clock = nullptr;
} world;

struct Grip final : Held {
  explicit Grip(std::string name_) : name(std::move(name_)) {}
  void release() noexcept override { world.log.push_back("release " + name); }
  std::string name;
};

Task<Applied> set_apply(Json args, OpContext& context) {
  const std::string name = args.at("name").get<std::string>();
  world.log.push_back("apply " + name);
  world.there.insert(name);
  if (world.hangs.contains(name)) {
    co_await context.clock.sleep(1h);
  }
  if (world.apply_throws.contains(name)) throw Error(ErrorKind::unavailable, name + " broke");
  Applied applied;
  applied.detail["name"] = name;
  if (args.contains("hold")) applied.held = std::make_unique<Grip>(name);
  co_return applied;
}

Task<UndoResult> set_undo(Json args, OpContext& context) {
  const std::string name = args.at("name").get<std::string>();
  world.log.push_back("undo " + name);
  if (world.hangs.contains(name)) {
    co_await context.clock.sleep(1h);
  }
  UndoResult result;
  if (world.undo_fails[name]-- > 0) throw Error(ErrorKind::unavailable, name + " does not answer", "wake it");
  if (world.undo_refused.contains(name)) {
    result.state = UndoState::refused;
    result.because = "somebody changed " + name;
    co_return result;
  }
  result.state = world.there.erase(name) > 0 ? UndoState::undone : UndoState::nothing_to_undo;
  result.because = name;
  co_return result;
}

Task<Json> set_look(Json, OpContext&) { co_return Json(world.there); }

const OpType* find_test_op(std::string_view name) {
  static const std::vector<OpType> table = {
      {"set.look", Lasts::look, "looks", set_look, nullptr, nullptr},
      {"set.apply", Lasts::until_restart, "adds", nullptr, set_apply, nullptr},
      {"set.keep", Lasts::persistent, "adds for ever", nullptr, set_apply, nullptr},
      {"set.undo", Lasts::until_restart, "removes", nullptr, nullptr, set_undo},
  };
  for (const OpType& type : table) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

struct FakeGuard final : Guard {
  ProcessIdentity identity() const override { return {}; }
  Task<> share(int) override { co_return; }
  void goodbye() override { world.log.push_back("goodbye"); }
};

Step step(const std::string& name, const std::string& apply = "set.apply") {
  Step made;
  made.apply = Op{apply, {{"name", name}}};
  made.undo = Op{"set.undo", {{"name", name}}};
  return made;
}

struct Bench {
  Bench() {
    world = {};
    host = make("r1");
  }
  std::unique_ptr<LocalHost> make(const std::string& run) {
    LocalHostOptions options;
    options.run = run;
    options.boot_id = boot_id();
    options.find = find_test_op;
    options.start_guard = [this](const StateDir&, std::string) { return start_guard(this); };
    auto made = std::make_unique<LocalHost>(clock, StateDir::open(scratch.path()), options);
    made->on_notice = [this](Json notice) { notices.push_back(std::move(notice)); };
    return made;
  }
  static Task<std::unique_ptr<Guard>> start_guard(Bench* bench) {
    auto made = std::make_unique<FakeGuard>();
    bench->guard = made.get();
    world.log.push_back("guard");
    std::unique_ptr<Guard> guard = std::move(made);
    co_return guard;
  }

  // Runs one piece of work to its end, in virtual time; what it throws is thrown.
  template <class T>
  T get(Task<T> work, Duration limit = 10min) {
    std::shared_ptr<Settled<T>> settled;
    asio::co_spawn(io, settle(std::move(work)), [&](std::exception_ptr, std::shared_ptr<Settled<T>> made) { settled = std::move(made); });
    clock.run(io, limit);
    REQUIRE(settled);
    if (settled->error) std::rethrow_exception(settled->error);
    if constexpr (!std::is_void_v<T>) return std::move(*settled->value);
  }
  // As get, without letting time pass once the work is done (lifetimes stay ahead).
  template <class T>
  T now(Task<T> work) {
    return get(std::move(work), 0ns);
  }
  Task<> close_after(Duration wait) {
    co_await clock.sleep(wait);
    co_await host->close();
  }
  std::optional<JournalContents> journal(const std::string& run = "r1") const { return read_journal(StateDir::open(scratch.path()), run); }

  ScratchDir scratch;
  asio::io_context io;
  SimClock clock;
  std::vector<Json> notices;
  FakeGuard* guard = nullptr;
  std::unique_ptr<LocalHost> host;
};

std::vector<std::string> said(const std::vector<UndoReport>& reports) {
  std::vector<std::string> out;
  for (const UndoReport& report : reports) out.push_back(report.step + " " + std::string(to_string(report.result.state)));
  return out;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("the guard and the journal come before the first apply, and both go with the last undo", "[host]") {
  Bench bench;
  CHECK(bench.journal() == std::nullopt);
  CHECK(bench.now(bench.host->apply("a", step("a"), 30s)) == Json({{"name", "a"}}));
  CHECK(bench.journal()->find("a")->outstanding());
  CHECK(bench.now(bench.host->inspect(Op{"set.look"})) == Json({"a"}));
  const UndoReport report = bench.now(bench.host->undo("a"));
  CHECK(report.result.state == UndoState::undone);
  CHECK(!bench.journal()->outstanding());
  bench.now(bench.host->close());
  CHECK(bench.journal() == std::nullopt);
  CHECK(world.log == Words{"guard", "apply a", "undo a", "goodbye"});
}

TEST_CASE("all is undone newest first, and one that fails or is refused does not stop the others", "[host]") {
  Bench bench;
  for (const char* name : {"a", "b", "c", "d"}) bench.now(bench.host->apply(name, step(name), 1h));
  world.undo_fails["c"] = 1000;
  world.undo_refused.insert("b");
  const auto reports = bench.get(bench.host->undo_all(), 1min);
  CHECK(said(reports) == Words{"d undone", "c failed", "b refused", "a undone"});
  CHECK(reports[1].result.because == "set.undo: c does not answer");
  CHECK(reports[1].result.remedy == "wake it");
  CHECK(world.there == std::set<std::string>{"b", "c"});
  const auto contents = bench.journal();
  CHECK(contents->find("c")->outstanding());
  CHECK(contents->find("b")->outstanding());
  CHECK(!contents->find("a")->outstanding());

  SECTION("what is left is tried again, and only that") {
    world.undo_fails["c"] = 0;
    world.undo_refused.clear();
    CHECK(said(bench.get(bench.host->undo_all(), 1min)) == Words{"c undone", "b undone"});
    CHECK(said(bench.get(bench.host->undo_all(), 1min)).empty());
  }
  SECTION("a journal with something left stays when the host closes, and the guard goes on") {
    bench.now(bench.host->close());
    CHECK(bench.journal()->outstanding());
    CHECK(std::count(world.log.begin(), world.log.end(), "goodbye") == 0);
  }
}

TEST_CASE("an undo that fails for a while is tried again with growing pauses", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 1h));
  world.undo_fails["a"] = 3;
  const TimePoint begun = bench.clock.now();
  Duration took = {};
  const auto timed = [](Bench* at, TimePoint since, Duration* out) -> Task<UndoReport> {
    const auto report = co_await at->host->undo("a");
    *out = at->clock.now() - since;
    co_return report;
  };
  CHECK(bench.get(timed(&bench, begun, &took), 1min).result.state == UndoState::undone);
  CHECK(took == 700ms);
}

TEST_CASE("an undo that never answers is a failure in bounded time", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 1h));
  world.hangs.insert("a");
  const UndoReport report = bench.get(bench.host->undo("a"), 2min);
  CHECK(report.result.state == UndoState::failed);
  CHECK(report.result.because == "set.undo: no answer within 10s");
}

TEST_CASE("an apply that breaks is undone at once, and its error is the caller's", "[host]") {
  Bench bench;
  world.apply_throws.insert("a");
  CHECK_THROWS_WITH(bench.now(bench.host->apply("a", step("a"), 30s)), "a broke");
  CHECK(world.there.empty());
  CHECK(!bench.journal()->outstanding());
  CHECK(world.log == Words{"guard", "apply a", "undo a"});
}

TEST_CASE("an apply that breaks and cannot be undone stays owed", "[host]") {
  Bench bench;
  world.apply_throws.insert("a");
  world.undo_fails["a"] = 5;
  CHECK_THROWS_WITH(bench.get(bench.host->apply("a", step("a"), 30s), 1min), "a broke");
  CHECK(bench.journal()->outstanding());
  CHECK(said(bench.get(bench.host->undo_all(), 1min)) == Words{"a undone"});
}

TEST_CASE("undoing everything does not wait for an apply that hangs", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 1h));
  world.hangs.insert("b");
  bool thrown = false;
  asio::co_spawn(bench.io, bench.host->apply("b", step("b"), 1h), [&](std::exception_ptr error, Json) { thrown = error != nullptr; });
  bench.clock.run(bench.io, 1s);
  CHECK(world.there == std::set<std::string>{"a", "b"});
  world.hangs.clear();
  bench.now(bench.host->undo_all());
  CHECK(thrown);
  CHECK(world.there.empty());
}

TEST_CASE("a cancelled caller does not interrupt an undo", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 1h));
  world.undo_fails["a"] = 2;
  asio::cancellation_signal cancel;
  bool ended = false;
  asio::co_spawn(bench.io, bench.host->undo("a"), asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr, UndoReport) { ended = true; }));
  bench.clock.run(bench.io, 150ms);
  REQUIRE(!ended);
  cancel.emit(asio::cancellation_type::all);
  bench.clock.run(bench.io, 1min);
  CHECK(ended);
  CHECK(world.there.empty());
}

TEST_CASE("undos asked for at the same time are carried out once, one after the other", "[host]") {
  Bench bench;
  for (const char* name : {"a", "b"}) bench.now(bench.host->apply(name, step(name), 1h));
  std::vector<Words> reports;
  for (int i = 0; i < 3; ++i) {
    asio::co_spawn(bench.io, bench.host->undo_all(), [&](std::exception_ptr, std::vector<UndoReport> made) { reports.push_back(said(made)); });
  }
  bench.clock.run(bench.io, 1min);
  CHECK(reports == std::vector<Words>{{"b undone", "a undone"}, {}, {}});
  CHECK(world.log == Words{"guard", "apply a", "apply b", "undo b", "undo a"});
}

TEST_CASE("a step is undone by itself when its lifetime ends, and its undo is then already known", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 30s));
  bench.clock.run(bench.io, 29s);
  CHECK(world.there.contains("a"));
  bench.clock.run(bench.io, 30s);  // virtual time stands at the last thing that happened, the apply
  CHECK(world.there.empty());
  REQUIRE(bench.notices.size() == 1);
  CHECK(bench.notices[0]["what"] == "lifetime_undo");
  CHECK(bench.notices[0]["step"] == "a");
  CHECK(bench.notices[0]["report"]["result"]["state"] == "undone");
  CHECK(bench.now(bench.host->undo("a")).result.state == UndoState::undone);
  CHECK(std::count(world.log.begin(), world.log.end(), "undo a") == 1);
}

TEST_CASE("a step that was undone in time is not undone again at the end of its lifetime", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 30s));
  bench.now(bench.host->undo("a"));
  CHECK(bench.clock.run(bench.io, 1h));
  CHECK(bench.notices.empty());
  CHECK(std::count(world.log.begin(), world.log.end(), "undo a") == 1);
}

TEST_CASE("what a step holds is let go before its undo sweeps", "[host]") {
  Bench bench;
  Step holding = step("a");
  holding.apply.args["hold"] = true;
  bench.now(bench.host->apply("a", holding, 1h));
  bench.now(bench.host->undo("a"));
  CHECK(world.log == Words{"guard", "apply a", "release a", "undo a"});
}

TEST_CASE("undoing what was never injected changes nothing", "[host]") {
  Bench bench;
  CHECK(bench.now(bench.host->undo("never")).result.state == UndoState::nothing_to_undo);
  CHECK(bench.now(bench.host->undo_all()).empty());
  CHECK(world.log.empty());
}

TEST_CASE("what is not in the table, has no end or comes twice is refused before anything is touched", "[host]") {
  Bench bench;
  CHECK_THROWS_WITH(bench.now(bench.host->apply("a", step("a", "set.unknown"), 1s)), Catch::Contains("no op is called set.unknown"));
  CHECK_THROWS_WITH(bench.now(bench.host->apply("a", step("a", "set.undo"), 1s)), Catch::Contains("no op is called"));
  CHECK_THROWS_WITH(bench.now(bench.host->apply("a", step("a"), 0s)), Catch::Contains("without an end"));
  CHECK_THROWS_AS(bench.now(bench.host->inspect(Op{"set.apply"})), Error);
  CHECK(world.log.empty());
  bench.now(bench.host->apply("a", step("a"), 1h));
  CHECK_THROWS_WITH(bench.now(bench.host->apply("a", step("a"), 1h)), Catch::Contains("before in this run"));
  CHECK(world.there == std::set<std::string>{"a"});
}

TEST_CASE("a journal that cannot be made means that nothing is injected", "[host]") {
  Bench bench;
  std::filesystem::create_directory(bench.scratch.path() / "undo" / "r1.journal");
  CHECK_THROWS_AS(bench.now(bench.host->apply("a", step("a"), 1h)), Error);
  CHECK(world.there.empty());
}

TEST_CASE("without its guard the host undoes everything at once and injects nothing more", "[host]") {
  Bench bench;
  for (const char* name : {"a", "b"}) bench.now(bench.host->apply(name, step(name), 1h));
  bench.guard->on_lost("it was killed");
  CHECK(bench.clock.run(bench.io, 0ns));
  CHECK(world.there.empty());
  REQUIRE(bench.notices.size() == 1);
  CHECK(bench.notices[0]["what"] == "guard_lost");
  CHECK(bench.notices[0]["because"] == "it was killed");
  CHECK(bench.notices[0]["reports"].size() == 2);
  CHECK_THROWS_WITH(bench.now(bench.host->apply("c", step("c"), 1h)), Catch::Contains("it was killed"));
}

namespace {

// What a dead run leaves: its process is one that cannot be alive.
void leave_behind(const Bench& bench, const std::string& run, const std::string& boot, const std::vector<std::string>& names, Lasts lasts) {
  JournalRun dead;
  dead.run = run;
  dead.boot_id = boot;
  Journal journal = Journal::create(StateDir::open(bench.scratch.path()), dead);
  for (const std::string& name : names) {
    JournalStep entry;
    entry.id = name;
    entry.undo = step(name).undo;
    entry.lasts = lasts;
    entry.lifetime = 30s;
    journal.add_step(entry);
    world.there.insert(name);
  }
}

RevertOptions revert_options() {
  RevertOptions options;
  options.find = find_test_op;
  options.boot_id = boot_id();
  return options;
}

}  // namespace

TEST_CASE("over an outstanding journal of a dead run nothing new is injected, and the message has the command", "[host][revert]") {
  Bench bench;
  leave_behind(bench, "r0", boot_id(), {"x", "y"}, Lasts::until_restart);
  try {
    bench.get(bench.host->apply("a", step("a"), 1h), 1min);
    FAIL("it was injected");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::residue);
    CHECK(error.exit_code() == 6);
    CHECK(error.remedy() == "run: capsize revert r0");
  }
  CHECK(world.there == std::set<std::string>{"x", "y"});

  const auto reports = bench.get(revert_run(StateDir::open(bench.scratch.path()), "r0", bench.clock, revert_options()), 1min);
  CHECK(said(reports) == Words{"x undone", "y undone"});
  CHECK(world.log == Words{"undo y", "undo x"});
  CHECK(bench.journal("r0") == std::nullopt);
  bench.now(bench.host->apply("a", step("a"), 1h));
}

TEST_CASE("a revert that is refused leaves the journal until an operator accepts what is there", "[revert]") {
  Bench bench;
  leave_behind(bench, "r0", boot_id(), {"x", "y"}, Lasts::until_restart);
  world.undo_refused.insert("x");
  const auto state = [&] { return StateDir::open(bench.scratch.path()); };
  CHECK(said(bench.get(revert_run(state(), "r0", bench.clock, revert_options()), 1min)) == Words{"x refused", "y undone"});
  const auto list = list_journals(state(), boot_id());
  REQUIRE(list.size() == 1);
  CHECK(list[0].holder == Holder::nobody);
  CHECK(list[0].contents.outstanding());
  const Json shown = to_json(list[0]);
  CHECK(shown["outstanding"] == true);
  CHECK(shown["steps"][0]["result"]["because"] == "somebody changed x");
  bench.get(accept_run(state(), "r0", "ann: x is meant to be so", bench.clock), 1min);
  CHECK(list_journals(state(), boot_id()).empty());
}

TEST_CASE("after a restart of the machine only what is persistent is undone", "[revert]") {
  Bench bench;
  leave_behind(bench, "r0", "an-earlier-boot", {"x"}, Lasts::until_reboot);
  leave_behind(bench, "r1", "an-earlier-boot", {"y"}, Lasts::persistent);
  const auto state = [&] { return StateDir::open(bench.scratch.path()); };
  const auto first = bench.get(revert_run(state(), "r0", bench.clock, revert_options()), 1min);
  CHECK(said(first) == Words{"x nothing_to_undo"});
  CHECK_THAT(first[0].result.because, Catch::Contains("the machine was restarted"));
  CHECK(said(bench.get(revert_run(state(), "r1", bench.clock, revert_options()), 1min)) == Words{"y undone"});
  CHECK(world.log == Words{"undo y"});
}

TEST_CASE("of a damaged journal what can be read is undone, and the rest is said to be unknown until an operator accepts it", "[revert]") {
  Bench bench;
  leave_behind(bench, "r0", boot_id(), {"x", "y", "z"}, Lasts::until_restart);
  const auto path = bench.scratch.path() / "undo" / "r0.journal";
  std::string text = file_text(path);
  const auto place = text.find("\"name\":\"y\"");
  REQUIRE(place != std::string::npos);
  text[place + 8] = 'q';
  write_file(path, text);
  const auto state = [&] { return StateDir::open(bench.scratch.path()); };
  const auto reports = bench.get(revert_run(state(), "r0", bench.clock, revert_options()), 1min);
  CHECK(said(reports) == Words{"x undone", "z undone", "journal failed"});
  CHECK(world.there == std::set<std::string>{"y"});
  CHECK(file_text(path) == text);
  CHECK_THROWS_AS(bench.get(bench.host->apply("a", step("a"), 1h), 1min), Error);
  bench.get(accept_run(state(), "r0", "ann looked", bench.clock), 1min);
  CHECK(list_journals(state(), boot_id()).empty());
  CHECK(file_text(bench.scratch.path() / "undo" / "r0.accepted") == text);
}

TEST_CASE("a run that is in progress is neither reverted nor accepted by another", "[revert]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 1h));
  const auto state = [&] { return StateDir::open(bench.scratch.path()); };
  CHECK(list_journals(state(), boot_id())[0].holder == Holder::in_progress);
  CHECK_THROWS_WITH(bench.get(revert_run(state(), "r1", bench.clock, revert_options()), 1min), Catch::Contains("in progress"));
  CHECK_THROWS_WITH(bench.get(accept_run(state(), "r1", "x", bench.clock), 1min), Catch::Contains("in progress"));
  CHECK(world.there == std::set<std::string>{"a"});
  // another run may begin beside it
  const auto second = bench.make("r2");
  bench.now(second->apply("b", step("b"), 1h));
  CHECK(world.there == std::set<std::string>{"a", "b"});
}

TEST_CASE("an undo that this program does not know is a failure with a remedy", "[revert]") {
  Bench bench;
  leave_behind(bench, "r0", boot_id(), {"x"}, Lasts::until_restart);
  RevertOptions options = revert_options();
  options.find = [](std::string_view) { return static_cast<const OpType*>(nullptr); };
  const auto reports = bench.get(revert_run(StateDir::open(bench.scratch.path()), "r0", bench.clock, options), 1min);
  CHECK(said(reports) == Words{"x failed"});
  CHECK_THAT(reports[0].result.because, Catch::Contains("does not know the undo set.undo"));
}

TEST_CASE("a second look undoes what came late and takes nothing back", "[revert]") {
  Bench bench;
  leave_behind(bench, "r0", boot_id(), {"x", "y"}, Lasts::until_restart);
  auto journal = Journal::open(StateDir::open(bench.scratch.path()), "r0");
  REQUIRE(journal->try_lock());
  RevertOptions options = revert_options();
  CHECK(said(bench.get(revert_journal(*journal, bench.clock, options), 1min)) == Words{"y undone", "x undone"});
  world.there.insert("x");  // a dead process's command, carried out at last
  options.again = true;
  bench.get(revert_journal(*journal, bench.clock, options), 1min);
  CHECK(world.there.empty());
  CHECK(journal->contents().find("x")->result->state == UndoState::undone);
  CHECK(journal->contents().find("y")->result->state == UndoState::undone);
}

TEST_CASE("a target is held from the claim to the close: another run is refused meanwhile, and told by whom", "[host]") {
  Bench bench;
  const std::unique_ptr<LocalHost> other = bench.make("r2");
  const std::vector<TargetHere> targets = {{"database", "service", {{"address", "127.0.0.1:5432"}}}};
  bench.now(bench.host->claim(targets));
  try {
    bench.get(other->claim(targets));
    FAIL("both hold it");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::unavailable);
    CHECK(error.fact().find("target \"database\" is held by the run r1") != std::string::npos);
  }
  bench.now(bench.host->close());
  CHECK_NOTHROW(bench.now(other->claim(targets)));
}

TEST_CASE("a target is held after the close by a run that still owes an undo", "[host]") {
  Bench bench;
  const std::unique_ptr<LocalHost> other = bench.make("r2");
  const std::vector<TargetHere> targets = {{"database", "service", {{"address", "127.0.0.1:5432"}}}};
  bench.now(bench.host->claim(targets));
  bench.now(bench.host->apply("x", step("x"), 10min));
  world.undo_fails["x"] = 1000;
  bench.get(bench.host->undo_all(), 5min);
  bench.now(bench.host->close());
  CHECK_THROWS_WITH(bench.get(other->claim(targets)), Catch::Contains("is held by the run r1"));
}

TEST_CASE("a target whose run ends within the second is had, not refused", "[host]") {
  Bench bench;
  const std::unique_ptr<LocalHost> other = bench.make("r2");
  const std::vector<TargetHere> targets = {{"database", "service", {{"address", "127.0.0.1:5432"}}}};
  bench.now(bench.host->claim(targets));
  asio::co_spawn(bench.io, bench.close_after(500ms), [](std::exception_ptr problem) { CHECK(!problem); });
  CHECK_NOTHROW(bench.get(other->claim(targets)));
}

TEST_CASE("the laws of ops hold for those of this test: undo alone changes nothing, and twice is once", "[host]") {
  Bench bench;
  OpContext context = {bench.clock, {}, {}};
  const OpType* undo = find_test_op("set.undo");
  const Json args = {{"name", "x"}};
  CHECK(bench.now(undo->undo(args, context)).state == UndoState::nothing_to_undo);
  world.there.insert("x");
  CHECK(bench.now(undo->undo(args, context)).state == UndoState::undone);
  CHECK(bench.now(undo->undo(args, context)).state == UndoState::nothing_to_undo);
}
