// The lab's PostgreSQL: who it runs as, that logins ask it, and what is left of it.
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "experiments/lab/child_process.h"
#include "experiments/lab/http_exchange.h"
#include "experiments/lab/lab_database.h"
#include "experiments/lab/lab_files.h"
#include "tests/system/lab_fixture.h"
#include "tests/system/machine.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

pid_t pid_of(const Json& info, const std::string& part) { return static_cast<pid_t>(std::stol(info.at("variables").at(part + "_pid").get<std::string>())); }

unsigned login(const std::string& address, const std::string& user, const std::string& password) {
  const auto reply = http_exchange({address, "POST", "/login", "user=" + user + "&password=" + password, ""}, 20s);
  return reply ? reply->status : 0;
}

// The postmaster and every process of its own.
std::vector<LabProcess> processes_of(pid_t postmaster) {
  std::vector<LabProcess> all = {find_lab_process(postmaster).value()};
  std::ifstream children("/proc/" + std::to_string(postmaster) + "/task/" + std::to_string(postmaster) + "/children");
  for (pid_t child = 0; children >> child;) {
    if (const auto process = find_lab_process(child)) all.push_back(*process);
  }
  return all;
}

bool shared_memory_of(pid_t creator) {
  shmid_ds segment{};
  for (int index = 0, last = ::shmctl(0, SHM_INFO, &segment); index <= last; ++index) {
    if (::shmctl(index, SHM_STAT, &segment) >= 0 && segment.shm_cpid == creator) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("every login asks the database, which never runs as root", "[lab][beside]") {
  const LabFixture lab;
  const pid_t postmaster = pid_of(lab.info(), "database");
  struct stat owner {};
  REQUIRE(::stat(("/proc/" + std::to_string(postmaster)).c_str(), &owner) == 0);
  CHECK(owner.st_uid != 0);
  if (::geteuid() != 0) CHECK(owner.st_uid == ::geteuid());
  const std::string server = lab.variable("auth1_address");
  CHECK(login(server, "user500", "pw500") == 200);
  CHECK(login(server, "user500", "pw499") == 401);
  CHECK(login(server, "user501", "pw501") == 401);
  CHECK(login(server, "user1%00", "pw1") == 401);
  CHECK(login(server, "user1'--", "pw1") == 401);
  // Nothing that logins could fall back on.
  signal_all({find_lab_process(postmaster).value()}, SIGQUIT);
  REQUIRE(eventually([&] { return !find_lab_process(postmaster); }, 20s));
  CHECK(login(server, "user500", "pw500") == 503);
  CHECK(state_of(find_lab_process(pid_of(lab.info(), "auth1")).value()) == LabProcessState::running);
}

TEST_CASE("a server that waits for the database at the start is not out of service when the lab is up", "[lab][beside]") {
  const LabFixture lab("hardened");
  const std::string servers = ask_haproxy(lab.variable("balancer_socket"), "show stat auth 4 -1");
  INFO(servers);
  CHECK(servers.find(",UP") != std::string::npos);
  CHECK(servers.find("DOWN") == std::string::npos);
}

TEST_CASE("a database that hangs costs each login its timeout and a 503, and is asked again when it goes on", "[lab][beside]") {
  const LabFixture lab;
  const std::string server = lab.variable("auth1_address");
  const auto all = processes_of(pid_of(lab.info(), "database"));
  REQUIRE(all.size() > 5);
  signal_all(all, SIGSTOP);
  const SystemClock clock;
  const TimePoint asked = clock.now();
  CHECK(login(server, "user3", "pw3") == 503);
  CHECK(clock.now() - asked >= 900ms);
  CHECK(http_exchange({server, "GET", "/health", "", ""}, 20s)->status == 200);  // it is not the server that is ill
  signal_all(all, SIGCONT);
  CHECK(eventually([&] { return login(server, "user3", "pw3") == 200; }, 30s));
}

TEST_CASE("of a database nothing is left: no process, no file, no shared memory, even after SIGKILL", "[lab][beside]") {
  const TestFolder folder;
  const LabOptions options = lab_options(folder / "lab");
  const Json killed = lab_up(options);
  const pid_t postmaster = pid_of(killed, "database");
  CHECK(shared_memory_of(postmaster));
  const auto all = processes_of(postmaster);
  signal_all({lab_supervisor(killed).value()}, SIGKILL);
  for (const LabProcess& process : all) CHECK(eventually([&] { return state_of(process) == LabProcessState::gone; }, 20s));
  CHECK(std::filesystem::exists(folder / "lab" / "database"));
  CHECK_FALSE(lab_down(folder / "lab"));
  CHECK_FALSE(std::filesystem::exists(folder / "lab"));
  CHECK_FALSE(shared_memory_of(postmaster));
  const Json fresh = lab_up(options);
  CHECK(lab_down(folder / "lab"));
  CHECK_FALSE(shared_memory_of(pid_of(fresh, "database")));
  CHECK_FALSE(std::filesystem::exists(folder / "lab"));
}

TEST_CASE("a folder that a lab did not make is never removed, nor used", "[lab][beside]") {
  const TestFolder folder;
  std::filesystem::create_directories(folder / "lab" / "database");
  std::ofstream(folder / "lab" / "database" / "precious") << "mine";
  CHECK_THROWS_WITH(lab_up(lab_options(folder / "lab")), Catch::Contains("is in the way"));
  lab_down(folder / "lab");
  CHECK(std::filesystem::exists(folder / "lab" / "database" / "precious"));
}

TEST_CASE("where PostgreSQL is missing the lab names the package, and comes up without a database when asked to", "[lab][beside]") {
  if (::geteuid() != 0) return;  // hiding the programs takes a mount
  const TestFolder folder;
  const auto hidden = [&](const std::string& flags) {
    LabCommand command;
    command.words = {"/usr/bin/unshare", "-m", "/bin/sh", "-c", "mount -t tmpfs none /usr/lib/postgresql && exec \"$0\" lab up --dir \"$1\" " + flags + " 2>\"$2\"", CAPSIZE_BINARY_DIR "/capsize",
                     (folder / "lab").string(), (folder / "said").string()};
    int status = 0;
    ::waitpid(start(command).pid, &status, 0);
    return WEXITSTATUS(status);
  };
  CHECK(hidden("") == 69);
  std::stringstream said;
  said << std::ifstream(folder / "said").rdbuf();
  CHECK(said.str().find("install the package postgresql") != std::string::npos);
  CHECK(hidden("--no-database") == 0);
  const auto info = read_lab_file(folder / "lab");
  REQUIRE(info);
  CHECK_FALSE(info->at("variables").contains("database_address"));
  CHECK(login(info->at("variables").at("balancer_address"), "user1", "pw1") == 200);
  CHECK(lab_down(folder / "lab"));
}
