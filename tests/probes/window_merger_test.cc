#include "probes/load/window_merger.h"

#include <algorithm>

#include "tests/probes/simulated_load.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

// The load of one schedule, sent by so many; each part in a virtual time of its own.
std::vector<Json> sent_by(std::uint64_t workers) {
  std::vector<Json> out;
  WindowMerger merger(workers, [&out](const LoadWindow& window) { out.push_back(to_json(window)); });
  std::vector<std::vector<LoadWindow>> parts(workers);
  for (std::uint64_t worker = 0; worker < workers; ++worker) {
    SimClock clock;
    asio::io_context io;
    FakeTransport transport(clock, [](const LoginAttempt& attempt, TimePoint) { return Reply{attempt.wrong_password ? Answer::rejected_rightly : Answer::ok, attempt.user.size() * 1ms}; });
    LoadPlan plan{Schedule(Rate{333}, 50, Share{0.1}, Rng(7)), Credentials{}, 5s, 1000};
    plan.workers = workers;
    plan.worker = worker;
    Generator generator(clock, plan, transport, clock.now(), [&parts, worker](LoadWindow window) { parts[worker].push_back(std::move(window)); });
    asio::co_spawn(io, stop_at(clock, generator, clock.now() + 2100ms), asio::detached);
    asio::co_spawn(io, generator.run(), asio::detached);
    clock.run(io);
  }
  for (std::size_t i = 0; i < parts[0].size(); ++i) {
    for (auto& part : parts) merger.take(part.at(i));
  }
  merger.finish();
  return out;
}

}  // namespace

TEST_CASE("a load that several threads share is the load of one, login for login", "[window_merger]") {
  const auto alone = sent_by(1);
  REQUIRE(alone.size() == 9);
  CHECK(sent_by(2) == alone);
  CHECK(sent_by(7) == alone);
}

TEST_CASE("windows are handed over in order, when all have theirs, at the end those that not everyone has", "[window_merger]") {
  std::vector<double> emitted;
  WindowMerger merger(2, [&emitted](const LoadWindow& window) { emitted.push_back(window.from); });
  const auto window = [](double from) {
    LoadWindow out;
    out.from = from;
    out.to = from + 0.25;
    return out;
  };
  merger.take(window(0));
  merger.take(window(0.25));
  CHECK(emitted.empty());
  merger.take(window(0));
  CHECK(emitted == std::vector<double>{0});
  merger.take(window(0.5));
  merger.finish();
  CHECK(emitted == std::vector<double>{0, 0.25, 0.5});
}
