// login.basic against nginx's auth_basic.
#include "injector/base/error.h"
#include "tests/system/real_server.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

// Two users; /private/ is theirs, /open/ forgot to ask, both over http and https.
class RealNginx {
 public:
  RealNginx() : identity_(self_signed("localhost")), port_(free_port(SOCK_STREAM)), tls_port_(free_port(SOCK_STREAM)) {
    write_text(folder_ / "ca.pem", identity_.certificate);
    write_text(folder_ / "key.pem", identity_.key);
    write_text(folder_ / "htpasswd", "user1:{PLAIN}pw1\nuser2:{PLAIN}pw2\n");
    for (const char* page : {"private", "open"}) {
      std::filesystem::create_directories(folder_ / page);
      write_text(folder_ / page / "index.html", "Welcome\n");
    }
    const std::string dir = folder_.path();
    std::string temp;
    for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) temp += std::string(kind) + "_temp_path " + dir + "/" + kind + ";\n";
    const std::string guard = " { auth_basic \"capsize\"; auth_basic_user_file " + dir + "/htpasswd; }\n";
    write_text(folder_ / "nginx.conf", "daemon off; master_process off; pid " + dir + "/pid; error_log " + dir + "/error.log;\nevents {}\nhttp {\naccess_log off;\n" + temp +
                                           "server { root " + dir + "; listen 127.0.0.1:" + std::to_string(port_) + "; listen 127.0.0.1:" + std::to_string(tls_port_) +
                                           " ssl;\nssl_certificate ca.pem; ssl_certificate_key key.pem;\nlocation /private/" + guard + "location /open/ { }\n} }\n");
    server_ = std::make_unique<RealServer>(std::vector<std::string>{"/usr/sbin/nginx", "-p", dir, "-c", dir + "/nginx.conf", "-e", dir + "/error.log"}, folder_ / "out.log");
    INFO(server_->log() << read_text(folder_ / "error.log"));
    REQUIRE(eventually([this] { return listens(port_) && listens(tls_port_); }));
  }

  std::string url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + path; }
  std::string tls_url(const std::string& path) const { return "https://localhost:" + std::to_string(tls_port_) + path; }
  std::string ca_file() const { return folder_ / "ca.pem"; }
  RealServer& server() { return *server_; }

 private:
  TestFolder folder_;
  SelfSigned identity_;
  int port_;
  int tls_port_;
  std::unique_ptr<RealServer> server_;
};

Json params(const std::string& url, Json more = Json::object()) {
  Json out = {{"url", url}, {"rate", "80/s"}, {"users", 2}, {"timeout", "5s"}};
  out.update(more);
  return out;
}

const Json kControls = {{"wrong_password_share", "20%"}, {"unknown_user_share", "20%"}};

}  // namespace

TEST_CASE("nginx lets its users in with basic authentication, and refuses wrong passwords and unknown users", "[basic][beside]") {
  RealNginx nginx;
  const Watched seen = watch("login.basic", params(nginx.url("/private/"), kControls), 3);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("rejected_rightly") >= 20);
  CHECK(seen.value("wrongly_accepted") == 0);
  const Watched open = watch("login.basic", params(nginx.url("/open/"), kControls), 2);
  CHECK(open.value("wrongly_accepted") >= 10);
  CHECK(open.value("rejected_rightly") == 0);
  const Watched nobody = watch("login.basic", params(nginx.url("/private/"), {{"user", "user1"}, {"password", "no longer mine"}}), 2);
  CHECK(nobody.value("success_ratio") == 0);
  CHECK(nobody.value("denied") >= 30);
}

TEST_CASE("an nginx that hangs is timed out, and one that is down is refused", "[basic][beside]") {
  RealNginx nginx;
  nginx.server().stop();
  const Watched hanging = watch("login.basic", params(nginx.url("/private/"), {{"timeout", "300ms"}}), 2);
  CHECK(hanging.value("success_ratio") == 0);
  CHECK(hanging.value("timed_out") >= 30);
  CHECK(hanging.value("latency.p50") == Approx(0.3).epsilon(0.01));
  CHECK(hanging.value("refused") == 0);
  nginx.server().end();
  const Watched down = watch("login.basic", params(nginx.url("/private/")), 2);
  CHECK(down.value("success_ratio") == 0);
  CHECK(down.value("refused") >= 30);
}

TEST_CASE("an nginx that cannot prove who it is gets no password", "[basic][beside]") {
  RealNginx nginx;
  CHECK_THROWS_WITH(watch("login.basic", params(nginx.tls_url("/private/")), 1), Catch::Contains("certificate verify failed") && Catch::Contains("ca_file"));
  const Watched trusted = watch("login.basic", params(nginx.tls_url("/private/"), {{"ca_file", nginx.ca_file()}}), 2);
  CHECK(trusted.value("success_ratio") == 1);
}
