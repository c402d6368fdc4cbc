// Which processes a target means: what a selector may say, and which of those that match are chosen.
#include <catch2/catch.hpp>

#include <set>

#include "injector/faults/process_targets.h"
#include "injector/targets/process_selector.h"
#include "tests/injector/process_view.h"

using namespace capsize;
using namespace capsize::test;

namespace {

ChosenProcesses choose(const std::vector<Json>& looks, Json target, std::uint64_t seed = 1) {
  FaultRequest request;
  request.target = std::move(target);
  request.seed = seed;
  return choose_among(request, found(looks));
}

std::vector<int> pids_of(const ChosenProcesses& chosen) {
  std::vector<int> out;
  for (const TargetProcess& process : chosen.processes) out.push_back(process.pid);
  return out;
}

std::vector<Json> workers(int count) {
  std::vector<Json> out;
  for (int i = 0; i < count; ++i) out.push_back(look_at(some_process(100 + i)));
  return out;
}

test::Refused refusal(const std::vector<Json>& looks, const Json& target) {
  return test::refused_by([&] { choose(looks, target); });
}

const Json kExe = {{"exe", "/usr/bin/server"}};
Json matching(const char* word) { return {{"exe", "/usr/bin/server"}, {"match", word}}; }

std::string problems(const Json& target) {
  Diagnostics diagnostics;
  process_spec().validate(target, "/targets/auth1", {"type", "host"}, diagnostics);
  return diagnostics.text("p.json");
}

}  // namespace

TEST_CASE("the one process that matches is chosen, and the plan says how it was found", "[process][targets]") {
  const ChosenProcesses chosen = choose(workers(1), kExe);
  CHECK(chosen.processes == std::vector<TargetProcess>{some_process(100)});
  CHECK(chosen.words == "process 100 (server)");
  CHECK(named(chosen) == "process 100 (server)");
  CHECK(chosen.how == Json::parse(R"({"selector": {"exe": "/usr/bin/server"}, "processes": "that run /usr/bin/server", "matching": 1, "chosen": [{"pid": 100, "name": "server"}]})"));
}

TEST_CASE("a selector that nothing matches is an error, and so is one that several match, unless it says how many", "[process][targets]") {
  const test::Refused none = refusal({}, kExe);
  CHECK(none.kind == ErrorKind::unavailable);
  CHECK(none.text.find("there are no processes that run /usr/bin/server") != std::string::npos);
  const test::Refused several = refusal(workers(7), kExe);
  CHECK(several.kind == ErrorKind::refused);
  CHECK(several.text.find("there are 7 processes that run /usr/bin/server: process 100 (server)") != std::string::npos);
  CHECK(several.text.find("\"match\"") != std::string::npos);
  CHECK(pids_of(choose(workers(3), matching("all"))) == std::vector<int>{100, 101, 102});
  CHECK(choose(workers(3), matching("all")).words == "all 3 processes that run /usr/bin/server");
  CHECK(choose(workers(7), matching("one")).words == "1 of 7 processes that run /usr/bin/server");
}

TEST_CASE("a share of those that match is rounded up, so that it is never none", "[process][targets]") {
  for (const auto& [share, of, count] : {std::tuple{"50%", 7, 4}, {"50%", 8, 4}, {"1%", 7, 1}, {"100%", 7, 7}, {"30%", 10, 3}, {"34%", 3, 2}, {"33.3%", 3, 1}}) {
    INFO(share << " of " << of);
    CHECK(choose(workers(of), matching(share)).processes.size() == static_cast<std::size_t>(count));
  }
}

TEST_CASE("chance repeats with the seed of the run, and chooses each of them with another", "[process][targets]") {
  std::set<int> ever;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const auto first = pids_of(choose(workers(5), matching("one"), seed));
    CHECK(first == pids_of(choose(workers(5), matching("one"), seed)));
    ever.insert(first.at(0));
    const auto half = pids_of(choose(workers(10), matching("50%"), seed));
    CHECK(half.size() == 5);
    CHECK(std::is_sorted(half.begin(), half.end()));
    CHECK(std::set<int>(half.begin(), half.end()).size() == 5);
  }
  CHECK(ever == std::set<int>{100, 101, 102, 103, 104});
  CHECK(choose(workers(5), matching("one"), 77).how["seed"] == 77);
}

TEST_CASE("what is never a target and what has ended does not count as a match", "[process][targets]") {
  const Json forbidden = look_at(some_process(5), {{"never_a_target", "process 5 is an ancestor of capsize"}});
  const Json ended = look_at(some_process(6), {{"ended", true}});
  CHECK(pids_of(choose({forbidden, ended, look_at(some_process(7))}, kExe)) == std::vector<int>{7});
  CHECK(pids_of(choose({forbidden, ended, look_at(some_process(7))}, matching("all"))) == std::vector<int>{7});
  CHECK(refusal({ended, forbidden}, matching("all")).kind == ErrorKind::refused);
  CHECK(refusal({ended, forbidden}, kExe).text.find("process 5 is an ancestor of capsize, and never a target") != std::string::npos);
  CHECK(refusal({ended}, kExe).kind == ErrorKind::unavailable);
  CHECK(refusal({ended}, kExe).text.find("process 6 (server) has ended") != std::string::npos);
}

TEST_CASE("what is no answer of the look is our mistake", "[process][targets]") {
  for (const Json& wrong : {Json(), Json::object(), Json{{"found", 3}, {"that", "x"}}, Json{{"found", {{{"ended", false}}}}, {"that", "x"}}}) {
    try {
      choose_among({}, wrong);
      FAIL("it was taken");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::bug);
    }
  }
}

TEST_CASE("a selector says exactly one thing, in a form that can match", "[process][targets]") {
  for (const Json& good : {Json{{"listens_on", "8443"}}, Json{{"listens_on", 8443}}, Json{{"listens_on", "127.0.0.1:8443"}}, Json{{"listens_on", "[::1]:8443"}}, Json{{"exe", "/usr/sbin/nginx"}, {"match", "all"}},
                           Json{{"exe", "/usr/bin/python3"}, {"arguments", {"server.py", "8081"}}, {"match", "one"}}, Json{{"unit", "nginx.service"}, {"match", "33.3%"}}, Json{{"cgroup", "/system.slice/nginx.service"}}}) {
    CHECK(problems(good) == "");
  }
  struct Case {
    Json target;
    std::string says;
  };
  for (const Case& one : std::vector<Case>{{{{"listens_on", "0"}}, "is not a port"},
                                           {{{"listens_on", "70000"}}, "is not a port"},
                                           {{{"listens_on", "localhost:80"}}, "a process listens at addresses, not at names"},
                                           {{{"listens_on", "10.0.0.0/8:80"}}, "10.0.0.0/8"},
                                           {{{"exe", "nginx"}}, "is not an absolute path"},
                                           {{{"unit", "nginx"}}, "write its whole name, as \"nginx.service\""},
                                           {{{"unit", "a/b.service"}}, "is not a unit"},
                                           {{{"cgroup", "/"}}, "is not a cgroup below the root"},
                                           {{{"cgroup", "/a/../.."}}, "is not a cgroup below the root"},
                                           {{{"exe", "/x"}, {"match", "0%"}}, "does not say how many"},
                                           {{{"exe", "/x"}, {"match", "some"}}, "write \"one\""},
                                           {{{"exe", "/x"}, {"pid", 3}}, "beside"},
                                           {{{"match", "all"}}, "is given; add one of them"}}) {
    INFO(one.target.dump());
    CHECK(problems(one.target).find(one.says) != std::string::npos);
  }
}

TEST_CASE("cgroups are read as the kernel writes them, of either version", "[process][targets]") {
  const auto hybrid = parse_cgroups("9:name=systemd:/system.slice/nginx.service\n4:memory:/a:b/c\n2:cpu,cpuacct:/\n0::/system.slice\n");
  CHECK(hybrid == std::map<std::string, std::string>{{"", "/system.slice"}, {"cpu,cpuacct", "/"}, {"memory", "/a:b/c"}, {"name=systemd", "/system.slice/nginx.service"}});
  CHECK(parse_cgroups("0::/x") == std::map<std::string, std::string>{{"", "/x"}});
  for (const char* wrong : {"", "\n\n", "0", "0:", "0::", "0:x", ":"}) CHECK(parse_cgroups(wrong).empty());
}

TEST_CASE("a process is of a unit when the unit is on the path of its cgroup, whole", "[process][targets]") {
  using Groups = std::map<std::string, std::string>;
  CHECK(unit_path(Groups{{"", "/system.slice/nginx.service"}}, "nginx.service") == "/system.slice/nginx.service");
  CHECK(unit_path(Groups{{"", "/system.slice/nginx.service/worker"}}, "nginx.service") == "/system.slice/nginx.service");
  CHECK(unit_path(Groups{{"", "/system.slice/my-nginx.service"}}, "nginx.service") == "");
  CHECK(unit_path(Groups{{"", "/system.slice/nginx.services"}}, "nginx.service") == "");
  CHECK(unit_path(Groups{{"name=systemd", "/system.slice/a.service"}, {"", "/"}}, "a.service") == "/system.slice/a.service");
  CHECK(unit_path(Groups{{"name=systemd", "/"}, {"", "/system.slice/a.service"}}, "a.service") == "/system.slice/a.service");
  CHECK(unit_path(Groups{{"memory", "/a.service"}}, "a.service") == "");
  CHECK(unit_path({}, "a.service") == "");
  CHECK(is_in_cgroup(Groups{{"", "/"}, {"memory", "/a/b"}}, "/a/b"));
  CHECK(is_in_cgroup(Groups{{"", "/a/b/c"}}, "a/b/"));
  CHECK_FALSE(is_in_cgroup(Groups{{"", "/a/bc"}}, "/a/b"));
  CHECK_FALSE(is_in_cgroup({}, "/a"));
}

TEST_CASE("each of several processes is paused by a step of its own, and the fault bites when all of them stand still", "[process.pause][targets]") {
  ProcessView view({{"process.identify", found({look_at(some_process(12)), look_at(some_process(13)), look_at(some_process(14))})}});
  FaultRequest request;
  request.target = matching("all");
  const FaultPlan plan = plan_fault("process.pause", request, view);
  REQUIRE(plan.steps.size() == 3);
  for (int i = 0; i < 3; ++i) CHECK(plan.steps[static_cast<std::size_t>(i)].apply == Op{"process.hold", {{"identity", to_json(some_process(12 + i))}}});
  CHECK(plan.observe == Op{"process.state", {{"identities", {to_json(some_process(12)), to_json(some_process(13)), to_json(some_process(14))}}}});
  CHECK(plan.summary == "all 3 processes that run /usr/bin/server (12, 13, 14) are paused, each by tracing it: the kernel lets it go should capsize die");
  CHECK(plan.intended["target"]["matching"] == 3);
  const auto state = [](const char* letter, int ticks) {
    return Json{{"same", "yes"}, {"because", ""}, {"threads", 1}, {"states", {{letter, 1}}}, {"cpu_ticks_in_window", ticks}, {"window", "100ms"}};
  };
  const auto effect = [&](const Json& one, const Json& two) {
    return find_fault("process.pause")->effect(plan, {{"processes", {state("R", 5), state("S", 0)}}}, {{"processes", {one, two}}});
  };
  CHECK(effect(state("t", 0), state("T", 0)).bites);
  CHECK(effect(state("t", 0), state("T", 0)).because == "2 of 2 processes stand still");
  CHECK_FALSE(effect(state("t", 0), state("S", 0)).bites);
  CHECK_FALSE(effect({{"same", "no"}, {"because", "process 12 (server) has ended"}}, state("t", 0)).bites);
  CHECK(effect({{"same", "no"}, {"because", "process 12 (server) has ended"}}, state("t", 0)).because == "1 of 2 processes stand still; one of the others: process 12 (server) has ended");
  CHECK_FALSE(find_fault("process.pause")->effect(plan, Json::object(), {{"processes", Json::array()}}).bites);
}
