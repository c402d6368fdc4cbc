// What is decided about HAProxy's servers: orders of commands, comparison before restoring, proof by traffic.
#include <catch2/catch.hpp>

#include "injector/ops/haproxy_change.h"
#include "tests/sim/fake_haproxy.h"

using namespace capsize;

namespace {

BackendState look(FakeHaproxy& fake) { return parse_backend_reply(fake.answer("show info;show servers state auth;show stat auth 6 -1"), "auth"); }

void change(FakeHaproxy& fake, const std::vector<std::string>& commands) {
  for (const std::string& line : command_lines(commands, 8192)) REQUIRE(rejection(fake.answer("set severity-output number;" + line)).empty());
}

std::vector<std::int64_t> totals(const FakeHaproxy& fake) {
  std::vector<std::int64_t> out;
  for (const auto& server : fake.servers()) out.push_back(server.total_sessions);
  return out;
}

// The longest time, in sessions, that a server had to wait for one.
std::int64_t longest_wait(FakeHaproxy& fake, int sessions) {
  std::vector<std::int64_t> waits(fake.servers().size());
  std::int64_t longest = 0;
  for (int i = 0; i < sessions; ++i) {
    const auto chosen = fake.arrive();
    REQUIRE(chosen);
    fake.finish(*chosen);
    for (std::size_t s = 0; s < waits.size(); ++s) longest = std::max(longest, waits[s] = s == *chosen ? 0 : waits[s] + 1);
  }
  return longest;
}

}  // namespace

TEST_CASE("weights are raised first and lowered last, then each server goes once through 0, and maxconn is set again", "[haproxy]") {
  FakeHaproxy fake("auth", {{.name = "a", .initial_weight = 80}, {.name = "b", .initial_max_connections = 7}, {.name = "c"}});
  const std::vector<std::string> expected = {"set server auth/b weight 20",
                                             "set server auth/a weight 10",
                                             "set server auth/a weight 0;set server auth/a weight 10",
                                             "set server auth/b weight 0;set server auth/b weight 20",
                                             "set maxconn server auth/b 7"};
  CHECK(change_commands(kServerWeight, look(fake), {{"a", 10}, {"b", 20}}) == expected);
}

TEST_CASE("only roundrobin with two servers in service needs the way through 0", "[haproxy]") {
  FakeHaproxy fake("auth", {{.name = "a"}, {.name = "b", .up = false}});
  CHECK(change_commands(kServerWeight, look(fake), {{"a", 20}}) == std::vector<std::string>{"set server auth/a weight 20"});
  FakeHaproxy other("auth", {{.name = "a"}, {.name = "b"}});
  other.algorithm = "leastconn";
  CHECK(change_commands(kServerWeight, look(other), {{"a", 20}}) == std::vector<std::string>{"set server auth/a weight 20"});
}

TEST_CASE("a server exiled by roundrobin gets its part at once after a requeue, and does not get exiled by our order", "[haproxy]") {
  const std::vector<ServerValue> skew = {{"a", 256}, {"b", 1}, {"c", 1}};
  const std::vector<ServerValue> before = {{"a", 100}, {"b", 100}, {"c", 100}};
  std::int64_t naive = 0;
  for (int position = 0; position < 4000; position += 250) {
    FakeHaproxy fake("auth", {{.name = "a", .initial_weight = 100}, {.name = "b", .initial_weight = 100}, {.name = "c", .initial_weight = 100}});
    longest_wait(fake, 5000);
    change(fake, change_commands(kServerWeight, look(fake), skew));
    longest_wait(fake, position + 1);
    FakeHaproxy twin = fake;
    for (const ServerValue& one : before) change(twin, {kServerWeight.command("auth", one.server, one.value)});
    naive = std::max(naive, longest_wait(twin, 400));
    change(fake, change_commands(kServerWeight, look(fake), before));
    CHECK(longest_wait(fake, 400) <= 3);
    if (twin.server("a").exiled) {
      change(twin, requeue_commands(look(twin), {"a", "b", "c"}));
      CHECK(longest_wait(twin, 400) <= 3);
    }
  }
  CHECK(naive >= 300);  // the trap is there for who restores one by one
}

TEST_CASE("servers that come back while a queue lasts get sessions, since their maxconn is set again", "[haproxy]") {
  FakeHaproxy fake("auth", {{.name = "a", .initial_max_connections = 2}, {.name = "b", .initial_max_connections = 2}});
  change(fake, change_commands(kServerWeight, look(fake), {{"b", 0}}));
  for (int i = 0; i < 8; ++i) fake.arrive();
  REQUIRE(fake.queued() == 6);
  FakeHaproxy naive = fake;
  change(naive, {"set server auth/b weight 10"});
  for (int i = 0; i < 20; ++i) {
    naive.arrive();
    naive.finish(0);
  }
  CHECK(naive.server("b").total_sessions == 0);
  change(fake, change_commands(kServerWeight, look(fake), {{"b", 10}}));
  CHECK(fake.server("b").total_sessions == 2);
}

TEST_CASE("a server is restored only while it has what we set", "[haproxy]") {
  FakeHaproxy fake("auth", {{.name = "ours"}, {.name = "before"}, {.name = "theirs"}});
  fake.answer("set server auth/ours weight 80;set server auth/theirs weight 33");
  const std::vector<ServerChange> changes = {{"ours", 80, 10}, {"before", 80, 10}, {"theirs", 80, 10}, {"gone", 80, 10}};
  const ServerComparison comparison = compare_servers(kServerWeight, look(fake), changes);
  REQUIRE(comparison.to_restore.size() == 1);
  CHECK(comparison.to_restore[0].server == "ours");
  CHECK(comparison.to_restore[0].value == 10);
  CHECK(comparison.as_before == std::vector<std::string>{"before"});
  REQUIRE(comparison.foreign.size() == 1);
  CHECK(comparison.foreign[0].server == "theirs");
  CHECK(comparison.foreign[0].value == 33);
  CHECK(comparison.gone == std::vector<std::string>{"gone"});
}

TEST_CASE("a drain is ours only while no maintenance lies over it", "[haproxy]") {
  struct Case {
    int bits;
    bool restore;
    bool foreign;
  };
  // 1 forced maintenance, 4 disabled in the configuration, 8 forced drain, 32 no address: only 1 and 8 are set by hand.
  for (const Case& one : {Case{8, true, false}, Case{0, false, false}, Case{1, false, true}, Case{9, false, true}, Case{12, true, false}, Case{40, true, false}, Case{4, false, false}}) {
    INFO(one.bits);
    FakeHaproxy fake("auth", {{.name = "a"}});
    fake.server("a").admin_state = one.bits;
    const ServerComparison comparison = compare_servers(kServerAdminState, look(fake), {{"a", "drain", "ready"}});
    CHECK(comparison.to_restore.size() == (one.restore ? 1 : 0));
    CHECK(comparison.foreign.size() == (one.foreign ? 1 : 0));
  }
}

TEST_CASE("traffic proves a restore when every server gets some of enough sessions", "[haproxy]") {
  using State = TrafficProof::State;
  struct Case {
    const char* what;
    std::vector<std::int64_t> arrived;
    State state;
    std::vector<std::string> starved;
  };
  const Case cases[] = {{"all get some", {20, 20, 20}, State::proved, {}},
                        {"one gets none of its twenty", {30, 30, 0}, State::starved, {"c"}},
                        {"too few to tell", {10, 10, 0}, State::too_little, {}},
                        {"none", {0, 0, 0}, State::too_little, {}}};
  for (const Case& one : cases) {
    INFO(one.what);
    FakeHaproxy fake("auth", {{.name = "a"}, {.name = "b"}, {.name = "c"}});
    const BackendState before = look(fake);
    for (std::size_t i = 0; i < 3; ++i) fake.server(std::string(1, static_cast<char>('a' + i))).total_sessions = one.arrived[i];
    const TrafficProof proof = prove_by_traffic(before, look(fake));
    CHECK(proof.state == one.state);
    CHECK(proof.starved == one.starved);
  }
  FakeHaproxy fake("auth", {{.name = "a"}});
  CHECK(totals(fake) == std::vector<std::int64_t>{0});
}

TEST_CASE("a server with a small part, a full one and one that a busy leastconn avoids are not called starved", "[haproxy]") {
  const auto state_with = [](const std::function<void(FakeHaproxy&)>& touch) {
    FakeHaproxy fake("auth", {{.name = "a"}, {.name = "b"}, {.name = "c"}});
    touch(fake);
    const BackendState before = look(fake);
    fake.server("a").total_sessions += 40;
    fake.server("b").total_sessions += 40;
    return prove_by_traffic(before, look(fake)).state;
  };
  using State = TrafficProof::State;
  CHECK(state_with([](FakeHaproxy&) {}) == State::starved);
  CHECK(state_with([](FakeHaproxy& fake) { fake.server("c").weight = 1; }) == State::proved);
  CHECK(state_with([](FakeHaproxy& fake) { fake.server("c").weight = 0; }) == State::proved);
  CHECK(state_with([](FakeHaproxy& fake) { fake.server("c").up = false; }) == State::proved);
  CHECK(state_with([](FakeHaproxy& fake) { fake.server("c").max_connections = fake.server("c").current_sessions = 5; }) == State::proved);
  CHECK(state_with([](FakeHaproxy& fake) { fake.algorithm = "leastconn", fake.server("c").current_sessions = 5; }) == State::proved);
  CHECK(state_with([](FakeHaproxy& fake) { fake.algorithm = "source"; }) == State::too_little);
}
