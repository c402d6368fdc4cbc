// How a playbook names what a fault of the network is aimed at.
#include <catch2/catch.hpp>

#include "injector/targets/network.h"

using namespace capsize;

namespace {

template <class T>
std::string problem(const Json& json) {
  auto parsed = ParamTraits<T>::parse(json);
  const auto* mistake = std::get_if<Mistake>(&parsed);
  return mistake == nullptr ? "" : mistake->fact + "; " + mistake->remedy;
}

}  // namespace

TEST_CASE("a peer is an address, a block or a host name, and an address that is wrong is not taken for a name", "[network]") {
  for (const char* good : {"10.0.0.7", "10.0.0.0/8", "fd00::7", "fd00::/8", "db.staging", "db_1", "localhost", "10-0-0-7.nodes"}) CHECK(problem<NetworkPeer>(good) == "");
  for (const char* bad : {"10.0.0", "10.0.0.256", "10.0.0.1/8", "fd00::/200", "::ffff:10.0.0.1", "10.0.0.1:80", "db staging", "-x", "", "http://db"}) CHECK(problem<NetworkPeer>(bad) != "");
  CHECK(problem<NetworkPeer>(7) != "");
}

TEST_CASE("ports, users and processes are numbers or texts", "[network]") {
  for (const Json& good : {Json(80), Json("80"), Json("8000-8100")}) CHECK(problem<PortRange>(good) == "");
  for (const Json& bad : {Json(0), Json(65536), Json("8100-8000"), Json("http"), Json(true), Json(-1)}) CHECK(problem<PortRange>(bad) != "");
  for (const Json& good : {Json(0), Json(33), Json("33"), Json("www-data")}) CHECK(problem<UserRef>(good) == "");
  for (const Json& bad : {Json(-1), Json(4294967295), Json("a b"), Json(""), Json(false)}) CHECK(problem<UserRef>(bad) != "");
  for (const Json& good : {Json(12), Json("12"), Json("/run/x.pid")}) CHECK(problem<ProcessRef>(good) == "");
  for (const Json& bad : {Json(0), Json("x.pid"), Json(""), Json(nullptr)}) CHECK(problem<ProcessRef>(bad) != "");
}

TEST_CASE("paths of namespaces are absolute, those of cgroups begin below the mount", "[network]") {
  const auto wrong = [](const char* key, const char* value) {
    Diagnostics diagnostics;
    network_params().parse({{key, value}}, "", {}, diagnostics);
    return !diagnostics.ok();
  };
  CHECK_FALSE(wrong("network_namespace", "/run/netns/blue"));
  CHECK(wrong("network_namespace", "blue"));
  CHECK_FALSE(wrong("cgroup", "system.slice/nginx.service"));
  CHECK(wrong("cgroup", "/system.slice"));
  CHECK(wrong("cgroup", "a/../../b"));
  CHECK(wrong("cgroup", ""));
}
