#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;

TEST_CASE("tcp.connect: a listener accepts, and an address nobody listens at refuses", "[suspect][beside]") {
  std::string address;
  {
    SmallServer server([](const ServerRequest&) { return ServerReply{}; });
    address = "127.0.0.1:" + std::to_string(server.port());
    const auto seen = watch("tcp.connect", {{"address", address}, {"rate", "40/s"}}, 2);
    CHECK(seen.value("success_ratio") == 1);
    CHECK(seen.value("latency.p50") < 1);
    CHECK(server.stats().accepted >= 20);
    CHECK(server.stats().requests == 0);
  }
  const auto seen = watch("tcp.connect", {{"address", address}, {"rate", "40/s"}}, 1);
  CHECK(seen.value("success_ratio") == 0);
  CHECK(seen.value("refused") >= 10);
}
