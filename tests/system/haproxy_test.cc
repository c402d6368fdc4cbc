// The ops on HAProxy and the faults of a balancer against a real HAProxy.
#include <catch2/catch.hpp>

#include <sys/socket.h>
#include <sys/un.h>

#include <future>
#include <random>

#include "injector/faults/balancer.h"
#include "injector/ops/haproxy_change.h"
#include "tests/sim/fake_haproxy.h"
#include "tests/system/real_haproxy.h"

using namespace capsize;

namespace {

class World {
 public:
  explicit World(RealHaproxy::Options options) : haproxy(std::move(options)) {}

  template <class T>
  T await(Task<T> work) {
    std::optional<T> value;
    std::exception_ptr error;
    asio::co_spawn(io_, std::move(work), [&](std::exception_ptr problem, T result) {
      error = problem;
      if (!problem) value.emplace(std::move(result));
    });
    io_.restart();
    io_.run();
    if (error) std::rethrow_exception(error);
    return std::move(*value);
  }
  void change(std::vector<std::string> commands) {
    HaproxyClient client(clock_, haproxy.socket());
    await(done(client.change(std::move(commands))));
  }
  Json look_json() { return await(find_op("haproxy.servers")->look({{"socket", haproxy.socket()}, {"backend", "auth"}}, context)); }
  BackendState look() { return backend_from_json(look_json()); }
  FaultPlan skew(double share) { return plan_balancer_skew({Name{"auth1"}, Share{share}}, target(), look(), {}); }
  FaultPlan drain(std::vector<Name> servers, const Allowed& allow = {}) { return plan_balancer_drain({std::move(servers)}, target(), look(), allow); }
  FaultPlan weights(std::map<Name, Count> weights_by_server, const Allowed& allow = {}) { return plan_balancer_weight({std::move(weights_by_server)}, target(), look(), allow); }
  void apply(const FaultPlan& plan) { await(find_op(plan.steps.at(0).apply.type)->apply(plan.steps.at(0).apply.args, context)); }
  UndoResult undo(const FaultPlan& plan) { return await(find_op(plan.steps.at(0).undo.type)->undo(plan.steps.at(0).undo.args, context)); }
  HaproxyTarget target() const { return {haproxy.socket(), Name{"auth"}}; }

  RealHaproxy haproxy;

 private:
  static Task<bool> done(Task<> work) {
    co_await std::move(work);
    co_return true;
  }
  asio::io_context io_;
  SystemClock clock_;

 public:
  OpContext context{clock_, {}, {}};
};

RealHaproxy::Options three(const std::string& settings) {
  RealHaproxy::Options options;
  options.servers.assign(3, settings);
  return options;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

UniqueFd open_socket(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("cannot connect to " + path);
  return fd;
}

void write_all(const UniqueFd& fd, const std::string& text) {
  if (::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) throw std::runtime_error("cannot send: " + text);
}

std::vector<std::int64_t> sessions_of(const BackendState& state) {
  std::vector<std::int64_t> out;
  for (const ServerState& server : state.servers) out.push_back(server.total_sessions);
  return out;
}

}  // namespace

TEST_CASE("weights and drains are applied to a real HAProxy and leave it byte for byte as it was", "[haproxy]") {
  World world(three("weight 10 maxconn 50"));
  const std::string before = world.haproxy.settings();
  const std::vector<FaultPlan> plans = {world.skew(0.8), world.skew(0.05), world.weights({{Name{"auth1"}, 0}, {Name{"auth2"}, 256}}), world.drain({Name{"auth1"}}),
                                        world.drain({Name{"auth1"}, Name{"auth2"}}, {"majority"})};
  for (const FaultPlan& plan : plans) {
    INFO(plan.summary);
    world.apply(plan);
    CHECK(world.haproxy.settings() != before);
    CHECK(world.undo(plan).state == UndoState::undone);
    CHECK(world.haproxy.settings() == before);
    CHECK(world.undo(plan).state == UndoState::nothing_to_undo);
  }
}

TEST_CASE("the fault's effect is seen in a real HAProxy's sessions", "[haproxy]") {
  World world(three("weight 10"));
  Requests requests(world.haproxy.port());
  const FaultPlan skew = world.skew(0.8);
  const Json before = world.look_json();
  world.apply(skew);
  requests.next(200);
  const Effect effect = judge_balancer(skew, before, world.look_json());
  CHECK(effect.bites);
  CHECK(effect.measured["shares"]["auth1"].get<double>() == Approx(0.8).margin(0.03));
  world.undo(skew);
  const FaultPlan drain = world.drain({Name{"auth2"}});
  const Json ready = world.look_json();
  world.apply(drain);
  requests.next(100);
  CHECK(judge_balancer(drain, ready, world.look_json()).measured["shares"] == Json{{"auth1", 0.5}, {"auth2", 0.0}, {"auth3", 0.5}});
  CHECK(world.undo(drain).state == UndoState::undone);
}

TEST_CASE("a weight changed by hand and a maintenance set by hand stay", "[haproxy]") {
  World world(three("weight 10"));
  const FaultPlan skew = world.skew(0.8);
  world.apply(skew);
  world.haproxy.ask("set server auth/auth2 weight 33");
  const UndoResult refused = world.undo(skew);
  CHECK(refused.state == UndoState::refused);
  CHECK(has(refused.because, "auth/auth2 has weight 33"));
  CHECK(world.haproxy.weight("auth1") == 10);
  CHECK(world.haproxy.weight("auth2") == 33);
  world.haproxy.ask("set server auth/auth2 weight 10");

  const FaultPlan drain = world.drain({Name{"auth1"}, Name{"auth2"}}, {"majority"});
  world.apply(drain);
  world.haproxy.ask("set server auth/auth1 state maint");
  CHECK(world.undo(drain).state == UndoState::refused);
  CHECK(world.look().find("auth1")->admin_state == kAdminForcedMaint);
  CHECK(world.look().find("auth2")->ready());
}

TEST_CASE("a server disabled in the configuration is not drained", "[haproxy]") {
  RealHaproxy::Options options = three("weight 10");
  options.servers[0] += " disabled";
  World world(std::move(options));
  CHECK_THROWS_AS(world.drain({Name{"auth1"}}), Error);
}

TEST_CASE("a reload in the middle is noticed and reported", "[haproxy]") {
  RealHaproxy::Options options = three("weight 10");
  options.master_worker = true;
  World world(std::move(options));
  const FaultPlan skew = world.skew(0.8);
  const FaultPlan drain = world.drain({Name{"auth1"}});
  const Json before = world.look_json();
  world.apply(skew);
  world.haproxy.reload();
  CHECK(has(judge_balancer(skew, before, world.look_json()).because, "HAProxy was reloaded or restarted during the fault"));
  const UndoResult result = world.undo(skew);
  CHECK(result.state == UndoState::nothing_to_undo);
  CHECK(has(result.because, "HAProxy was reloaded (pid "));
  CHECK_THROWS_WITH(world.apply(drain), Catch::Contains("was reloaded or restarted since the plan"));
  CHECK(world.look().find("auth1")->ready());
}

TEST_CASE("weights that a reload carries over in a server-state file are put back", "[haproxy]") {
  RealHaproxy::Options options = three("weight 10");
  options.master_worker = true;
  options.keeps_state = true;
  World world(std::move(options));
  const std::string before = world.haproxy.settings();
  const FaultPlan skew = world.skew(0.8);
  world.apply(skew);
  world.haproxy.reload();
  REQUIRE(world.haproxy.weight("auth1") == 8);
  const UndoResult result = world.undo(skew);
  CHECK(result.state == UndoState::undone);
  CHECK(has(result.because, "the new process had the injected values"));
  CHECK(world.haproxy.settings() == before);
}

TEST_CASE("roundrobin exiles a server when weights are put back one by one, and not in our order", "[haproxy]") {
  World world(three("weight 100"));
  Requests requests(world.haproxy.port());
  const std::vector<ServerValue> skewed = {{"auth1", 256}, {"auth2", 1}, {"auth3", 1}};
  const std::vector<ServerValue> before = {{"auth1", 100}, {"auth2", 100}, {"auth3", 100}};
  std::mt19937 random(11);
  int exiled_by_others = 0;
  std::int64_t longest = 0;
  for (int round = 0; round < 24; ++round) {
    requests.next(static_cast<int>(100 + random() % 800));
    world.change(change_commands(kServerWeight, world.look(), skewed));
    requests.next(static_cast<int>(200 + random() % 2000));
    if (round % 3 == 0) {
      for (const ServerValue& one : before) world.change({kServerWeight.command("auth", one.server, one.value)});
      if (longest_wait(requests.next(120), 3) >= 100) ++exiled_by_others;
      world.change(requeue_commands(world.look(), {"auth1", "auth2", "auth3"}));
    } else {
      world.change(change_commands(kServerWeight, world.look(), before));
    }
    longest = std::max(longest, longest_wait(requests.next(300), 3));
  }
  CHECK(exiled_by_others >= 1);
  CHECK(longest <= 10);
}

TEST_CASE("servers that come back while the backend has a queue get sessions again", "[haproxy]") {
  SlowServers servers(3, std::chrono::milliseconds(100));
  for (const bool drained : {true, false}) {
    RealHaproxy::Options options = three("weight 10 maxconn 10");
    options.ports = servers.ports();
    World world(std::move(options));
    const Clients clients(world.haproxy.port(), 60);
    const std::vector<Name> two = {Name{"auth2"}, Name{"auth3"}};
    const FaultPlan plan = drained ? world.drain(two, {"majority"}) : world.weights({{two[0], 0}, {two[1], 0}}, {"majority"});
    const auto trapped_servers_idle = [&] {
      const BackendState state = world.look();
      return state.queued >= 20 && state.servers[1].current_sessions == 0 && state.servers[2].current_sessions == 0;
    };
    const auto grows = [&](std::int64_t by) {
      const std::vector<std::int64_t> start = sessions_of(world.look());
      wait_until("auth1 has got 30 more sessions", [&] { return sessions_of(world.look())[0] >= start[0] + 30; });
      const std::vector<std::int64_t> now = sessions_of(world.look());
      return now[1] - start[1] >= by && now[2] - start[2] >= by;
    };
    world.apply(plan);
    wait_until("a queue has grown", trapped_servers_idle);
    // The trap is real: what a person would type does not bring them back.
    for (const char* name : {"auth2", "auth3"}) world.haproxy.ask(drained ? fmt::format("set server auth/{} state ready", name) : fmt::format("set server auth/{} weight 10", name));
    CHECK_FALSE(grows(1));
    for (const char* name : {"auth2", "auth3"}) world.haproxy.ask(drained ? fmt::format("set server auth/{} state drain", name) : fmt::format("set server auth/{} weight 0", name));
    wait_until("a queue has grown", trapped_servers_idle);
    const UndoResult result = world.undo(plan);
    CHECK(result.state == UndoState::undone);
    CHECK(result.detail["traffic"] == "verified");
    CHECK(grows(15));
  }
}

TEST_CASE("a name with a second command in it is never sent", "[haproxy]") {
  World world(three("weight 10"));
  const std::string before = world.haproxy.settings();
  const auto kind = [&](const char* op, const Json& args) {
    try {
      if (find_op(op)->look != nullptr) world.await(find_op(op)->look(args, world.context));
      else world.await(find_op(op)->apply(args, world.context));
    } catch (const Error& error) {
      return std::string(to_string(error.kind()));
    }
    return std::string("sent");
  };
  Json args = world.skew(0.8).steps.at(0).apply.args;
  args["servers"] = {{"auth1 weight 1;set server auth/auth2", {{"from", 10}, {"to", 0}}}};
  CHECK(kind("haproxy.weights", args) == "refused");
  CHECK(kind("haproxy.servers", {{"socket", world.haproxy.socket()}, {"backend", "auth;set server auth/auth1 weight 0"}}) == "refused");
  CHECK(world.haproxy.settings() == before);
}

// A writer dies with its command unread while HAProxy stands still; it goes on in the middle of the undo. What went wrong; empty: nothing.
std::string undo_late_commands(World& world) {
  const std::string before = world.haproxy.settings();
  const FaultPlan skew = world.skew(0.8);
  std::string problems;
  for (int round = 0; round < 8; ++round) {
    world.haproxy.stop();
    {
      const UniqueFd writer = open_socket(world.haproxy.socket());
      write_all(writer, "set server auth/auth1 weight 8;set server auth/auth2 weight 1;set server auth/auth3 weight 1\n");
    }
    std::jthread waker([&] {
      ::poll(nullptr, 0, 20 + 60 * round);
      world.haproxy.resume();
    });
    const UndoResult result = world.undo(skew);
    waker.join();
    const std::string after = world.haproxy.settings();
    if (result.state != UndoState::undone || after != before) problems += fmt::format("round {}: {} {}; {}\n", round, to_string(result.state), result.because, after);
  }
  return problems;
}

TEST_CASE("the command of a dead process that a stalled HAProxy executes late is undone", "[haproxy]") {
  std::vector<std::unique_ptr<World>> worlds;
  std::vector<std::future<std::string>> problems;
  for (const int threads : {1, 2, 4}) {
    RealHaproxy::Options options = three("weight 10");
    options.threads = threads;
    worlds.push_back(std::make_unique<World>(std::move(options)));
  }
  // At once: each waits nearly all of the time.
  for (const auto& world : worlds) problems.push_back(std::async(std::launch::async, undo_late_commands, std::ref(*world)));
  for (auto& one : problems) CHECK(one.get() == "");
}

TEST_CASE("an operator's open prompt does not hold the undo up", "[haproxy]") {
  World world(three("weight 10"));
  const std::string before = world.haproxy.settings();
  const FaultPlan skew = world.skew(0.8);
  world.apply(skew);
  const UniqueFd prompt = open_socket(world.haproxy.socket());
  write_all(prompt, "prompt\n");
  char answer[16];
  REQUIRE(::read(prompt.get(), answer, sizeof answer) > 0);
  const UndoResult result = world.undo(skew);
  CHECK(result.state == UndoState::undone);
  CHECK(has(result.detail["barrier"].get<std::string>(), "1 other connection"));
  CHECK(world.haproxy.settings() == before);
}

TEST_CASE("an HAProxy that has ended took the weights with it", "[haproxy]") {
  World world(three("weight 10"));
  const FaultPlan skew = world.skew(0.8);
  world.apply(skew);
  world.haproxy.end();
  CHECK(world.undo(skew).state == UndoState::nothing_to_undo);
}

TEST_CASE("HAProxy refuses weights for map-based hashing, in its own words, and nothing changes", "[haproxy]") {
  RealHaproxy::Options options = three("weight 10");
  options.balance = "source";
  World world(std::move(options));
  const std::string before = world.haproxy.settings();
  const FaultPlan skew = world.skew(0.8);
  CHECK_THROWS_WITH(world.apply(skew), Catch::Contains("static LB algorithm"));
  CHECK(world.haproxy.settings() == before);
  CHECK(world.undo(skew).state == UndoState::nothing_to_undo);
}

TEST_CASE("a server with an agent-check is seen as one", "[haproxy]") {
  RealHaproxy::Options options = three("weight 10");
  options.servers[1] += " agent-check agent-port 1 agent-inter 60s";
  World world(std::move(options));
  CHECK_THROWS_WITH(world.skew(0.8), Catch::Contains("disable agent auth/auth2"));
  world.haproxy.ask("disable agent auth/auth2");
  CHECK(world.skew(0.8).steps.size() == 1);
}

TEST_CASE("the model answers as HAProxy does", "[haproxy]") {
  RealHaproxy real(three("weight 10"));
  FakeHaproxy fake("auth", {{.name = "auth1"}, {.name = "auth2"}, {.name = "auth3"}});
  for (const char* commands : {"set server auth/auth1 weight 20", "set server auth/auth1 weight 257", "set server auth/auth1 weight -1", "set server auth/nobody weight 1", "set server auth/auth1 state drain",
                               "set server auth/auth1 state asleep", "set server auth/auth2 weight 0;set maxconn server auth/auth2 7", "show servers state nobody;show stat nobody 6 -1"}) {
    INFO(commands);
    const std::string line = "set severity-output number;" + std::string(commands);
    CHECK(fake.answer(line) == real.ask(line));
  }
  const std::string question = "show info;show servers state auth;show stat auth 6 -1";
  const BackendState modelled = parse_backend_reply(fake.answer(question), "auth");
  const BackendState found = parse_backend_reply(real.ask(question), "auth");
  for (std::size_t i = 0; i < 3; ++i) {
    INFO(i);
    CHECK(modelled.servers[i].weight == found.servers[i].weight);
    CHECK(modelled.servers[i].admin_state == found.servers[i].admin_state);
    CHECK(modelled.servers[i].op_state == found.servers[i].op_state);
    CHECK(modelled.servers[i].max_connections == found.servers[i].max_connections);
    CHECK(modelled.servers[i].in_service() == found.servers[i].in_service());
  }
  CHECK(modelled.algorithm == found.algorithm);
}
