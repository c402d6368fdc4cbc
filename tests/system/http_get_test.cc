#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;

TEST_CASE("http.get: any 2xx is a success, or only the status asked for", "[suspect][beside]") {
  SmallServer server([](const ServerRequest& request) { return ServerReply{.status = request.target == "/gone" ? 404 : 204, .raw = request.target == "/junk" ? "junk\r\n\r\n" : ""}; });
  const auto measured = [&server](const char* target, const Json& more, const char* measure) {
    Json params = {{"url", server.url(target)}, {"rate", "40/s"}};
    params.update(more);
    return watch("http.get", params, 1).value(measure);
  };
  CHECK(measured("/health", Json::object(), "success_ratio") == 1);
  CHECK(measured("/health", {{"status", 200}}, "denied") >= 10);
  CHECK(measured("/gone", Json::object(), "denied") >= 10);
  CHECK(measured("/gone", {{"status", 404}}, "success_ratio") == 1);
  CHECK(measured("/junk", Json::object(), "broken") >= 10);
}
