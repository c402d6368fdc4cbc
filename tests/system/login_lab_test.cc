// login.http against the lab, directly and through TLS in front of it.
#include "injector/base/error.h"
#include "tests/system/real_server.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

LabOptions without_database() {
  LabOptions out;
  out.database = false;
  out.service_time = 10ms;
  return out;
}

// A HAProxy of its own that speaks TLS for the lab's.
class TlsFront {
 public:
  explicit TlsFront(const std::string& lab) : identity_(self_signed("localhost")), port_(free_port(SOCK_STREAM)) {
    write_text(folder_ / "ca.pem", identity_.certificate);
    write_text(folder_ / "both.pem", identity_.certificate + identity_.key);
    write_text(folder_ / "haproxy.cfg", "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\nlisten tls\n bind 127.0.0.1:" + std::to_string(port_) + " ssl crt " +
                                            (folder_ / "both.pem").string() + "\n server lab " + lab + "\n");
    server_ = std::make_unique<RealServer>(std::vector<std::string>{"/usr/sbin/haproxy", "-db", "-f", folder_ / "haproxy.cfg"}, folder_ / "out.log");
    const bool ready = eventually([this] { return listens(port_); }, 30s);
    INFO(server_->log());
    REQUIRE(ready);
  }
  std::string url(const std::string& path) const { return "https://localhost:" + std::to_string(port_) + path; }
  std::string ca_file() const { return folder_ / "ca.pem"; }

 private:
  TestFolder folder_;
  SelfSigned identity_;
  int port_;
  std::unique_ptr<RealServer> server_;
};

Json params(const std::string& login, const std::string& session, Json more = Json::object()) {
  Json out = {{"url", login}, {"session_url", session}, {"rate", "20/s"}, {"users", 50}, {"timeout", "60s"}};
  out.update(more);
  return out;
}

}  // namespace

TEST_CASE("the lab lets its users in, and refuses wrong passwords, unknown users and tokens that are none", "[lab][login][beside]") {
  std::optional<LabFixture> lab(std::in_place, without_database());
  const std::string login = lab->variable("login_url");
  const std::string session = lab->variable("session_url");
  const Watched seen = watch("login.http", params(login, session, {{"wrong_password_share", "20%"}, {"unknown_user_share", "10%"}, {"expired_token", "of.yesterday"}, {"expired_token_share", "10%"}}), 4);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("rejected_rightly") >= 4);
  CHECK(seen.value("wrongly_accepted") == 0);
  const Watched denied = watch("login.http", params(login, session, {{"user", "user1"}, {"password", "no longer mine"}}), 2);
  CHECK(denied.value("success_ratio") == 0);
  CHECK(denied.value("denied") >= 5);

  const LabProcess balancer = *find_lab_process(std::stoi(lab->variable("balancer_pid")));
  signal_all({balancer}, SIGSTOP);
  const Watched hanging = watch("login.http", params(login, session, {{"timeout", "300ms"}}), 2);
  CHECK(hanging.value("timed_out") >= 5);
  CHECK(hanging.value("success_ratio") == 0);
  CHECK(hanging.value("latency.p50") == Approx(0.3).epsilon(0.01));
  signal_all({balancer}, SIGCONT);
  lab.reset();
  const Watched down = watch("login.http", params(login, session), 2);
  CHECK(down.value("refused") >= 5);
  CHECK(down.value("success_ratio") == 0);
}

TEST_CASE("a run whose login service cannot prove who it is is invalid, says what to give, and touches nothing", "[lab][login][beside]") {
  const LabFixture lab(without_database());
  const TlsFront front(lab.variable("balancer_address"));
  const Json login = params(front.url("/login"), front.url("/session"), {{"probe", "login.http"}});
  Json playbook = {{"playbook", 1},
                   {"title", "who are you"},
                   {"targets", {{"balancer", {{"type", "haproxy"}, {"socket", lab.variable("balancer_socket")}, {"backend", lab.variable("backend")}}}}},
                   {"probes", {{"login", login}}},
                   {"timing", {{"baseline", "1s"}, {"recovery", "2s"}, {"settle", "1s"}}},
                   {"steady_state", {{{"measure", "login.success_ratio"}, {"at_least", "50%"}}}},
                   {"faults", {{{"fault", "balancer.skew"}, {"target", "balancer"}, {"server", "auth1"}, {"share", "70%"}, {"for", "1s"}}}}};
  const std::string before = balancer_state(lab.variable("balancer_socket"));
  const auto run = [&] {
    write_text(lab.folder() / "playbook.json", playbook.dump());
    return run_capsize({"--state", (lab.folder() / "state").string(), "run", "--out", (lab.folder() / "out").string(), (lab.folder() / "playbook.json").string()}, lab.folder());
  };
  const Ran mistrusting = run();
  INFO(mistrusting.out << mistrusting.err);
  CHECK(mistrusting.code == 4);
  CHECK(mistrusting.out.find("Nothing was injected") != std::string::npos);
  CHECK((mistrusting.out + mistrusting.err).find("certificate verify failed") != std::string::npos);
  CHECK((mistrusting.out + mistrusting.err).find("ca_file") != std::string::npos);
  CHECK(read_text(lab.folder() / "out" / "timeline.jsonl").find("\"event\":\"injected\"") == std::string::npos);
  CHECK(balancer_state(lab.variable("balancer_socket")) == before);
  const Watched trusted = watch("login.http", params(front.url("/login"), front.url("/session"), {{"ca_file", front.ca_file()}, {"wrong_password_share", "20%"}}), 2);
  CHECK(trusted.value("success_ratio") == 1);
  CHECK(trusted.value("wrongly_accepted") == 0);
}
