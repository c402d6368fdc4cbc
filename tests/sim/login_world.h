// The system under test as a model in virtual time: authentication servers with slots and first-in-first-out queues behind the model of
// HAProxy. Only the lowest layer is modelled; ops, journal, probes, runner and verdict are the real ones.
#pragma once
#include <boost/asio/io_context.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/playbook.h"
#include "experiments/runner.h"
#include "experiments/stop.h"
#include "experiments/timeline.h"
#include "injector/base/clock.h"
#include "injector/host/local_host.h"
#include "probes/login/transport.h"
#include "tests/injector/scratch_dir.h"
#include "tests/sim/fake_haproxy.h"
#include "tests/sim/fake_haproxy_server.h"
#include "tests/sim/sim_network.h"

namespace capsize {

// Who is where. Clients of each have ports of their own, above all of these.
inline const Address kBalancer{"127.0.0.1", 20'000};
inline const Address kDatabase{"127.0.0.1", 20'004};
inline Address at_server(std::size_t index) { return {"127.0.0.1", static_cast<std::uint16_t>(20'001 + index)}; }  // as FakeHaproxy says
inline Address client_of(const Address& server) { return {"127.0.0.1", static_cast<std::uint16_t>(server.port + 20'000)}; }

// One login on its way through the model.
struct SimLogin {
  explicit SimLogin(asio::io_context& io) : ended(io, asio::steady_timer::time_point::max()) {}
  bool served = false;
  bool turned_away = false;
  bool gave_up = false;
  bool waiting = false;      // in the balancer's queue
  bool direct = false;       // past the balancer, which knows nothing of it
  asio::steady_timer ended;  // cancelled when it has
};

// Ten logins at a time, 100 ms each and as long as the database takes, in the order of their arrival; dead work is worked off too.
class SimServer {
 public:
  SimServer(asio::io_context& io, Clock& clock, std::function<Task<>()> ask_database, std::function<void(std::shared_ptr<SimLogin>)> on_done)
      : io_(io), clock_(clock), ask_database_(std::move(ask_database)), on_done_(std::move(on_done)) {}
  void arrive(std::shared_ptr<SimLogin> login);
  void pause() { paused_ = true; }
  void resume();
  bool paused() const { return paused_; }

 private:
  static Task<> work(SimServer* server, std::shared_ptr<SimLogin> login);
  void finish(const std::shared_ptr<SimLogin>& login);
  void pump();

  asio::io_context& io_;
  Clock& clock_;
  std::function<Task<>()> ask_database_;
  std::function<void(std::shared_ptr<SimLogin>)> on_done_;
  std::deque<std::shared_ptr<SimLogin>> queue_;
  std::vector<std::shared_ptr<SimLogin>> done_while_paused_;
  int busy_ = 0;
  bool paused_ = false;
};

// A whole world: "as-it-was" (nothing protects a server) or "hardened" (maxconn, a short queue, health checks). Clients, balancer, servers and
// database are joined by a network that faults may impair; what the balancer of the lab retries is not modelled.
class LoginWorld {
 public:
  explicit LoginWorld(const std::string& profile);
  ~LoginWorld();

  // The variables that the shipped playbooks take.
  std::map<std::string, Json> variables() const;
  Playbook playbook(const std::string& text, std::map<std::string, Json> set = {});  // REQUIREs that it is good
  Playbook shipped(const std::string& name);

  struct Result {
    Json verdict;
    std::string timeline;
    std::vector<Json> events;
  };
  // Runs it to its end in virtual time.
  Result run(const Playbook& playbook, std::uint64_t seed = 1, bool without_faults = false);
  Result run_with(const Playbook& playbook, RunOptions options);
  // Called once, this long after the start of the next run.
  void at(Duration when, std::function<void(StopSource& stop)> what) { plans_.emplace_back(when, std::move(what)); }

  asio::io_context io;
  SimClock clock;
  SimNetwork network{clock};
  FakeHaproxy haproxy;
  std::string why_wrongly_accepted;  // not empty: the service takes wrong passwords
  bool service_up = true;
  // Awaited by process.pause once a server stands still; and its undo's answer instead of the model's, where it gives one.
  std::function<Task<>(std::string server, OpContext& context)> on_hold;
  std::function<std::optional<UndoResult>(const std::string& server)> on_release;
  std::function<void(Timeline& timeline)> on_start;  // of the next runs, before their first event
  // Instead of the model: what answers the logins.
  std::function<std::unique_ptr<LoginTransport>(const ProbeContext&)> answers;
  std::function<std::unique_ptr<DocumentSource>(const ProbeContext&)> documents;  // what monitoring says

  SimServer& server(const std::string& name) { return *servers_.at(index_of(name)); }
  Task<Answer> login(LoginAttempt attempt);
  Task<Answer> login_at(std::size_t server, LoginAttempt attempt);  // straight to one server
  Task<Answer> connect(Address where, TimePoint deadline);  // as the probe tcp.connect does

 private:
  std::size_t index_of(const std::string& name) const;
  void dispatch(std::size_t server, const std::shared_ptr<SimLogin>& login);
  void session_ended(std::size_t server);
  Task<Answer> travel(Address from, Address to, TimePoint deadline);  // ok when it arrived
  Task<Answer> use_token(TimePoint deadline);
  bool answers_checks(std::size_t server);
  static Task<> deliver(LoginWorld* world, std::size_t server, std::shared_ptr<SimLogin> login);
  static Task<> respond(LoginWorld* world, std::size_t server, std::shared_ptr<SimLogin> login);
  static Task<> ask_database(LoginWorld* world, std::size_t server);
  static Task<> health_checks(LoginWorld* world);
  static Task<> turn_away_later(LoginWorld* world, std::shared_ptr<SimLogin> login);
  World world();

  bool hardened_;
  bool running_ = false;
  std::size_t tokens_used_ = 0;
  ScratchDir scratch_;
  FakeHaproxyServer api_;
  std::vector<std::unique_ptr<SimServer>> servers_;
  std::deque<std::shared_ptr<SimLogin>> waiting_;  // in the balancer's queue
  std::vector<std::pair<Duration, std::function<void(StopSource&)>>> plans_;
};

}  // namespace capsize
