// Two runs never meet on one target.
#include "injector/host/target_claims.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/targets/process.h"
#include "tests/injector/scratch_dir.h"

using namespace capsize;

namespace {

TargetClaim whole(const std::string& key) { return {"t", {{key, true}}}; }
TargetClaim part_of(const std::string& key) { return {"t", {{key, false}}}; }

// What a container's runtime and the kernel say of it, in place of both.
Json containers;
Task<Json> look_at_containers(Json, OpContext&) { co_return containers; }
const OpType* find_with_containers(std::string_view name) {
  static const OpType fake = {"container.identify", Lasts::look, "", look_at_containers, nullptr, nullptr};
  return name == fake.name ? &fake : find_op(name);
}

TargetClaim claim(const std::string& type, Json params) {
  asio::io_context io;
  SimClock clock;
  std::shared_ptr<Settled<TargetClaim>> settled;
  OpContext context{clock, {}, {}};
  asio::co_spawn(io, settle(claim_of("target", type, std::move(params), find_with_containers, context)), [&](std::exception_ptr, std::shared_ptr<Settled<TargetClaim>> made) { settled = std::move(made); });
  clock.run(io);
  REQUIRE(settled);
  if (settled->error) std::rethrow_exception(settled->error);
  return std::move(*settled->value);
}

ClaimHolder holder(const std::string& run) { return {run, "this boot", own_identity(), "2026-11-22T22:00:00.000Z"}; }

// What the second of two says who want the same, or nothing.
std::string refusal(const StateDir& state, const ClaimHolder& first, const ClaimHolder& second) {
  const HeldTargets held = HeldTargets::take(state, first, {whole("a")});
  try {
    const HeldTargets also = HeldTargets::take(state, second, {whole("a")});
    return "";
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::unavailable);
    CHECK(error.exit_code() == 69);
    return error.what();
  }
}

bool is_free(const StateDir& state, const TargetClaim& wanted) {
  try {
    const HeldTargets taken = HeldTargets::take(state, holder("asker"), {wanted});
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

TEST_CASE("a whole meets itself and what is within it, two parts of one whole do not meet", "[claims]") {
  CHECK(meet(whole("a"), whole("a")));
  CHECK(meet(whole("a"), part_of("a")));
  CHECK(meet(part_of("a"), whole("a")));
  CHECK(!meet(part_of("a"), part_of("a")));
  CHECK(!meet(whole("a"), whole("b")));
  CHECK(!meet(TargetClaim(), whole("a")));
  CHECK(meet({"t", {{"x", true}, {"a", true}}}, {"t", {{"a", true}, {"y", true}}}));
}

TEST_CASE("a process is one target whether a pid or a pid file names it", "[claims]") {
  const ScratchDir folder;
  write_file(folder / "pid", std::to_string(getpid()) + "\n");
  const TargetClaim by_pid = claim("process", {{"pid", getpid()}});
  const TargetClaim by_file = claim("process", {{"pid_file", (folder / "pid").string()}});
  CHECK(meet(by_pid, by_file));
  CHECK(!meet(by_pid, claim("process", {{"pid", 1}})));
}

TEST_CASE("a backend is one target by whatever link its socket is reached, and another backend is another", "[claims]") {
  const ScratchDir folder;
  write_file(folder / "admin.sock", "");
  std::filesystem::create_symlink(folder / "admin.sock", folder / "link.sock");
  const auto of = [&](const char* socket, const char* backend) { return claim("haproxy", {{"socket", (folder / socket).string()}, {"backend", backend}}); };
  CHECK(meet(of("admin.sock", "auth"), of("link.sock", "auth")));
  CHECK(!meet(of("admin.sock", "auth"), of("admin.sock", "shop")));
  const auto remote = [](const char* socket) { return claim("haproxy", {{"socket", socket}, {"backend", "auth"}}); };
  CHECK(meet(remote("10.0.0.1:9999"), remote("10.0.0.1:9999")));
  CHECK(!meet(remote("10.0.0.1:9999"), remote("10.0.0.2:9999")));
}

TEST_CASE("a whole machine meets all that is on it, and a network all its services", "[claims]") {
  const TargetClaim machine = claim("host", Json::object());
  const TargetClaim network = claim("network", {{"peer_ports", {5432}}});
  const TargetClaim one = claim("service", {{"address", "127.0.0.1:8081"}});
  const TargetClaim other = claim("service", {{"address", "127.0.0.1:8082"}});
  CHECK(meet(machine, machine));
  CHECK(meet(machine, one));
  CHECK(meet(machine, claim("process", {{"pid", getpid()}})));
  CHECK(meet(network, one));
  CHECK(meet(one, one));
  CHECK(!meet(one, other));
  CHECK(!meet(network, claim("process", {{"pid", getpid()}})));
  const TargetClaim by_process = claim("network", {{"namespace_of", std::to_string(getpid())}, {"peer_ports", {80}}});
  CHECK(meet(network, by_process));  // the same namespace by another name
  CHECK(meet(one, claim("service", {{"address", "127.0.0.1:8081"}, {"protocol", "tcp"}, {"namespace_of", std::to_string(getpid())}})));
  CHECK(!meet(one, claim("service", {{"address", "127.0.0.1:8081"}, {"protocol", "udp"}})));
}

TEST_CASE("a container is all its processes and its own network, but not the machine's", "[claims]") {
  struct stat own = {};
  REQUIRE(::stat("/proc/self/ns/net", &own) == 0);
  const auto container = [&](const std::string& id, std::uint64_t network) {
    const Json found = Json::array({{{"identity", to_json(ProcFs().identify(getpid()))}}});
    containers = {{"containers", Json::array({{{"id", id}, {"network_namespace", network}, {"found", found}}})}};
    return claim("container", {{"name", id}});
  };
  const TargetClaim apart = container("c1", own.st_ino + 1);
  const TargetClaim shared = container("c2", own.st_ino);
  CHECK(meet(apart, claim("process", {{"pid", getpid()}})));
  CHECK(!meet(apart, claim("process", {{"pid", 1}})));
  CHECK(!meet(apart, claim("service", {{"address", "127.0.0.1:8081"}})));
  CHECK(!meet(shared, claim("service", {{"address", "127.0.0.1:8081"}})));
  CHECK(meet(shared, claim("network", {{"peer_ports", {80}}})));
  CHECK(std::count(apart.keys.begin(), apart.keys.end(), TargetKey{"container c1", true}) == 1);
}

TEST_CASE("a process that is not there is known by its parameters", "[claims]") {
  const TargetClaim missing = claim("process", {{"pid_file", "/nowhere/of/capsize.pid"}});
  CHECK(meet(missing, claim("process", {{"pid_file", "/nowhere/of/capsize.pid"}})));
  CHECK(!meet(missing, claim("process", {{"pid_file", "/nowhere/else.pid"}})));
}

TEST_CASE("a target that another run holds is refused with the run, its process, the time and the remedy", "[claims]") {
  const ScratchDir folder;
  const StateDir state = StateDir::open(folder.path());
  const std::string said = refusal(state, holder("night-1@edge"), holder("night-2"));
  CHECK(said.find("target \"t\" is held by the run night-1, since 2026-11-22T22:00:00.000Z, process " + std::to_string(getpid())) != std::string::npos);
  CHECK(said.find("capsize stop night-1") != std::string::npos);
}

TEST_CASE("what only meets a held target is told with that target's name", "[claims]") {
  const ScratchDir folder;
  const StateDir state = StateDir::open(folder.path());
  const HeldTargets held = HeldTargets::take(state, holder("r1"), {{"server", {{"this machine", false}, {"process 7", true}}}});
  CHECK_THROWS_WITH(HeldTargets::take(state, holder("r2"), {{"machine", {{"this machine", true}}}}), Catch::Contains("target \"machine\" meets target \"server\", which is held by the run r1"));
}

TEST_CASE("the agents of one run do not keep each other out", "[claims]") {
  const ScratchDir folder;
  CHECK(refusal(StateDir::open(folder.path()), holder("night@edge"), holder("night")).empty());
}

TEST_CASE("what a run held is free when it lets go, and what it did not get does not bind it", "[claims]") {
  const ScratchDir folder;
  const StateDir state = StateDir::open(folder.path());
  {
    const HeldTargets held = HeldTargets::take(state, holder("r1"), {whole("a"), whole("b")});
    CHECK(!is_free(state, whole("b")));
    CHECK(is_free(state, whole("c")));
    CHECK_THROWS_AS(HeldTargets::take(state, holder("r2"), {whole("c"), whole("a")}), Error);
    CHECK(is_free(state, whole("c")));
  }
  CHECK(is_free(state, whole("a")));
}

TEST_CASE("a dead holder holds nothing, one that cannot be seen from here does, and its file is named", "[claims]") {
  const ScratchDir folder;
  const StateDir state = StateDir::open(folder.path());
  ClaimHolder dead = holder("dead");
  ++dead.process.start_ticks;  // its number is ours now
  CHECK(refusal(state, dead, holder("r2")).empty());
  ClaimHolder before = holder("before");
  before.boot_id = "an earlier boot";
  CHECK(refusal(state, before, holder("r2")).empty());
  ClaimHolder elsewhere = holder("elsewhere");
  ++elsewhere.process.pid_namespace;
  CHECK(refusal(state, elsewhere, holder("r2")).find((folder / "targets/elsewhere.json").string()) != std::string::npos);
}

TEST_CASE("what is no claim keeps nobody out", "[claims]") {
  const ScratchDir folder;
  const StateDir state = StateDir::open(folder.path());
  CHECK(is_free(state, whole("a")));  // makes the folder
  for (const char* text : {"", "{", "[]", "{\"boot_id\": \"this boot\"}", "{\"boot_id\": 7, \"process\": []}"}) {
    INFO(text);
    write_file(folder / "targets/bad.json", text);
    CHECK(is_free(state, whole("a")));
  }
}
