// Several hosts of one run: what one of them does must not keep the others waiting.
#include <boost/asio/io_context.hpp>

#include <catch2/catch.hpp>

#include "experiments/runner.h"
#include "injector/base/error.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

// A host whose undo takes its time, or throws.
class SlowHost final : public Host {
 public:
  SlowHost(SimClock& clock, std::string name, Duration takes, std::vector<std::string>& log) : clock_(clock), name_(std::move(name)), takes_(takes), log_(log) {}

  Task<> claim(std::vector<TargetHere>) override { co_return; }
  Task<Json> inspect(Op) override { co_return Json(); }
  Task<Json> apply(StepId, Step, Duration) override { co_return Json(); }
  Task<UndoReport> undo(StepId id) override {
    UndoReport report;
    report.step = std::move(id);
    co_return report;
  }
  Task<std::vector<UndoReport>> undo_all() override {
    note("begins");
    co_await clock_.sleep(takes_);
    note("ends");
    std::vector<UndoReport> reports(1);
    reports[0].step = name_;
    if (takes_ == 7s) throw Error(ErrorKind::bug, "of " + name_);
    co_return reports;
  }
  Task<> close() override { co_return; }

 private:
  void note(const std::string& what) { log_.push_back(std::to_string(static_cast<int>(seconds(clock_.now().time_since_epoch() - begun_))) + " " + name_ + " " + what); }
  SimClock& clock_;
  std::string name_;
  Duration takes_;
  std::vector<std::string>& log_;
  Duration begun_ = clock_.now().time_since_epoch();
};

Playbook three_hosts() {
  const auto read = read_playbook(R"({
    "playbook": 1, "title": "three hosts",
    "hosts": {"a": {"via": ["ssh", "a"]}, "b": {"via": ["ssh", "b"]}, "c": {"via": ["ssh", "c"]}},
    "targets": {"ta": {"type": "process", "pid": 2, "host": "a"}, "tb": {"type": "process", "pid": 2, "host": "b"}, "tc": {"type": "process", "pid": 2, "host": "c"}},
    "probes": {"login": {"probe": "login.http", "url": "http://127.0.0.1:1/login", "rate": "1/s"}},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "1%"}]
  })",
                                 PlaybookOptions());
  INFO(read.diagnostics.text("playbook"));
  REQUIRE(read.playbook);
  return *read.playbook;
}

struct Undone {
  std::vector<std::string> log;
  std::vector<std::string> steps;
  std::exception_ptr problem;
};

Task<> undo(const Playbook* playbook, World* world, Undone* out) {
  const auto prepared = co_await prepare(*playbook, *world);
  const auto reports = co_await prepared->undo_all();
  for (const UndoReport& report : reports) out->steps.push_back(report.step);
}

Undone undo_with(std::map<std::string, Duration> takes) {
  Undone out;
  asio::io_context io;
  SimClock clock;
  const Playbook playbook = three_hosts();
  World world;
  world.clock = &clock;
  world.connect = [&](std::string name, std::vector<std::string>) -> Task<std::unique_ptr<Host>> {
    std::unique_ptr<Host> host = std::make_unique<SlowHost>(clock, name, takes.at(name), out.log);
    co_return host;
  };
  asio::co_spawn(io, undo(&playbook, &world, &out), [&](std::exception_ptr problem) { out.problem = problem; });
  clock.run(io, 10min);
  return out;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("all hosts are undone at once, and told in their order: one that cannot be reached keeps nobody waiting", "[sim]") {
  const Undone undone = undo_with({{"a", 30s}, {"b", 1s}, {"c", 2s}});
  CHECK(!undone.problem);
  CHECK(undone.log == Words{"0 a begins", "0 b begins", "0 c begins", "1 b ends", "2 c ends", "30 a ends"});
  CHECK(undone.steps == Words{"a", "b", "c"});
}

TEST_CASE("a host whose undo throws stops no other's, and is told of when all are done", "[sim]") {
  const Undone undone = undo_with({{"a", 7s}, {"b", 20s}, {"c", 1s}});
  CHECK(undone.log == Words{"0 a begins", "0 b begins", "0 c begins", "1 c ends", "7 a ends", "20 b ends"});
  REQUIRE(undone.problem);
  CHECK_THROWS_WITH(std::rethrow_exception(undone.problem), "of a");
}
