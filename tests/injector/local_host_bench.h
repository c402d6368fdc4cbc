// A host in virtual time whose ops change a set of names: what local_host_test.cc and reverter_test.cc play with.
#pragma once
#include <boost/asio/detached.hpp>
#include <set>

#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/host/local_host.h"
#include "tests/injector/scratch_dir.h"

namespace capsize::host_test {

using namespace std::chrono_literals;

// The world that the ops of this test change: a set of names. And what the test wants to go wrong.
struct World {
  std::set<std::string> there;
  std::vector<std::string> log;
  std::map<std::string, int> undo_fails;  // so many times
  std::set<std::string> undo_refused;
  std::set<std::string> apply_throws;     // after it has changed the world
  std::set<std::string> hangs;
  Clock* clock = nullptr;
};
inline World world;

struct Grip final : Held {
  explicit Grip(std::string name_) : name(std::move(name_)) {}
  void release() noexcept override { world.log.push_back("release " + name); }
  std::string name;
};

inline Task<Applied> set_apply(Json args, OpContext& context) {
  const std::string name = args.at("name").get<std::string>();
  world.log.push_back("apply " + name);
  world.there.insert(name);
  if (world.hangs.contains(name)) {
    co_await context.clock.sleep(1h);
  }
  for (int pauses = args.value("pauses", 0); pauses > 0; --pauses) {
    co_await context.pause(100ms);
  }
  if (world.apply_throws.contains(name)) throw Error(ErrorKind::unavailable, name + " broke");
  Applied applied;
  applied.detail["name"] = name;
  if (args.contains("hold")) applied.held = std::make_unique<Grip>(name);
  co_return applied;
}

inline Task<UndoResult> set_undo(Json args, OpContext& context) {
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

inline Task<Json> set_look(Json, OpContext&) { co_return Json(world.there); }

inline const OpType* find_test_op(std::string_view name) {
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

inline Step step(const std::string& name, const std::string& apply = "set.apply") {
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

inline std::vector<std::string> said(const std::vector<UndoReport>& reports) {
  std::vector<std::string> out;
  for (const UndoReport& report : reports) out.push_back(report.step + " " + std::string(to_string(report.result.state)));
  return out;
}

using Words = std::vector<std::string>;

}  // namespace capsize::host_test
