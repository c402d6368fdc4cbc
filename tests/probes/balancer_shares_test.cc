#include <deque>

#include "injector/base/error.h"
#include "probes/probe.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

Json server(const char* name, int sessions, int queued = 0, int current = 0, int errors = 0) {
  return {{"name", name}, {"total_sessions", sessions}, {"queued", queued}, {"current_sessions", current}, {"connect_errors", errors},
          {"response_errors", 0}, {"weight", 10},       {"status", "UP"}};
}

Json answer(std::vector<Json> servers, int pid = 7, int queued = 0) {
  return {{"process", {{"pid", pid}, {"start", 1}}}, {"queued", queued}, {"servers", servers}};
}

// A HAProxy that gives these answers, one a look; null: unreachable. The last one stays.
class FakeHost final : public HostView {
 public:
  explicit FakeHost(std::deque<Json> of) : answers(std::move(of)) {}
  Task<Json> inspect(Op query) override {
    asked.push_back(query);
    Json out = answers.front();
    if (answers.size() > 1) answers.pop_front();
    if (out.is_null()) throw Error(ErrorKind::unavailable, "no HAProxy at /run/a.sock");
    co_return out;
  }
  std::deque<Json> answers;
  std::vector<Op> asked;
};

Task<> stop_later(SimClock& clock, Probe& probe, Duration after) {
  co_await clock.sleep(after);
  probe.stop();
}

std::vector<Json> watch(FakeHost& host, Duration how_long, Json params = Json::object()) {
  SimClock clock;
  asio::io_context io;
  std::vector<Json> windows;
  ProbeContext context;
  context.name = "shares";
  context.params = std::move(params);
  context.target = {{"socket", "/run/a.sock"}, {"backend", "auth"}};
  context.clock = &clock;
  context.start = clock.now();
  context.host = &host;
  context.emit = [&windows](Window window) { windows.push_back(std::move(window)); };
  const auto probe = find_probe("balancer.shares")->make(std::move(context));
  bool ended = false;
  asio::co_spawn(io, stop_later(clock, *probe, how_long), asio::detached);
  asio::co_spawn(io, probe->run(), [&ended](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
    ended = true;
  });
  clock.run(io);
  CHECK(ended);
  return windows;
}

std::optional<Measured> measured(const char* name, const std::vector<Json>& windows) {
  std::vector<const Window*> all;
  for (const Json& window : windows) all.push_back(&window);
  return find_probe("balancer.shares")->measure(name, all);
}

}  // namespace

TEST_CASE("a window has what each server's counters grew by between two looks", "[shares]") {
  FakeHost host({answer({server("a", 100), server("b", 100)}), answer({server("a", 130, 4, 9, 2), server("b", 110)}, 7, 3)});
  const auto windows = watch(host, 500ms);
  REQUIRE(windows.size() == 1);
  CHECK(windows[0].at("from") == 0.0);
  CHECK(windows[0].at("to") == 0.5);
  CHECK(windows[0].at("servers").at("a") == Json({{"sessions", 30}, {"errors", 2}, {"queue", 4}, {"current", 9}, {"weight", 10}, {"status", "UP"}}));
  CHECK(windows[0].at("servers").at("b").at("sessions") == 10);
  CHECK(host.asked.front() == Op{"haproxy.servers", {{"socket", "/run/a.sock"}, {"backend", "auth"}}});
  CHECK(measured("share.a", windows)->value == 0.75);
  CHECK(measured("share.a", windows)->samples == 40);
  CHECK(measured("share.a", windows)->low < 0.75);
  CHECK(measured("max_share", windows)->value == 0.75);
  CHECK(measured("queue", windows)->value == 7);
  CHECK(measured("current.a", windows)->value == 9);
  CHECK(measured("errors", windows)->value == 2);
  CHECK(measured("share.c", windows) == std::nullopt);
  CHECK(measured("current.c", windows) == std::nullopt);
}

TEST_CASE("Jain's index is 1 for equal shares and 1/n when one server gets everything", "[shares]") {
  FakeHost equal({answer({server("a", 0), server("b", 0), server("c", 0), server("d", 0)}), answer({server("a", 5), server("b", 5), server("c", 5), server("d", 5)})});
  CHECK(measured("jain", watch(equal, 500ms))->value == 1.0);
  FakeHost one({answer({server("a", 0), server("b", 0), server("c", 0), server("d", 0)}), answer({server("a", 5), server("b", 0), server("c", 0), server("d", 0)})});
  CHECK(measured("jain", watch(one, 500ms))->value == 0.25);
}

TEST_CASE("shares over a span are of the sum, not the mean of the windows' shares", "[shares]") {
  FakeHost host({answer({server("a", 0), server("b", 0)}), answer({server("a", 1), server("b", 0)}), answer({server("a", 1), server("b", 99)})});
  const auto windows = watch(host, 1s);
  REQUIRE(windows.size() == 2);
  CHECK(measured("share.a", windows)->value == Approx(0.01));
}

TEST_CASE("a reload starts the counters again: what the new process counted is taken as it is", "[shares]") {
  FakeHost host({answer({server("a", 1000)}), answer({server("a", 1005)}, 8)});
  const auto windows = watch(host, 500ms);
  CHECK(windows[0].at("servers").at("a").at("sessions") == 1005);
  CHECK(windows[0].at("restarted") == true);
  FakeHost cleared({answer({server("a", 1000)}), answer({server("a", 3)})});
  CHECK(watch(cleared, 500ms)[0].at("servers").at("a").at("sessions") == 3);
}

TEST_CASE("a HAProxy out of reach is a gap with its reason, and the probe goes on", "[shares]") {
  FakeHost host({answer({server("a", 10)}), nullptr, answer({server("a", 50)}), answer({server("a", 60)})});
  const auto windows = watch(host, 1500ms);
  REQUIRE(windows.size() == 3);
  CHECK(windows[0].at("gap") == "no HAProxy at /run/a.sock");
  CHECK(windows[1].contains("gap"));  // the 40 sessions of the gap belong to no window
  CHECK(windows[2].at("servers").at("a").at("sessions") == 10);
  CHECK(measured("share.a", {windows[0]}) == std::nullopt);
  FakeHost absent(std::deque<Json>{Json()});
  CHECK(watch(absent, 1s).size() == 2);
}

TEST_CASE("without traffic nobody has a share, but queue and sessions are known", "[shares]") {
  FakeHost host(std::deque<Json>{answer({server("a", 10, 0, 2)})});
  const auto windows = watch(host, 500ms);
  CHECK(measured("share.a", windows) == std::nullopt);
  CHECK(measured("max_share", windows) == std::nullopt);
  CHECK(measured("jain", windows) == std::nullopt);
  CHECK(measured("current.a", windows)->value == 2);
  CHECK(measured("queue", windows)->value == 0);
}

TEST_CASE("it asks as often as told, and once more at the end", "[shares]") {
  FakeHost host(std::deque<Json>{answer({server("a", 10)})});
  const auto windows = watch(host, 950ms, {{"every", "200ms"}});
  CHECK(host.asked.size() == 6);
  REQUIRE(windows.size() == 5);
  CHECK(windows[4].at("to") == 0.95);
}

TEST_CASE("the measures' pattern is found by a server's name", "[shares]") {
  const ProbeType& probe = *find_probe("balancer.shares");
  CHECK(find_measure(probe, "share.auth1")->name == "share.<server>");
  CHECK(find_measure(probe, "jain")->kind == MeasureKind::number);
  CHECK(find_measure(probe, "latency.p99") == nullptr);
}
