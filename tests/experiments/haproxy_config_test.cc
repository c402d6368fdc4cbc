#include "experiments/lab/haproxy_config.h"

#include <catch2/catch.hpp>

#include "injector/base/error.h"

using namespace capsize;

namespace {

HaproxyConfig three_servers(LabProfile profile) {
  HaproxyConfig config;
  config.profile = profile;
  config.frontend = "127.0.0.1:20000";
  config.socket = "/run/lab/haproxy.sock";
  config.servers = {{"auth1", "127.0.0.1:20001"}, {"auth2", "127.0.0.1:20002"}, {"auth3", "127.0.0.1:20003"}};
  config.slots = 10;
  config.open_files = 1024;
  return config;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the balancer as it was leaves its servers without any protection") {
  CHECK(haproxy_config(three_servers(LabProfile::as_it_was)) == R"(global
  nbthread 1
  maxconn 462
  stats socket /run/lab/haproxy.sock mode 600 level admin
defaults
  mode http
  timeout connect 1s
  timeout client 30s
frontend logins
  bind 127.0.0.1:20000
  monitor-uri /lab/alive
  http-request use-service prometheus-exporter if { path /lab/metrics }
  default_backend auth
backend auth
  balance roundrobin
  timeout queue 60s
  timeout server 60s
  no option abortonclose
  server auth1 127.0.0.1:20001 weight 10
  server auth2 127.0.0.1:20002 weight 10
  server auth3 127.0.0.1:20003 weight 10
)");
}

TEST_CASE("the hardened balancer gives a server no more than its slots and checks it, with the same weights") {
  HaproxyConfig config = three_servers(LabProfile::hardened);
  config.slots = 7;
  const std::string text = haproxy_config(config);
  CHECK(contains(text, "  server auth2 127.0.0.1:20002 weight 10 maxconn 7 check\n"));
  CHECK(contains(text, "  timeout queue 500ms\n"));
  CHECK(contains(text, "  option abortonclose\n"));
  CHECK(contains(text, "  option httpchk GET /health\n"));
}

TEST_CASE("the balancer takes as many connections as its open files allow, within bounds") {
  const auto with_files = [](std::uint64_t files) {
    HaproxyConfig config = three_servers(LabProfile::as_it_was);
    config.open_files = files;
    return haproxy_config(config);
  };
  CHECK(contains(with_files(20'000), "  maxconn 8000\n"));
  CHECK(contains(with_files(4'100), "  maxconn 2000\n"));
  CHECK(contains(with_files(0), "  maxconn 1\n"));
}

TEST_CASE("a profile that the lab does not have is refused by name") {
  CHECK(lab_profile("as-it-was") == LabProfile::as_it_was);
  CHECK(lab_profile("hardened") == LabProfile::hardened);
  CHECK_THROWS_WITH(lab_profile("as_it_was"), Catch::Contains("\"as_it_was\"") && Catch::Contains("as-it-was or hardened"));
}
