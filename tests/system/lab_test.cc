// The lab as a whole: it comes up, says where everything is, and leaves nothing behind however it ends.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "experiments/lab/child_process.h"
#include "experiments/lab/haproxy_config.h"
#include "experiments/lab/http_exchange.h"
#include "experiments/lab/lab_files.h"
#include "experiments/lab/lab_supervisor.h"
#include "injector/base/unique_fd.h"
#include "tests/system/lab_fixture.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

std::string read_text_file(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

bool all_gone(const Json& info) {
  for (const LabProcess& process : lab_processes(info)) {
    if (state_of(process) != LabProcessState::gone) return false;
  }
  return true;
}

LabProcess part(const Json& info, const std::string& name) {
  for (const Json& entry : info.at("processes")) {
    if (entry.at("name") == name) return lab_process_from_json(entry).value();
  }
  throw std::runtime_error("no part " + name);
}

std::string state_in(const Json& status, const std::string& name) {
  for (const Json& entry : status.at("processes")) {
    if (entry.at("name") == name) return entry.at("state");
  }
  return "missing";
}

// A supervisor that the test itself owns, as `capsize run --lab` does.
struct Owned {
  UniqueFd owner;
  UniqueFd says;
  LabProcess process;
  Json info;
};

Owned serve(const LabOptions& options, std::vector<std::string> prefix = {}) {
  int owner[2];
  int says[2];
  REQUIRE(::pipe2(owner, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(says, O_CLOEXEC) == 0);
  const UniqueFd in(owner[0]);
  UniqueFd out(says[1]);
  LabCommand command;
  command.words = std::move(prefix);
  for (const std::string& word : {(options.programs / "capsize").string(), std::string("lab"), std::string("serve")}) command.words.push_back(word);
  for (const std::string& word : lab_serve_words(options, true)) command.words.push_back(word);
  command.in = in.get();
  command.out = out.get();
  command.err = STDERR_FILENO;
  Owned owned{UniqueFd(owner[1]), UniqueFd(says[0]), start(command), Json()};
  out.reset();  // or the end of the supervisor would not be the end of the file
  std::string line;
  char byte = 0;
  while (::read(owned.says.get(), &byte, 1) == 1 && byte != '\n') line.push_back(byte);
  owned.info = Json::parse(line, nullptr, false);
  return owned;
}

int exit_code_of(const LabProcess& process) {
  int status = 0;
  ::waitpid(process.pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("HAProxy accepts the configuration of each profile without a warning", "[lab][beside]") {
  const TestFolder folder;
  for (const LabProfile profile : {LabProfile::as_it_was, LabProfile::hardened}) {
    HaproxyConfig config;
    config.profile = profile;
    config.frontend = "127.0.0.1:20000";
    config.socket = folder / "haproxy.sock";
    config.servers = {{"auth1", "127.0.0.1:20001"}, {"auth2", "127.0.0.1:20002"}, {"auth3", "127.0.0.1:20003"}};
    config.open_files = 1024;
    write_file(folder / "haproxy.cfg", haproxy_config(config));
    const UniqueFd log(::open((folder / "log").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    LabCommand command;
    // -dW: a warning is an error.
    command.words = {"/usr/sbin/haproxy", "-c", "-dW", "-f", (folder / "haproxy.cfg").string()};
    command.out = log.get();
    command.err = log.get();
    const int code = exit_code_of(start(command));
    INFO(log_tail(folder / "log"));
    CHECK(code == 0);
  }
}

TEST_CASE("a lab comes up, answers logins, and goes down without leaving a process or a file", "[lab][beside]") {
  for (const std::string profile : {"as-it-was", "hardened"}) {
    const TestFolder folder;
    const std::filesystem::path dir = folder / "lab";
    const Json info = lab_up(lab_options(dir, profile));
    CHECK(info["already_up"] == false);
    CHECK(info["profile"] == profile);
    CHECK(read_lab_file(dir).value()["variables"] == info["variables"]);
    const Json& variables = info.at("variables");
    CHECK(variables["backend"] == "auth");
    CHECK(std::filesystem::is_socket(variables["balancer_socket"].get<std::string>()));
    CHECK(variables["login_url"] == info["frontend"].get<std::string>() + "/login");
    for (const std::string name : {"auth1", "auth2", "auth3", "database"}) CHECK(variables[name + "_pid"] == std::to_string(part(info, name).pid));
    const auto login = http_exchange({variables["balancer_address"], "POST", "/login", "user=user9&password=pw9", ""}, 10s);
    REQUIRE(login);
    CHECK(login->status == 200);

    const Json status = lab_status(dir);
    CHECK(status["up"] == true);
    CHECK(status["frontend"]["answering"] == true);
    for (const std::string name : {"auth1", "auth2", "auth3", "haproxy", "database"}) CHECK(state_in(status, name) == "running");
    CHECK(status["servers"].size() == 3);
    for (const Json& server : status["servers"]) CHECK(server["answering"] == true);

    CHECK(lab_down(dir));
    CHECK(all_gone(info));
    CHECK(!std::filesystem::exists(dir));
    CHECK(lab_status(dir)["up"] == false);
    CHECK(!lab_down(dir));
  }
}

TEST_CASE("a second up finds the lab that is there, and refuses to turn it into another", "[lab][beside]") {
  const TestFolder folder;
  const LabOptions options = lab_options(folder / "lab");
  const Json first = lab_up(options);
  const Json second = lab_up(options);
  CHECK(second["already_up"] == true);
  CHECK(second["processes"] == first["processes"]);
  CHECK_THROWS_WITH(lab_up(lab_options(folder / "lab", "hardened")), Catch::Contains("as-it-was is up"));
  CHECK_THROWS_WITH(OwnedLab(options), Catch::Contains("another lab is running"));
  CHECK(lab_status(folder / "lab")["up"] == true);
  CHECK(lab_down(folder / "lab"));
}

TEST_CASE("a supervisor that is killed takes its lab along, and the next up starts afresh", "[lab][beside]") {
  const TestFolder folder;
  const LabOptions options = lab_options(folder / "lab");
  const Json killed = lab_up(options);
  for (const std::string stopped : {"auth2", "database"}) signal_all({part(killed, stopped)}, SIGSTOP);  // a stopped part must go too
  signal_all({lab_supervisor(killed).value()}, SIGKILL);
  CHECK(eventually([&] { return all_gone(killed); }));
  CHECK(lab_status(folder / "lab")["up"] == false);
  const Json fresh = lab_up(options);
  CHECK(fresh["already_up"] == false);
  CHECK(lab_down(folder / "lab"));
  CHECK(all_gone(fresh));
  CHECK(!std::filesystem::exists(folder / "lab"));
}

TEST_CASE("an owned lab ends with its owner, be it by SIGKILL", "[lab][beside]") {
  const TestFolder folder;
  const LabOptions options = lab_options(folder / "lab");
  const pid_t owner = ::fork();
  REQUIRE(owner >= 0);
  if (owner == 0) {
    const OwnedLab lab(options);
    for (;;) ::pause();
  }
  const auto file = [&] { return read_lab_file(folder / "lab"); };
  REQUIRE(eventually([&] { return file().has_value(); }, 20s));
  const Json info = file().value();
  CHECK(!all_gone(info));
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  CHECK(eventually([&] { return all_gone(info); }));
  CHECK(!file());
}

TEST_CASE("an owned lab is gone, with its files, when the object is", "[lab][beside]") {
  Json info;
  std::filesystem::path file;
  {
    const LabFixture lab("hardened");
    info = lab.info();
    file = lab.file();
    CHECK(std::filesystem::exists(file));
    CHECK(!all_gone(info));
  }
  CHECK(all_gone(info));
  CHECK(!std::filesystem::exists(file.parent_path()));
}

TEST_CASE("a signal ends the lab as the end of its owner does", "[lab][beside]") {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    const TestFolder folder;
    const Owned owned = serve(lab_options(folder.path()));
    REQUIRE(owned.info.contains("ready"));
    signal_all({owned.process}, signal);
    CHECK(exit_code_of(owned.process) == 0);
    CHECK(all_gone(owned.info["ready"]));
    CHECK(!std::filesystem::exists(folder / "lab.json"));
  }
}

TEST_CASE("a server that ends is started again 3 s later, and the files of the lab say so, the rest stays up", "[lab][beside]") {
  const TestFolder folder;
  const Owned owned = serve(lab_options(folder.path()));
  REQUIRE(owned.info.contains("ready"));
  const Json before = owned.info["ready"];
  const SystemClock clock;
  const TimePoint killed = clock.now();
  for (const std::string name : {"auth2", "auth2", "auth1"}) {
    const LabProcess old = part(read_lab_file(folder.path()).value(), name);
    signal_all({old}, SIGKILL);
    CHECK(eventually([&] { return state_in(lab_status(folder.path()), name) == "gone"; }));
    REQUIRE(eventually([&] { return part(read_lab_file(folder.path()).value(), name) != old; }, 30s));
    const LabProcess now = part(read_lab_file(folder.path()).value(), name);
    CHECK(read_text_file(folder / (name + ".pid")) == std::to_string(now.pid) + "\n");
  }
  CHECK(clock.now() - killed > 8s);
  const Json info = read_lab_file(folder.path()).value();
  CHECK(info["variables"]["auth2_pid"] == std::to_string(part(info, "auth2").pid));
  CHECK(info["started"] == before["started"]);
  CHECK(part(info, "auth3") == part(before, "auth3"));
  CHECK(eventually([&] { return lab_status(folder.path())["servers"][1]["answering"] == true; }));
  CHECK(lab_status(folder.path())["frontend"]["answering"] == true);
  CHECK(log_tail(folder / "auth2.log").find("listening") != std::string::npos);
  signal_all({owned.process}, SIGTERM);
  CHECK(exit_code_of(owned.process) == 0);
  CHECK(all_gone(info));
}

TEST_CASE("a balancer that ends is reported and not started again, and the rest stays up", "[lab][beside]") {
  const TestFolder folder;
  const Owned owned = serve(lab_options(folder.path()));
  REQUIRE(owned.info.contains("ready"));
  const Json info = owned.info["ready"];
  signal_all({part(info, "haproxy")}, SIGKILL);
  CHECK(eventually([&] { return state_in(lab_status(folder.path()), "haproxy") == "gone"; }));
  signal_all({part(info, "auth3")}, SIGSTOP);
  CHECK(eventually([&] { return state_in(lab_status(folder.path()), "auth3") == "stopped"; }));
  const Json status = lab_status(folder.path());
  CHECK(status["up"] == true);
  CHECK(status["frontend"]["answering"] == false);
  CHECK(state_in(status, "auth1") == "running");
  CHECK(status["servers"][0]["answering"] == true);
  CHECK(status["servers"][2]["answering"] == false);
  CHECK(!eventually([&] { return state_in(lab_status(folder.path()), "haproxy") != "gone"; }, kLabRestartAfter + 2s));
  signal_all({owned.process}, SIGTERM);
  CHECK(exit_code_of(owned.process) == 1);
  CHECK(all_gone(info));
}

TEST_CASE("a lab listens where it is told to, and names a port that is taken", "[lab][beside]") {
  const TestFolder folder;
  LabOptions options = lab_options(folder / "lab");
  const std::string chosen = lab_up(options)["variables"]["balancer_address"];
  CHECK(lab_down(options.dir));
  options.port_base = std::stoi(chosen.substr(chosen.rfind(':') + 1));
  const Json info = lab_up(options);
  CHECK(info["variables"]["balancer_address"] == chosen);
  CHECK(info["variables"]["auth3_address"] == "127.0.0.1:" + std::to_string(options.port_base + 3));
  LabOptions rival = options;
  rival.dir = folder / "rival";
  CHECK_THROWS_WITH(lab_up(rival), Catch::Contains("port " + std::to_string(options.port_base)) && Catch::Contains("is taken"));
  CHECK(lab_down(options.dir));
}

TEST_CASE("a lab that does not get ready says which part failed, with its log, and leaves nothing running", "[lab][beside]") {
  const TestFolder folder;
  LabOptions options = lab_options(folder / "lab");
  options.programs = folder.path();
  std::filesystem::create_symlink(CAPSIZE_BINARY_DIR "/capsize", folder / "capsize");
  CHECK_THROWS_WITH(lab_up(options), Catch::Contains("cannot execute") && Catch::Contains("capsize-auth"));
  std::ofstream(folder / "capsize-auth") << "#!/bin/sh\necho no luck today\nexit 3\n";
  std::filesystem::permissions(folder / "capsize-auth", std::filesystem::perms::owner_all);
  CHECK_THROWS_WITH(lab_up(options), Catch::Contains("auth1 of the lab ended at once") && Catch::Contains("no luck today"));
  CHECK(lab_status(options.dir)["up"] == false);
  CHECK_THROWS_WITH(lab_up(lab_options(folder / std::string(120, 'd'))), Catch::Contains("too long for a unix socket"));
  CHECK_THROWS_WITH(lab_up(lab_options(folder / "lab", "softened")), Catch::Contains("no profile \"softened\""));
}

TEST_CASE("a lab needs no privilege", "[lab][beside]") {
  if (::geteuid() != 0) return;  // then every other test here shows it
  const TestFolder folder;
  constexpr ::uid_t kNobody = 65534;
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
  for (const std::string program : {"capsize", "capsize-auth"}) std::filesystem::copy_file(std::filesystem::path(CAPSIZE_BINARY_DIR) / program, folder / program);
  LabOptions options = lab_options(folder / "lab");
  options.programs = folder.path();
  REQUIRE(::mkdir(options.dir.c_str(), 0700) == 0);
  REQUIRE(::chown(options.dir.c_str(), kNobody, kNobody) == 0);
  const Owned owned = serve(options, {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"});
  INFO(owned.info.dump());
  REQUIRE(owned.info.contains("ready"));
  struct stat status {};
  for (const std::string name : {"haproxy", "database"}) {
    REQUIRE(::stat(("/proc/" + std::to_string(part(owned.info["ready"], name).pid)).c_str(), &status) == 0);
    CHECK(status.st_uid == kNobody);
  }
  signal_all({owned.process}, SIGTERM);
  CHECK(exit_code_of(owned.process) == 0);
  CHECK(all_gone(owned.info["ready"]));
}
