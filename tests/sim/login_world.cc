#include "tests/sim/login_world.h"

#include <boost/asio/co_spawn.hpp>

#include "experiments/verdict.h"
#include "injector/base/error.h"
#include "injector/targets/process.h"
#include "injector/targets/process_identity.h"

namespace capsize {
namespace {

using namespace std::chrono_literals;

constexpr int kSlots = 10;
constexpr Duration kServiceTime = 100ms;
constexpr Duration kQueueTimeout = 500ms;
constexpr Duration kCheckTimeout = 200ms;

// The world that the process ops of a simulation act on; one at a time, as tests run one after the other.
LoginWorld* current = nullptr;

class SimTransport final : public LoginTransport {
 public:
  explicit SimTransport(LoginWorld& world) : world_(world) {}
  Task<Answer> attempt(LoginAttempt attempt) override { return world_.login(std::move(attempt)); }

 private:
  LoginWorld& world_;
};

// The probe tcp.connect.
class SimConnect final : public LoginTransport {
 public:
  SimConnect(LoginWorld& world, Address where) : world_(world), where_(std::move(where)) {}
  Task<Answer> attempt(LoginAttempt attempt) override { return world_.connect(where_, attempt.deadline); }

 private:
  LoginWorld& world_;
  Address where_;
};

// The probe login.http, aimed at one server.
class SimDirect final : public LoginTransport {
 public:
  SimDirect(LoginWorld& world, std::size_t server) : world_(world), server_(server) {}
  Task<Answer> attempt(LoginAttempt attempt) override { return world_.login_at(server_, std::move(attempt)); }

 private:
  LoginWorld& world_;
  std::size_t server_;
};

std::unique_ptr<LoginTransport> transport_for(LoginWorld& world, const ProbeContext& context) {
  if (world.answers) return world.answers(context);
  for (std::size_t i = 0; i < 3; ++i) {
    if (context.params.value("url", "") == "http://" + show(at_server(i)) + "/login") return std::make_unique<SimDirect>(world, i);
  }
  if (!context.params.contains("address")) return std::make_unique<SimTransport>(world);
  return std::make_unique<SimConnect>(world, std::get<Address>(parse_address(context.params["address"].get<std::string>())));
}

struct SimGuard final : Guard {
  ProcessIdentity identity() const override { return {}; }
  Task<> share(int) override { co_return; }
  void goodbye() override {}
};

Task<std::unique_ptr<Guard>> start_sim_guard() {
  std::unique_ptr<Guard> guard = std::make_unique<SimGuard>();
  co_return guard;
}

// Processes by "pid": 1001 is auth1, and so on.
std::string server_of_pid(const Json& pid) { return "auth" + std::to_string((pid.is_string() ? std::stol(pid.get<std::string>()) : pid.get<long>()) - 1000); }

struct SimHeld final : Held {
  explicit SimHeld(std::string server_) : server(std::move(server_)) {}
  ~SimHeld() override { release(); }
  void release() noexcept override {
    if (current != nullptr) current->server(server).resume();
  }
  std::string server;
};

Task<Json> sim_identify(Json args, OpContext&) {
  TargetProcess process;
  process.boot_id = "sim";
  process.pid = args.at("pid").is_string() ? std::stoi(args.at("pid").get<std::string>()) : args.at("pid").get<int>();
  process.comm = "capsize-auth";
  const Json identity = to_json(process);
  const Json look = {{"never_a_target", ""}, {"identity", identity}, {"ended", false}, {"stopped", false}, {"tracer", nullptr}, {"trace", {{"allowed", true}, {"because", ""}}}, {"signal", {{"allowed", true}, {"because", ""}}}, {"mark_folder", ""}};
  co_return Json{{"that", "of number " + std::to_string(process.pid)}, {"found", Json::array({look})}};
}

Task<Json> sim_state(Json args, OpContext&) {
  const bool paused = current->server(server_of_pid(args.at("identity").at("pid"))).paused();
  co_return Json{{"same", "yes"}, {"because", ""}, {"threads", 1}, {"states", {{paused ? "t" : "S", 1}}}, {"cpu_ticks_in_window", paused ? 0 : 3}, {"window", "100ms"}};
}

Task<Applied> sim_hold(Json args, OpContext& context) {
  Applied applied;
  const std::string server = server_of_pid(args.at("identity").at("pid"));
  current->server(server).pause();
  applied.held = std::make_unique<SimHeld>(server);
  if (current->on_hold) {
    co_await current->on_hold(server, context);
  }
  co_return applied;
}

Task<UndoResult> sim_release(Json args, OpContext&) {
  const std::string server = server_of_pid(args.at("identity").at("pid"));
  const auto instead = current->on_release ? current->on_release(server) : std::nullopt;
  if (instead) co_return *instead;
  UndoResult result;
  const bool paused = current->server(server).paused();
  result.state = paused ? UndoState::failed : UndoState::undone;
  result.because = paused ? "it is still stopped" : "it runs again";
  co_return result;
}

const OpType* find_sim_op(std::string_view name) {
  static const std::vector<OpType> table = {
      {"process.identify", Lasts::look, "", sim_identify, nullptr, nullptr},
      {"process.state", Lasts::look, "", sim_state, nullptr, nullptr},
      {"process.hold", Lasts::while_held, "", nullptr, sim_hold, nullptr},
      {"process.release", Lasts::while_held, "", nullptr, nullptr, sim_release},
  };
  for (const auto* ops : {&table, &sim_network_ops()}) {
    for (const OpType& type : *ops) {
      if (type.name == name) return &type;
    }
  }
  return find_op(name);
}

std::vector<FakeHaproxy::Server> three_servers(bool hardened) {
  std::vector<FakeHaproxy::Server> servers;
  for (int i = 1; i <= 3; ++i) {
    FakeHaproxy::Server server;
    server.name = "auth" + std::to_string(i);
    server.initial_max_connections = hardened ? kSlots : 0;
    servers.push_back(std::move(server));
  }
  return servers;
}

Task<> call_at(Clock* clock, Duration when, std::function<void(StopSource&)> what, StopSource* stop) {
  co_await clock->sleep(when);
  what(*stop);
}

Task<> drive(const Playbook* playbook, RunOptions options, World* world, Timeline* timeline, StopSource* stop) {
  const auto prepared = co_await prepare(*playbook, *world);
  co_await run_playbook(*playbook, *prepared, options, *world, *timeline, *stop);
  co_await prepared->close();
}

}  // namespace

void SimServer::arrive(std::shared_ptr<SimLogin> login) {
  queue_.push_back(std::move(login));
  pump();
}

void SimServer::pump() {
  while (!paused_ && busy_ < kSlots && !queue_.empty()) {
    ++busy_;
    asio::co_spawn(io_, work(this, queue_.front()), [](std::exception_ptr problem) {
      if (problem) std::rethrow_exception(problem);
    });
    queue_.pop_front();
  }
}

Task<> SimServer::work(SimServer* server, std::shared_ptr<SimLogin> login) {
  co_await server->ask_database_();
  co_await server->clock_.sleep(kServiceTime);
  if (server->paused_) server->done_while_paused_.push_back(login);
  else server->finish(login);
}

void SimServer::finish(const std::shared_ptr<SimLogin>& login) {
  --busy_;
  on_done_(login);
  pump();
}

void SimServer::resume() {
  paused_ = false;
  const auto done = std::exchange(done_while_paused_, {});
  for (const auto& login : done) finish(login);
  pump();
}

LoginWorld::LoginWorld(const std::string& profile) : haproxy("auth", three_servers(profile == "hardened")), hardened_(profile == "hardened"), api_(io, haproxy) {
  for (std::size_t i = 0; i < 3; ++i) {
    const auto ask = [this, i] { return ask_database(this, i); };
    const auto answer = [this, i](std::shared_ptr<SimLogin> login) { asio::co_spawn(io, respond(this, i, std::move(login)), [](std::exception_ptr) {}); };
    servers_.push_back(std::make_unique<SimServer>(io, clock, ask, answer));
  }
  haproxy.on_dequeue = [this](std::size_t server) {
    while (!waiting_.empty() && waiting_.front()->gave_up) waiting_.pop_front();
    if (waiting_.empty()) return;
    const auto login = waiting_.front();
    waiting_.pop_front();
    dispatch(server, login);
  };
  current = this;
}

LoginWorld::~LoginWorld() { current = nullptr; }

std::map<std::string, Json> LoginWorld::variables() const {
  return {{"login_url", "http://sim.invalid/login"}, {"session_url", "http://sim.invalid/session"}, {"balancer_socket", api_.socket()}, {"backend", "auth"},
          {"auth1_pid", "1001"}, {"auth1_address", show(at_server(0))}, {"auth2_address", show(at_server(1))}, {"auth3_address", show(at_server(2))}, {"auth3_host", at_server(2).host}, {"auth3_port", std::to_string(at_server(2).port)},
          {"balancer_address", show(kBalancer)}, {"database_address", show(kDatabase)}};
}

std::size_t LoginWorld::index_of(const std::string& name) const { return static_cast<std::size_t>(name.back() - '1'); }

void LoginWorld::dispatch(std::size_t server, const std::shared_ptr<SimLogin>& login) {
  login->waiting = false;
  asio::co_spawn(io, deliver(this, server, login), [](std::exception_ptr) {});
}

Task<> LoginWorld::deliver(LoginWorld* world, std::size_t server, std::shared_ptr<SimLogin> login) {
  const bool arrived = co_await world->network.carry(client_of(at_server(server)), at_server(server));
  if (arrived) {
    world->servers_[server]->arrive(std::move(login));
    co_return;
  }
  login->turned_away = true;
  login->ended.cancel();
  if (!login->direct) world->session_ended(server);
}

// The balancer counts the session until it has the answer.
Task<> LoginWorld::respond(LoginWorld* world, std::size_t server, std::shared_ptr<SimLogin> login) {
  login->served = co_await world->network.carry(at_server(server), client_of(at_server(server)));
  login->ended.cancel();
  if (!login->direct) world->session_ended(server);
}

Task<> LoginWorld::ask_database(LoginWorld* world, std::size_t server) {
  if (world->network.undisturbed()) co_return;
  Address client = client_of(kDatabase);
  client.port = static_cast<std::uint16_t>(client.port + server);
  co_await world->network.carry(client, kDatabase);
  co_await world->network.carry(kDatabase, client);
}

void LoginWorld::session_ended(std::size_t server) {
  if (!haproxy.finish(server)) return;
  while (!waiting_.empty() && waiting_.front()->gave_up) waiting_.pop_front();
  if (waiting_.empty()) return;
  const auto login = waiting_.front();
  waiting_.pop_front();
  dispatch(server, login);
}

Task<> LoginWorld::turn_away_later(LoginWorld* world, std::shared_ptr<SimLogin> login) {
  co_await world->clock.sleep(kQueueTimeout);
  if (!login->waiting) co_return;
  login->waiting = false;
  login->gave_up = true;
  login->turned_away = true;
  world->haproxy.leave_queue();
  login->ended.cancel();
}

// A connection, a request and its answer, in time.
bool LoginWorld::answers_checks(std::size_t server) {
  return !servers_[server]->paused() && network.round_trips(client_of(at_server(server)), at_server(server), 1, kCheckTimeout);
}

// Every 500 ms; two misses take a server out, two answers bring it back.
Task<> LoginWorld::health_checks(LoginWorld* world) {
  std::vector<int> streak(3, 0);
  while (world->running_) {
    co_await world->clock.sleep(500ms);
    for (std::size_t i = 0; i < 3; ++i) {
      FakeHaproxy::Server& server = world->haproxy.server("auth" + std::to_string(i + 1));
      const bool contradicts = server.up != world->answers_checks(i);
      streak[i] = contradicts ? streak[i] + 1 : 0;
      if (streak[i] >= 2) server.up = !server.up;
    }
  }
}

World LoginWorld::world() {
  World out;
  out.clock = &clock;
  out.connect = [this](std::string, std::vector<std::string>) -> Task<std::unique_ptr<Host>> {
    LocalHostOptions options;
    options.run = "sim";
    options.boot_id = boot_id();
    options.find = find_sim_op;
    options.start_guard = [](const StateDir&, std::string) { return start_sim_guard(); };
    std::unique_ptr<Host> host = std::make_unique<LocalHost>(clock, StateDir::open(scratch_.path()), options);
    co_return host;
  };
  out.transport = [this](const ProbeContext& context) { return transport_for(*this, context); };
  out.documents = documents;
  return out;
}

Playbook LoginWorld::playbook(const std::string& text, std::map<std::string, Json> set) {
  PlaybookOptions options;
  options.offer = variables();
  options.set = std::move(set);
  PlaybookResult result = read_playbook(text, options);
  INFO(result.diagnostics.text("playbook"));
  REQUIRE(result.playbook);
  return std::move(*result.playbook);
}

Playbook LoginWorld::shipped(const std::string& name) { return playbook(file_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "experiments/playbooks" / name)); }

LoginWorld::Result LoginWorld::run(const Playbook& playbook, std::uint64_t seed, bool without_faults) {
  RunOptions options;
  options.seed = seed;
  options.without_faults = without_faults;
  return run_with(playbook, options);
}

LoginWorld::Result LoginWorld::run_with(const Playbook& playbook, RunOptions options) {
  World world_now = world();
  Timeline timeline(clock);
  if (on_start) on_start(timeline);
  StopSource stop;
  options.run = "sim";
  running_ = true;
  if (hardened_) asio::co_spawn(io, health_checks(this), [](std::exception_ptr) {});
  for (auto& [when, what] : std::exchange(plans_, {})) asio::co_spawn(io, call_at(&clock, when, std::move(what), &stop), [](std::exception_ptr) {});
  std::exception_ptr problem;
  bool ended = false;
  asio::co_spawn(io, drive(&playbook, options, &world_now, &timeline, &stop), [&](std::exception_ptr error) {
    problem = error;
    ended = true;
    running_ = false;
  });
  clock.run(io, std::chrono::minutes(10));
  if (problem) std::rethrow_exception(problem);
  REQUIRE(ended);
  return {judge(playbook, timeline.events()), timeline.text(), timeline.events()};
}

}  // namespace capsize
