// The looks that the faults of the network plan and prove themselves by, at the real kernel.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>

#include "injector/net/impairment.h"
#include "injector/op_type.h"
#include "tests/system/process_children.h"

using namespace capsize;

namespace {

Json look(const char* name, Json args) {
  process_test::Control control;
  return control.look({name, std::move(args)});
}

bool lists(const Json& list, const char* text) { return std::find(list.begin(), list.end(), text) != list.end(); }

std::uint64_t namespace_of(int pid) {
  struct stat entry = {};
  REQUIRE(::stat(("/proc/" + std::to_string(pid) + "/ns/net").c_str(), &entry) == 0);
  return entry.st_ino;
}

// Listens on loopback and accepts nothing: the kernel completes the connections.
struct Listener {
  Listener() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
    socklen_t size = sizeof where;
    REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where), &size) == 0);
    port = ntohs(where.sin_port);
  }
  void listen() { REQUIRE(::listen(fd.get(), 64) == 0); }
  UniqueFd fd;
  int port = 0;
};

Impairment never_applied() {
  Impairment one;
  one.name = "capsize_0123456789ab";
  return one;
}

Json watch(int port) {
  return look("net.watch", {{"impairments", Json::array({identity_json(never_applied())})}, {"echo", Json::array({{{"connect", "127.0.0.1:" + std::to_string(port)}}})}, {"attempts", 3}, {"limit", "2s"}});
}

}  // namespace

TEST_CASE("names are resolved in both families, and what stands for nothing says why", "[net.looks]") {
  const std::string nobody = std::string(70, 'a') + ".staging";  // no label is as long: it is answered without asking anybody
  const Json answer = look("net.resolve", {{"names", {"localhost", nobody}}, {"user", "root"}});
  CHECK(lists(answer["addresses"]["localhost"], "127.0.0.1"));
  CHECK(answer["addresses"][nobody].empty());
  CHECK_FALSE(answer["problems"][nobody].get<std::string>().empty());
  CHECK(answer["user"] == 0);
  CHECK(lists(answer["local"], "127.0.0.0/8"));
  CHECK(answer["own_namespace"] == true);
  CHECK(answer["place"]["inode"] == namespace_of(::getpid()));
}

TEST_CASE("what is not on this machine is said before anything is planned", "[net.looks]") {
  CHECK_THROWS_WITH(look("net.resolve", {{"user", "nobody-of-this-name"}}), Catch::Contains("there is no user nobody-of-this-name"));
  CHECK_THROWS_WITH(look("net.resolve", {{"network_namespace", "/run/netns/not-there"}}), Catch::Contains("/run/netns/not-there"));
  CHECK_THROWS_WITH(look("net.resolve", {{"network_namespace", "/proc/self/ns/net"}, {"namespace_of", "1"}}), Catch::Contains("twice"));
  CHECK_THROWS_AS(look("net.resolve", {{"cgroup", "no/such/group"}}), Error);
}

TEST_CASE("the network namespace of a process is another place, with addresses of its own", "[net.looks]") {
  process_test::SharedMemory shared;
  process_test::Child child([&] {
    if (::unshare(CLONE_NEWNET) != 0) return 1;
    shared->word = 1;
    ::pause();
    return 0;
  });
  REQUIRE(process_test::Control().until([&] { return shared->word == 1; }));
  const Json answer = look("net.resolve", {{"namespace_of", std::to_string(child.pid())}});
  CHECK(answer["place"]["path"] == "/proc/" + std::to_string(child.pid()) + "/ns/net");
  CHECK(answer["place"]["inode"] == namespace_of(child.pid()));
  CHECK(answer["own_namespace"] == false);
  CHECK(answer["local"] == Json::array({"127.0.0.0/8"}));
}

TEST_CASE("our own connections are timed, and told apart from those refused", "[net.looks]") {
  Listener listener;
  const Json refused = watch(listener.port)["echo"][0];
  CHECK(refused["connected"] == 0);
  CHECK(refused["refused"] == 3);
  listener.listen();
  const Json good = watch(listener.port)["echo"][0];
  CHECK(good["attempts"] == 3);
  CHECK(good["connected"] == 3);
  CHECK(good["p50_ms"].get<double>() > 0);
  CHECK(good["p50_ms"].get<double>() < 2000);
}

TEST_CASE("an impairment that is not in force is not counted", "[net.looks]") {
  Listener listener;
  const Json one = watch(listener.port)["impairments"][0];
  CHECK(one["counts"] == nullptr);
  CHECK(one["there"] == false);
  CHECK(one["problem"] == "it is not in force");
}

TEST_CASE("the SSH session that the environment names is in the control path", "[net.looks]") {
  ::setenv("SSH_CONNECTION", "192.0.2.9 50122 192.0.2.1 22", 1);
  const Json answer = look("net.control_path", Json::object());
  ::unsetenv("SSH_CONNECTION");
  bool found = false;
  for (const Json& one : answer["connections"]) found = found || (one["peer"]["address"] == "192.0.2.9" && one["peer"]["port"] == 50122 && one["namespace"] == namespace_of(::getpid()));
  CHECK(found);
}
