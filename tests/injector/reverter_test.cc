// What a dead run leaves, and who takes it away.
#include "injector/undo/reverter.h"

#include "injector/undo/status.h"
#include "tests/injector/local_host_bench.h"

using namespace capsize;
using namespace capsize::host_test;

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
