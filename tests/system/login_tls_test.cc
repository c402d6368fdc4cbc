// Logins over TLS with a client certificate, and with and without resumption, at a real nginx that writes down what it saw.
#include "injector/base/error.h"
#include "tests/system/real_server.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;

namespace {

// Answers whoever shows the certificate of `client` with a token.
class StrictNginx {
 public:
  StrictNginx() {
    write_text(folder_ / "ca.pem", identity_.certificate);
    write_text(folder_ / "key.pem", identity_.key);
    write_text(folder_ / "client.pem", client_.certificate);
    write_text(folder_ / "client-key.pem", client_.key);
    const std::string dir = folder_.path();
    std::string temp;
    for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) temp += std::string(kind) + "_temp_path " + dir + "/" + kind + ";\n";
    write_text(folder_ / "nginx.conf", "daemon off; master_process off; pid " + dir + "/pid; error_log " + dir + "/error.log;\nevents {}\nhttp {\n" + temp +
                                           "log_format seen '$status $ssl_client_verify $ssl_session_reused $connection_requests';\naccess_log " + dir + "/seen.log seen;\n" +
                                           "server { listen 127.0.0.1:" + std::to_string(port_) + " ssl; ssl_certificate ca.pem; ssl_certificate_key key.pem;\n" +
                                           "ssl_session_cache shared:capsize:1m; ssl_client_certificate client.pem; ssl_verify_client on;\n" +
                                           "location / { default_type application/json; return 200 '{\"token\": \"t\"}'; }\n} }\n");
    server_ = std::make_unique<RealServer>(std::vector<std::string>{"/usr/sbin/nginx", "-p", dir, "-c", dir + "/nginx.conf", "-e", dir + "/error.log"}, folder_ / "out.log");
    INFO(server_->log() << read_text(folder_ / "error.log"));
    REQUIRE(eventually([this] { return listens(port_); }));
  }

  Json params(Json more) const {
    Json out = {{"url", "https://localhost:" + std::to_string(port_) + "/"}, {"rate", "40/s"}, {"timeout", "5s"}, {"ca_file", std::string(folder_ / "ca.pem")}};
    out.update(more);
    return out;
  }
  Json with_certificate(Json more) const {
    more.update({{"client_cert", std::string(folder_ / "client.pem")}, {"client_key", std::string(folder_ / "client-key.pem")}});
    return params(std::move(more));
  }
  // Logins seen since the last call, and how many of these came on a resumed session.
  std::pair<int, int> seen() {
    std::istringstream lines(read_text(folder_ / "seen.log").substr(read_));
    std::pair<int, int> out;
    for (std::string line; std::getline(lines, line);) {
      read_ += line.size() + 1;
      if (!line.starts_with("200 SUCCESS ")) continue;
      ++out.first;
      out.second += line.starts_with("200 SUCCESS r ") ? 1 : 0;
    }
    return out;
  }

 private:
  TestFolder folder_;
  const SelfSigned identity_ = self_signed("localhost");
  const SelfSigned client_ = self_signed("a client");
  const int port_ = free_port(SOCK_STREAM);
  std::size_t read_ = 0;
  std::unique_ptr<RealServer> server_;
};

}  // namespace

TEST_CASE("a server that asks for a client's certificate lets those in who have it", "[login][beside]") {
  StrictNginx nginx;
  const Watched without = watch("login.http", nginx.params(Json::object()), 2);
  CHECK(without.value("success_ratio") == 0);
  CHECK(nginx.seen().first == 0);
  const Watched with = watch("login.http", nginx.with_certificate(Json::object()), 2);
  CHECK(with.value("success_ratio") == 1);
  CHECK(nginx.seen().first >= 15);
  CHECK_THROWS_WITH(watch("login.http", nginx.params({{"client_cert", "/nonexistent.pem"}}), 1), Catch::Contains("the client certificate /nonexistent.pem cannot be used"));
  CHECK_THROWS_WITH(watch("login.http", nginx.params({{"client_key", "/nonexistent.pem"}}), 1), Catch::Contains("without the certificate"));
}

TEST_CASE("TLS sessions are resumed where the playbook says so, and only there", "[login][beside]") {
  StrictNginx nginx;
  const Watched full = watch("login.http", nginx.with_certificate({{"connections", "new"}}), 2);
  CHECK(full.value("success_ratio") == 1);
  const auto never = nginx.seen();
  CHECK(never.first >= 15);
  CHECK(never.second == 0);
  const Watched resumed = watch("login.http", nginx.with_certificate({{"connections", "new"}, {"tls_resumption", "always"}}), 2);
  CHECK(resumed.value("success_ratio") == 1);
  const auto always = nginx.seen();
  CHECK(always.first >= 15);
  CHECK(always.second >= always.first / 2);  // the first have none yet
}
