// login.radius against freeradius.
#include "injector/base/error.h"
#include "tests/system/real_server.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

std::string config_for(const std::string& dir, int port) {
  return "prefix = /usr\nname = radiusd\nraddbdir = " + dir + "\nlogdir = " + dir + "\nrun_dir = " + dir + "\nlibdir = /usr/lib/freeradius\npidfile = " + dir + "/pid\n" +
         "max_request_time = 5\ncleanup_delay = 1\nmax_requests = 4096\nlog {\n destination = files\n file = " + dir + "/radius.log\n auth = no\n}\n" +
         "security {\n max_attributes = 200\n reject_delay = 0\n status_server = no\n}\n" +
         "thread pool {\n start_servers = 2\n max_servers = 4\n min_spare_servers = 1\n max_spare_servers = 4\n max_requests_per_server = 0\n}\n" +
         "modules {\n pap {\n  normalise = yes\n }\n files {\n  filename = " + dir + "/users\n }\n}\ninstantiate {\n}\n" +
         "client localnet {\n ipaddr = 127.0.0.0/8\n secret = testing123\n require_message_authenticator = yes\n}\n" +
         "server default {\n listen {\n  type = auth\n  ipaddr = 127.0.0.1\n  port = " + std::to_string(port) + "\n }\n authorize {\n  files\n  pap\n }\n" +
         " authenticate {\n  Auth-Type PAP {\n   pap\n  }\n }\n accounting {\n }\n session {\n }\n post-auth {\n }\n}\n";
}

// Two users; wants every request signed.
class RealRadius {
 public:
  RealRadius() : port_(free_port(SOCK_DGRAM)) {
    const std::string dir = folder_.path();
    write_text(folder_ / "radiusd.conf", config_for(dir, port_));
    write_text(folder_ / "users", "user1 Cleartext-Password := \"pw1\"\nuser2 Cleartext-Password := \"pw2\"\n");
    for (const char* file : {"radiusd.conf", "users"}) std::filesystem::permissions(folder_ / file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    server_ = std::make_unique<RealServer>(std::vector<std::string>{"/usr/sbin/freeradius", "-f", "-d", dir, "-n", "radiusd"}, folder_ / "out.log");
    const bool ready = eventually([this] { return read_text(folder_ / "radius.log").find("Ready to process requests") != std::string::npos; }, 30s);
    INFO(server_->log() << read_text(folder_ / "radius.log"));
    REQUIRE(ready);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  RealServer& server() { return *server_; }

 private:
  TestFolder folder_;
  int port_;
  std::unique_ptr<RealServer> server_;
};

Json params(const std::string& address, Json more = Json::object()) {
  Json out = {{"address", address}, {"secret", "testing123"}, {"rate", "80/s"}, {"users", 2}, {"timeout", "5s"}};
  out.update(more);
  return out;
}

}  // namespace

TEST_CASE("freeradius accepts its users, and rejects wrong passwords and unknown users", "[radius][beside]") {
  RealRadius radius;
  const Watched seen = watch("login.radius", params(radius.address(), {{"wrong_password_share", "20%"}, {"unknown_user_share", "20%"}}), 3);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("rejected_rightly") >= 20);
  CHECK(seen.value("wrongly_accepted") == 0);
  const Watched denied = watch("login.radius", params(radius.address(), {{"user", "user1"}, {"password", "no longer mine"}}), 2);
  CHECK(denied.value("success_ratio") == 0);
  CHECK(denied.value("denied") >= 30);
  const Watched no_secret = watch("login.radius", params(radius.address(), {{"secret", "guessed"}, {"timeout", "300ms"}}), 2);
  CHECK(no_secret.value("timed_out") >= 30);  // RADIUS is silent to strangers
  CHECK(no_secret.value("latency.p50") == Approx(0.3).epsilon(0.01));
  CHECK(no_secret.value("success_ratio") == 0);
}

TEST_CASE("a freeradius that hangs is timed out, and one that is down is refused", "[radius][beside]") {
  RealRadius radius;
  radius.server().stop();
  const Watched hanging = watch("login.radius", params(radius.address(), {{"timeout", "300ms"}}), 2);
  CHECK(hanging.value("success_ratio") == 0);
  CHECK(hanging.value("timed_out") >= 30);
  CHECK(hanging.value("latency.p50") == Approx(0.3).epsilon(0.01));
  radius.server().end();
  const Watched down = watch("login.radius", params(radius.address()), 2);
  CHECK(down.value("success_ratio") == 0);
  CHECK(down.value("refused") >= 30);
  CHECK_THROWS_WITH(watch("login.radius", params("no-such-host.invalid:1812"), 0), Catch::Contains("does not resolve"));
}
