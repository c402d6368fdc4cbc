#include "probes/alert/document_source.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>

#include "injector/base/error.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

const Url kServer{false, {"monitoring.staging", 9090}, "/"};

// Asks `looks` times, a second apart.
Task<> ask(Clock& clock, DocumentSource& source, int looks, std::vector<std::string>& problems, std::vector<double>& took) {
  const TimePoint start = clock.now();
  for (int i = 0; i < looks; ++i) {
    co_await clock.sleep_until(start + i * 2s);
    const TimePoint from = clock.now();
    const auto document = co_await source.get("/");
    problems.push_back(document.problem);
    took.push_back(seconds(clock.now() - from));
  }
}

struct Asked {
  std::vector<std::string> problems;
  std::vector<double> took;
  int resolved = 0;
};

// `resolve`: what the name service does the n-th time. The server cannot be reached.
Asked asked(int looks, const std::function<Task<std::shared_ptr<const Origin>>(Clock& clock, int time)>& resolve) {
  SimClock clock;
  asio::io_context io;
  Asked out;
  const auto source = make_document_source(clock, {kServer, 1s, true, {}, {}}, [&](Url, TlsOptions) { return resolve(clock, ++out.resolved); });
  asio::co_spawn(io, ask(clock, *source, looks, out.problems, out.took), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  clock.run(io);
  return out;
}

Task<std::shared_ptr<const Origin>> nowhere(Clock&, int) {
  const auto origin = std::make_shared<Origin>();
  origin->url = kServer;
  origin->endpoints.push_back({asio::ip::address_v4::loopback(), 0});  // where nobody can listen
  co_return origin;
}

Task<std::shared_ptr<const Origin>> fails_once(Clock& clock, int time) {
  if (time == 1) throw Error(ErrorKind::unavailable, "it does not resolve");
  auto work = nowhere(clock, time);
  auto origin = co_await std::move(work);
  co_return origin;
}

// As Boost's resolver: whoever cancels it waits for it.
Task<std::shared_ptr<const Origin>> hangs(Clock& clock, int time) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await clock.sleep(5s);
  auto work = nowhere(clock, time);
  auto origin = co_await std::move(work);
  co_return origin;
}

}  // namespace

TEST_CASE("a monitoring server's name is resolved once, and again only where that failed", "[alert]") {
  const Asked once = asked(3, nowhere);
  CHECK(once.resolved == 1);
  REQUIRE(once.problems.size() == 3);
  for (const std::string& problem : once.problems) CHECK(problem.find("no connection: ") == 0);
  const Asked again = asked(3, fails_once);
  CHECK(again.resolved == 2);
  CHECK(again.problems[0] == "it does not resolve");
  CHECK(again.problems[2].find("no connection: ") == 0);
}

TEST_CASE("a name service that hangs holds no look beyond its timeout, and its late answer serves the next", "[alert]") {
  const Asked hanging = asked(4, hangs);
  CHECK(hanging.resolved == 1);
  REQUIRE(hanging.problems.size() == 4);
  for (const int look : {0, 1}) {
    CHECK(hanging.problems[static_cast<std::size_t>(look)] == "no answer within 1s");
    CHECK(hanging.took[static_cast<std::size_t>(look)] == Approx(1));
  }
  CHECK(hanging.problems[3].find("no connection: ") == 0);
}
