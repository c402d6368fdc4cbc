// The contract of capsize-auth, over the wire.
#include <fcntl.h>
#include <sys/wait.h>

#include <boost/asio/ip/tcp.hpp>
#include <catch2/catch.hpp>
#include <fstream>
#include <future>
#include <sstream>

#include "experiments/lab/child_process.h"
#include "experiments/lab/http_exchange.h"
#include "injector/base/unique_fd.h"
#include "tests/system/lab_fixture.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

constexpr Duration kPatience = 10s;
const std::string kProgram = CAPSIZE_BINARY_DIR "/capsize-auth";

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

// A running capsize-auth, or what became of it.
class Auth {
 public:
  Auth(const TestFolder& folder, const std::string& name, std::vector<std::string> options) : log_(folder / (name + ".log")) {
    const UniqueFd log(::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    LabCommand command;
    command.words = {kProgram, "--name", name, "--parent", std::to_string(::getpid())};
    command.words.insert(command.words.end(), options.begin(), options.end());
    command.out = log.get();
    command.err = log.get();
    process_ = start(command);
  }
  ~Auth() {
    signal_all({process_}, SIGKILL);
    wait_until_gone(SystemClock(), {process_}, SystemClock().now() + kPatience);
  }

  std::string address() {
    REQUIRE(eventually([&] { return text_of(log_).find('\n') != std::string::npos; }));
    const std::string said = text_of(log_);
    REQUIRE(said.find("listening on ") != std::string::npos);
    return said.substr(said.rfind(' ') + 1, said.rfind('\n') - said.rfind(' ') - 1);
  }
  int exit_code() {
    int status = 0;
    ::waitpid(process_.pid, &status, 0);
    return WEXITSTATUS(status);
  }
  std::string log() const { return text_of(log_); }

 private:
  std::filesystem::path log_;
  LabProcess process_;
};

LabReply ask(const LabRequest& request) {
  const auto reply = http_exchange(request, kPatience);
  REQUIRE(reply);
  return *reply;
}

LabReply login(const std::string& address, const std::string& form) { return ask({address, "POST", "/login", form, ""}); }

std::string token_from(const std::string& address, int user) {
  const LabReply reply = login(address, "user=user" + std::to_string(user) + "&password=pw" + std::to_string(user));
  REQUIRE(reply.status == 200);
  return Json::parse(reply.body).at("token");
}

LabReply session(const std::string& address, const std::string& token) { return ask({address, "GET", "/session", "", "Bearer " + token}); }

Json stats(const std::string& address) { return Json::parse(ask({address, "GET", "/stats", "", ""}).body); }

}  // namespace

TEST_CASE("a token of one authentication server is good at another that shares its key", "[lab][beside]") {
  const TestFolder folder;
  std::ofstream(folder / "key") << "shared";
  const std::vector<std::string> shared = {"--token-key-file", (folder / "key").string()};
  Auth auth1(folder, "auth1", shared);
  Auth auth2(folder, "auth2", shared);
  Auth stranger(folder, "stranger", {});
  const std::string token = token_from(auth1.address(), 7);
  const LabReply accepted = session(auth2.address(), token);
  CHECK(accepted.status == 200);
  CHECK(Json::parse(accepted.body) == Json{{"user", "user7"}});
  CHECK(session(stranger.address(), token).status == 401);
  CHECK(session(auth2.address(), "made-up").status == 401);
}

TEST_CASE("a login server answers each kind of request as its clients expect", "[lab][beside]") {
  const TestFolder folder;
  Auth auth(folder, "auth1", {"--users", "5", "--users-prefix", "staff", "--service-time", "5ms"});
  const std::string address = auth.address();
  CHECK(login(address, "user=staff5&password=pw5").status == 200);
  CHECK(login(address, "user=staff4&password=pw3").status == 401);
  CHECK(login(address, "user=staff6&password=pw6").status == 401);
  CHECK(login(address, "user=staff4").status == 400);
  CHECK(login(address, "user=staff4&password=" + std::string(129, 'x')).status == 400);
  CHECK(login(address, std::string(5000, 'x')).status == 413);
  CHECK(ask({address, "GET", "/health", "", ""}).status == 200);
  CHECK(ask({address, "GET", "/login", "", ""}).status == 405);
  CHECK(ask({address, "GET", "/nowhere", "", ""}).status == 404);
  CHECK(ask({address, "GET", "/session", "", std::string(9000, 'x')}).status == 431);
  CHECK(stats(address) ==
        Json{{"name", "auth1"}, {"busy", 0}, {"queued", 0}, {"max_queue", 0}, {"ok", 1}, {"denied", 2}, {"abandoned", 0}, {"unavailable", 0}});
}

TEST_CASE("slots bound the throughput: thirty logins at once take three service times, and all succeed", "[lab][beside]") {
  const TestFolder folder;
  Auth auth(folder, "auth1", {"--slots", "10", "--service-time", "100ms"});
  const std::string address = auth.address();
  const SystemClock clock;
  const TimePoint began = clock.now();
  std::vector<std::future<std::optional<LabReply>>> logins;
  for (int i = 1; i <= 30; ++i) {
    const std::string n = std::to_string(i);
    const LabRequest request{address, "POST", "/login", "user=user" + n + "&password=pw" + n, ""};
    logins.push_back(std::async(std::launch::async, [request] { return http_exchange(request, kPatience); }));
  }
  for (auto& pending : logins) {
    const auto reply = pending.get();
    REQUIRE(reply);
    CHECK(reply->status == 200);
  }
  CHECK(clock.now() - began >= 300ms);
  CHECK(stats(address)["ok"] == 30);
}

TEST_CASE("a login whose client has hung up is still worked off", "[lab][beside]") {
  const TestFolder folder;
  Auth auth(folder, "auth1", {"--service-time", "100ms"});
  const std::string address = auth.address();
  CHECK(!http_exchange({address, "POST", "/login", "user=user1&password=pw1", ""}, 30ms));
  CHECK(eventually([&] { return stats(address)["abandoned"] == 1; }));
  CHECK(stats(address)["ok"] == 0);
}

TEST_CASE("a login server that cannot start says why", "[lab][beside]") {
  const TestFolder folder;
  Auth first(folder, "first", {});
  Auth second(folder, "second", {"--listen", first.address()});
  CHECK(second.exit_code() == 69);
  CHECK_THAT(second.log(), Catch::Contains("cannot listen on " + first.address()));
  Auth third(folder, "third", {"--slots", "0"});
  CHECK(third.exit_code() == 64);
  CHECK_THAT(third.log(), Catch::Contains("--slots \"0\""));
  Auth fourth(folder, "fourth", {"--listen", "0.0.0.0:0"});
  CHECK(fourth.exit_code() == 64);
}

TEST_CASE("a login server ends when its parent is killed", "[lab][beside]") {
  const TestFolder folder;
  LabCommand command;
  const std::string script = "\"$0\" --parent $$ >\"$1/log\" & echo $! >\"$1/pid\"; wait";
  command.words = {"/bin/sh", "-c", script, kProgram, folder.path().string()};
  command.dies_with_parent = true;
  const LabProcess shell = start(command);
  REQUIRE(eventually([&] { return text_of(folder / "log").find("listening") != std::string::npos; }));
  const auto auth = find_lab_process(std::stoi(text_of(folder / "pid")));
  REQUIRE(auth);
  signal_all({shell}, SIGKILL);
  CHECK(eventually([&] { return state_of(*auth) == LabProcessState::gone; }));
  wait_until_gone(SystemClock(), {shell}, SystemClock().now() + kPatience);
}

TEST_CASE("a login server whose database never answers is not healthy, and turns logins away in time", "[lab][beside]") {
  const TestFolder folder;
  asio::io_context io;
  asio::ip::tcp::acceptor silent(io, {asio::ip::address_v4::loopback(), 0});  // connections wait in its backlog for ever
  std::ofstream(folder / "key") << "secret";
  Auth auth(folder, "auth1", {"--database", "127.0.0.1:" + std::to_string(silent.local_endpoint().port()), "--database-password-file", (folder / "key").string(), "--database-timeout", "300ms"});
  const std::string address = auth.address();
  CHECK(ask({address, "GET", "/health", "", ""}).status == 503);
  const SystemClock clock;
  const TimePoint asked = clock.now();
  const LabReply reply = login(address, "user=user1&password=pw1");
  CHECK(reply.status == 503);
  CHECK(reply.body.find("the database does not answer") != std::string::npos);
  CHECK(clock.now() - asked >= 300ms);
  CHECK(stats(address)["unavailable"] == 1);
  CHECK(stats(address)["busy"] == 0);
}
