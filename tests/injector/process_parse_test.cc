// What /proc says of processes, read by total parsers, and how a process is known again where the kernel has no pidfs.
#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "injector/targets/process_selector.h"

using namespace capsize;

namespace {

std::string stat_line(int pid, const std::string& name, char state, int parent, std::uint64_t start, std::uint64_t flags = 4194304) {
  return std::to_string(pid) + " (" + name + ") " + state + " " + std::to_string(parent) + " 7 7 0 -1 " + std::to_string(flags) +
         " 10 0 0 0 31 11 0 0 20 0 3 0 " + std::to_string(start) + " 4096 100 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";
}

std::string status_text(int pid, int group, char state, int tracer = 0, const std::string& pending = "0000000000000000") {
  return "Name:\tx\nUmask:\t0022\nState:\t" + std::string(1, state) + " (as it is)\nTgid:\t" + std::to_string(group) + "\nNgid:\t0\nPid:\t" + std::to_string(pid) +
         "\nPPid:\t1\nTracerPid:\t" + std::to_string(tracer) + "\nSigQ:\t0/7\nSigPnd:\t0000000000000000\nShdPnd:\t" + pending + "\n";
}

class FakeProc {
 public:
  FakeProc() {
    std::string pattern = (std::filesystem::temp_directory_path() / "capsize-proc-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    write("sys/kernel/random/boot_id", "aaaa-bbbb\n");
    write("stat", "cpu  1 2 3\nbtime 1700000000\n");
  }
  ~FakeProc() { std::filesystem::remove_all(root_); }
  FakeProc(const FakeProc&) = delete;
  FakeProc& operator=(const FakeProc&) = delete;

  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  void add(int pid, int parent, std::uint64_t start, const std::string& program = "program", std::uint64_t flags = 4194304) const {
    const std::string folder = std::to_string(pid);
    write(program, "");
    write(folder + "/stat", stat_line(pid, "x", 'S', parent, start, flags));
    write(folder + "/status", status_text(pid, pid, 'S'));
    write(folder + "/task/" + folder + "/status", status_text(pid, pid, 'S'));
    std::filesystem::remove(root_ / folder / "exe");
    std::filesystem::create_symlink(root_ / program, root_ / folder / "exe");
  }
  void remove(int pid) const { std::filesystem::remove_all(root_ / std::to_string(pid)); }
  std::filesystem::path root() const { return root_; }
  ProcFs proc() const { return ProcFs(root_.string(), false); }

 private:
  std::filesystem::path root_;
};

ErrorKind kind_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    CHECK_FALSE(error.fact().empty());
    return error.kind();
  }
  return ErrorKind::bug;
}

}  // namespace

TEST_CASE("the stat of a process is read whatever its name holds", "[process]") {
  for (const char* name : {"haproxy", "", "a b", "tmux: server", "a) S 1 2 (b", "))))", "((", "x\ny) R 9", ") Z 1 1 1 1 1 1 1"}) {
    const auto stat = parse_proc_stat(stat_line(321, name, 'R', 17, 987654321));
    REQUIRE(stat);
    CHECK(stat->pid == 321);
    CHECK(stat->comm == name);
    CHECK(stat->state == 'R');
    CHECK(stat->parent == 17);
    CHECK(stat->flags == 4194304);
    CHECK(stat->cpu_ticks == 42);
    CHECK(stat->threads == 3);
    CHECK(stat->start_ticks == 987654321);
  }
}

TEST_CASE("a stat or status cut at any length is nothing or what it was, never a crash", "[process]") {
  const std::string line = stat_line(321, "a) b", 'R', 17, 5);
  const std::string status = status_text(321, 321, 'T', 9);
  int stats = 0;
  for (std::size_t length = 0; length < line.size(); ++length) {
    const auto stat = parse_proc_stat(std::string_view(line).substr(0, length));
    if (stat) CHECK(stat->start_ticks == 5);
    stats += stat ? 1 : 0;
  }
  CHECK(stats > 0);
  CHECK(stats < static_cast<int>(line.size()) / 2 + 60);
  for (std::size_t length = 0; length < status.size() - 20; ++length) CHECK_FALSE(parse_proc_status(std::string_view(status).substr(0, length)));
  for (const char* wrong : {"", "(", ")", ")(", "1 () ", "x (y) S 1", "1 (y) S x 1 1 1 1 1", "1 (y)S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"}) CHECK_FALSE(parse_proc_stat(wrong));
}

TEST_CASE("the status of a thread says state, group, tracer and a stop on its way", "[process]") {
  const auto traced = parse_proc_status(status_text(12, 10, 't', 99));
  REQUIRE(traced);
  CHECK(traced->state == 't');
  CHECK(traced->thread_group == 10);
  CHECK(traced->tracer == 99);
  CHECK_FALSE(traced->stop_pending);
  CHECK(parse_proc_status(status_text(12, 10, 'R', 0, "0000000000040000"))->stop_pending);        // SIGSTOP
  CHECK(parse_proc_status(status_text(12, 10, 'R', 0, "0000000000080000"))->stop_pending);        // SIGTSTP
  CHECK_FALSE(parse_proc_status(status_text(12, 10, 'R', 0, "0000000000020000"))->stop_pending);  // SIGCONT
}

TEST_CASE("a pid is a whole number of the kernel's range, as a number or a text", "[process]") {
  CHECK(std::get<Pid>(ParamTraits<Pid>::parse(123)).value == 123);
  CHECK(std::get<Pid>(ParamTraits<Pid>::parse("123")).value == 123);
  CHECK(std::get<Pid>(ParamTraits<Pid>::parse(4194304)).value == 4194304);
  for (const Json& wrong : {Json(0), Json(-5), Json(4194305), Json(1.5), Json(""), Json("12 13"), Json("-1"), Json("+1"), Json(" 1"), Json("0x10"), Json("99999999999999999999"), Json(true), Json(nullptr)}) {
    INFO(wrong.dump());
    CHECK(std::holds_alternative<Mistake>(ParamTraits<Pid>::parse(wrong)));
  }
}

TEST_CASE("a process is named by its pid or its pid file, by one of them", "[process]") {
  const auto problems = [](const Json& target) {
    Diagnostics diagnostics;
    process_spec().validate(target, "/targets/auth1", {"type", "host"}, diagnostics);
    return diagnostics.text("p.json");
  };
  CHECK(problems({{"type", "process"}, {"pid", 12}}) == "");
  CHECK(problems({{"type", "process"}, {"pid_file", "/run/x.pid"}}) == "");
  CHECK(problems({{"type", "process"}}).find("is given; add one of them") != std::string::npos);
  CHECK(problems({{"pid", 12}, {"pid_file", "/run/x.pid"}}).find("/targets/auth1/pid_file: \"pid_file\" beside \"pid\"") != std::string::npos);
  CHECK(problems({{"pid_file", "run/x.pid"}}).find("is not an absolute path; begin it with /") != std::string::npos);
  CHECK(problems({{"pidfile", "/run/x.pid"}}).find("did you mean \"pid_file\"?") != std::string::npos);
  const Json schema = schema_of(process_spec());
  CHECK(schema["allOf"][0]["oneOf"].size() == 6);
  CHECK(schema["allOf"][0]["oneOf"][0] == Json{{"required", {"pid"}}});
}

TEST_CASE("the identity of a process survives JSON, and what is not one is no identity", "[process]") {
  TargetProcess process{"aaaa-bbbb", 12, 345, 678, 4026531836, ExeFile{1, 2, "/usr/sbin/haproxy"}, "haproxy"};
  CHECK(target_process_from_json(Json::parse(to_json(process).dump())) == process);
  process.pidfs_inode.reset();
  process.exe.reset();
  CHECK(target_process_from_json(to_json(process)) == process);
  const Json whole = to_json(process);
  for (const auto& [key, value] : whole.items()) {
    Json without = whole;
    without.erase(key);
    CHECK_THROWS_AS(target_process_from_json(without), Error);
  }
  for (const Json& wrong : {Json(), Json(3), Json::array(), Json{{"pid", "12"}}}) CHECK_THROWS_AS(target_process_from_json(wrong), Error);
}

TEST_CASE("without pidfs a process is the same by boot, start and program, and a doubt is no answer", "[process]") {
  FakeProc fake;
  fake.add(50, 1, 1000);
  const TargetProcess process = fake.proc().identify(50);
  const auto now = [&] { return fake.proc().same_process(process).answer; };
  CHECK(now() == Proof::yes);
  fake.add(50, 1, 1001);
  CHECK(now() == Proof::no);  // another start
  fake.add(50, 1, 1000, "other");
  CHECK(now() == Proof::cannot_tell);  // replaced its program, or is another of the same tick
  std::filesystem::remove(fake.root() / "50/exe");
  CHECK(now() == Proof::cannot_tell);  // its program is out of sight
  fake.add(50, 1, 1000);
  CHECK(now() == Proof::yes);
  fake.write("50/stat", "garbage");
  CHECK(now() == Proof::cannot_tell);
  fake.remove(50);
  CHECK(now() == Proof::no);
  fake.add(50, 1, 1000);
  fake.write("sys/kernel/random/boot_id", "cccc\n");
  CHECK(now() == Proof::no);  // the machine was restarted
  std::filesystem::remove(fake.root() / "sys/kernel/random/boot_id");
  CHECK(now() == Proof::cannot_tell);
}

TEST_CASE("without pidfs a process that is found in another cgroup may be another one, unless capsize has moved it", "[process]") {
  FakeProc fake;
  fake.add(50, 1, 1000);
  fake.write("50/cgroup", "2:cpu:/a\n0::/system.slice/x.service\n");
  const TargetProcess process = fake.proc().identify(50);
  CHECK(process.cgroups == std::map<std::string, std::string>{{"", "/system.slice/x.service"}, {"cpu", "/a"}});
  CHECK(target_process_from_json(Json::parse(to_json(process).dump())) == process);
  const auto now = [&](const char* cgroups) {
    fake.write("50/cgroup", cgroups);
    return fake.proc().same_process(process).answer;
  };
  CHECK(now("2:cpu:/a\n0::/system.slice/x.service\n") == Proof::yes);
  CHECK(now("2:cpu:/capsize_1\n0::/system.slice/x.service\n") == Proof::yes);
  CHECK(now("2:cpu:/b\n0::/system.slice/x.service\n") == Proof::cannot_tell);
  CHECK(now("2:cpu:/a\n0::/system.slice/y.service\n") == Proof::cannot_tell);
  CHECK(now("0::/system.slice/x.service\n") == Proof::cannot_tell);
  CHECK(now("") == Proof::cannot_tell);
}

TEST_CASE("a process of another pid namespace cannot be told from here", "[process]") {
  FakeProc fake;
  fake.add(50, 1, 1000);
  fake.write("self/ns/pid", "");
  TargetProcess process = fake.proc().identify(50);
  CHECK(fake.proc().same_process(process).answer == Proof::yes);
  process.pid_namespace += 1;
  CHECK(fake.proc().same_process(process).answer == Proof::cannot_tell);
}

TEST_CASE("what does not exist and what is a thread are not identified", "[process]") {
  FakeProc fake;
  CHECK(kind_of([&] { fake.proc().identify(50); }) == ErrorKind::unavailable);
  fake.add(50, 1, 1000);
  fake.write("50/status", status_text(50, 49, 'S'));
  CHECK(kind_of([&] { fake.proc().identify(50); }) == ErrorKind::refused);
}

TEST_CASE("pid 1, capsize, its ancestors, and threads of the kernel are never targets", "[process]") {
  FakeProc fake;
  const int self = ::getpid();
  fake.add(self, 4'000'001, 1000);
  fake.add(4'000'001, 4'000'002, 900);
  fake.add(4'000'002, 1, 800);
  fake.add(1, 0, 1);
  fake.add(4'000'003, 1, 1200, "server");
  fake.add(4'000'004, 2, 2, "none", 0x00208040);
  CHECK(fake.proc().ancestors(self) == std::vector<int>{4'000'001, 4'000'002, 1});
  const auto why = [&](int pid) { return never_a_target(pid, fake.proc()); };
  CHECK(why(1) == "process 1 is the first process of this machine or container");
  CHECK(why(self).find("is capsize itself") != std::string::npos);
  CHECK(why(4'000'001).find("ancestor") != std::string::npos);
  CHECK(why(4'000'002).find("ancestor") != std::string::npos);
  CHECK(why(4'000'003) == "");
  CHECK(why(4'000'004).find("thread of the kernel") != std::string::npos);
  fake.add(self, 4'000'001, 1000, "capsize");
  fake.add(4'000'006, 1, 1300, "capsize");
  CHECK(why(4'000'006).find("is another capsize") != std::string::npos);
  CHECK(why(4'000'003) == "");
}

TEST_CASE("a pid file names one process that is not younger than the file", "[process]") {
  FakeProc fake;
  fake.add(50, 1, 0);
  const std::string file = (fake.root() / "x.pid").string();
  const auto holding = [&](const std::string& text) {
    std::ofstream(file) << text;
    return [&] { return fake.proc().pid_from_file(file); };
  };
  CHECK(holding("50\n")() == 50);
  CHECK(holding("  50")() == 50);
  for (const char* wrong : {"", "\n", "abc", "50 51", "50\n51\n", "-1", "0"}) CHECK(kind_of(holding(wrong)) == ErrorKind::unavailable);
  CHECK(kind_of(holding("51")) == ErrorKind::unavailable);  // no such process
  fake.add(50, 1, static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)) * 1'000'000'000);  // started decades after the file was written
  CHECK(kind_of(holding("50")) == ErrorKind::refused);
  CHECK(kind_of([&] { fake.proc().pid_from_file("/nonexistent.pid"); }) == ErrorKind::unavailable);
  CHECK(kind_of([&] { fake.proc().pid_from_file(fake.root().string()); }) == ErrorKind::refused);
}
