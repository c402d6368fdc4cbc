#include "tests/injector/local_host_bench.h"

using namespace capsize;
using namespace capsize::host_test;

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

TEST_CASE("an apply that only waits holds up no undo of another step, asked for or at the end of a lifetime", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 1h));
  bench.now(bench.host->apply("b", step("b"), 5s));
  Step waiting = step("c");
  waiting.apply.args["pauses"] = 100;  // 10 s
  bool applied = false;
  asio::co_spawn(bench.io, bench.host->apply("c", waiting, 1h), [&](std::exception_ptr error, Json) { applied = error == nullptr; });
  bench.clock.run(bench.io, 1s);
  CHECK(bench.get(bench.host->undo("a"), 1s).result.state == UndoState::undone);
  bench.clock.run(bench.io, 4s);
  CHECK(world.there == std::set<std::string>{"c"});
  CHECK(bench.notices.size() == 1);
  CHECK(!applied);

  SECTION("and ends well") {
    bench.clock.run(bench.io, 10s);
    CHECK(applied);
    CHECK(said(bench.now(bench.host->undo_all())) == Words{"c undone"});
  }
  SECTION("its own undo comes after it, never in the midst of it") {
    CHECK(bench.get(bench.host->undo("c"), 10s).result.state == UndoState::undone);
    CHECK(applied);
  }
  SECTION("undoing everything ends it, and undoes it once") {
    CHECK(bench.get(bench.host->undo_all(), 1s).empty());  // by its own undo
    CHECK(!applied);
    CHECK(bench.now(bench.host->undo("c")).result.state == UndoState::undone);
    CHECK(std::count(world.log.begin(), world.log.end(), "undo c") == 1);
  }
  SECTION("and is ended when its time is over") {
    bench.clock.run(bench.io, 2h);
  }
  CHECK(world.there.empty());
}

TEST_CASE("an apply that waits in vain is ended by its limit, with the turn in its hands", "[host]") {
  Bench bench;
  bench.now(bench.host->apply("a", step("a"), 1h));
  Step waiting = step("b");
  waiting.apply.args["pauses"] = 1000;  // 100 s
  CHECK_THROWS_WITH(bench.get(bench.host->apply("b", waiting, 1h), 1min), "set.apply: not done within 30s");
  CHECK(world.there == std::set<std::string>{"a"});
  CHECK(said(bench.now(bench.host->undo_all())) == Words{"a undone"});
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
