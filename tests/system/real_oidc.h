// npm's oidc-provider on loopback, started by oidc_provider.mjs: who may log in at it is written there.
#pragma once
#include <cstdlib>

#include "experiments/lab/http_exchange.h"
#include "tests/system/real_server.h"
#include "tests/system/small_server.h"

namespace capsize::testing {

// Where install_npm of experiments/prepare.sh has put it.
inline std::filesystem::path oidc_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path base = cache != nullptr ? cache : std::filesystem::path(home != nullptr ? home : "/root") / ".cache";
  return base / "capsize/npm/oidc-provider@8.8.1";
}

class RealOidc {
 public:
  RealOidc() : identity_(self_signed("localhost")), port_(free_port(SOCK_STREAM)), tls_port_(free_port(SOCK_STREAM)) {
    INFO("no " << oidc_folder() << ": tests/run installs it with npm");
    REQUIRE(std::filesystem::exists(oidc_folder() / "node_modules/oidc-provider/package.json"));
    write_text(folder_ / "ca.pem", identity_.certificate);
    write_text(folder_ / "key.pem", identity_.key);
    const std::vector<std::string> words = {"/usr/bin/env", "node", CAPSIZE_SOURCE_DIR "/tests/system/oidc_provider.mjs", oidc_folder(), std::to_string(port_), std::to_string(tls_port_),
                                            ca_file(), folder_ / "key.pem"};
    server_ = std::make_unique<RealServer>(words, folder_ / "out.log");
    const bool ready = eventually([this] { return server_->log().find("\"ready\":true") != std::string::npos; }, std::chrono::seconds(60));
    INFO(server_->log());
    REQUIRE(ready);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string url(const std::string& path) const { return "http://" + address() + path; }
  std::string tls_url(const std::string& path, const std::string& host = "localhost") const { return "https://" + host + ":" + std::to_string(tls_port_) + path; }
  std::string ca_file() const { return folder_ / "ca.pem"; }
  RealServer& server() { return *server_; }

  // One that the provider gave out and that has run out.
  std::string expired_token() const {
    const std::string log = server_->log();
    const std::size_t line = log.find("{\"ready\"");
    const std::string token = Json::parse(log.substr(line, log.find('\n', line) - line)).at("short_token");
    const bool has_expired = eventually(
        [&] {
          const auto reply = http_exchange({address(), "GET", "/me", "", "Bearer " + token}, std::chrono::seconds(5));
          return reply && reply->status == 401;
        },
        std::chrono::seconds(30));
    REQUIRE(has_expired);
    return token;
  }

 private:
  TestFolder folder_;
  SelfSigned identity_;
  int port_;
  int tls_port_;
  std::unique_ptr<RealServer> server_;
};

}  // namespace capsize::testing
