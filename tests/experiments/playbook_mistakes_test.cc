#include <catch2/catch.hpp>
#include <algorithm>
#include <set>

#include "experiments/playbook.h"
#include "tests/experiments/test_catalogs.h"

using namespace capsize;
using test::good_playbook;
using test::read;
using test::said;

namespace {

using Said = std::vector<std::string>;

// What is said of the good playbook after `patch` (RFC 7386) has been merged in.
Said after(const char* patch, const PlaybookOptions& options = test::options()) {
  Json json = good_playbook();
  json.merge_patch(Json::parse(patch));
  const PlaybookResult result = read(json, options);
  CHECK(result.playbook.has_value() == result.diagnostics.ok());
  return said(result);
}

}  // namespace

TEST_CASE("seven mistakes get seven diagnostics, each with its line and a remedy", "[playbook][mistakes]") {
  const std::string text = R"({
  "playbook": 1,
  "title": "Seven mistakes",
  "targets": { "balancer": { "type": "haproxy", "socket": "/run/admin.sock", "backend": "auth;quit" } },
  "probes": {
    "login": { "probe": "login.http", "url": "http://127.0.0.1/login", "user": 5 }
  },
  "steady_state": [
    { "measure": "login.sucess_ratio", "at_least": "99%" }
  ],
  "faults": [
    { "fault": "balancer.skew", "target": "balancr", "server": "auth1", "share": 95 }
  ],
  "hypothesis": [ { "measure": "recovery_time", "at_most": "10%" } ]
})";
  const PlaybookResult result = read_playbook(text, test::options());
  CHECK(!result.playbook);
  CHECK(result.diagnostics.text("seven.json") ==
        "seven.json:4:89: /targets/balancer/backend: \"auth;quit\" is not a name; write 1 to 128 of the characters A-Z a-z 0-9 _ . : @ -\n"
        "seven.json:6:72: /probes/login/user: \"user\" is not a key here; did you mean \"users\"?\n"
        "seven.json:9:18: /steady_state/0/measure: \"login.sucess_ratio\" is not a measure of login.http; did you mean \"login.success_ratio\"? known: "
        "\"login.success_ratio\", \"login.latency.p99\", \"login.rate\", \"login.wrongly_accepted\"\n"
        "seven.json:12:5: /faults/0: \"for\" is missing (how long it lasts: there is no fault without an end); add \"for\": duration\n"
        "seven.json:12:43: /faults/0/target: \"balancr\" is not known here; did you mean \"balancer\"? known: \"balancer\"\n"
        "seven.json:12:82: /faults/0/share: 95 is a number; write a share, as \"95%\"\n"
        "seven.json:14:60: /hypothesis/0/at_most: 10% is a share, but recovery_time is a duration; write a duration, as \"250ms\"\n");
  CHECK(result.diagnostics.errors() == 7);
}

TEST_CASE("a playbook needs a version, a title, a probe and a steady state", "[playbook][mistakes]") {
  CHECK(read_playbook("{}", test::options()).diagnostics.errors() == 4);
  CHECK(said(read(Json::parse(R"({"playbook": 1, "title": "Nothing", "probes": {}, "steady_state": [], "targets": {"balancer": {"type": "process", "pid_file": "/run/p"}}})"))) ==
        Said{"/probes: it is empty; add a probe: without one nothing is known of the system",
             "/steady_state: it is empty; add an expectation: without one nobody can say that it recovered",
             "/targets/balancer: nothing uses the target \"balancer\"; name it in a fault or probe, or leave it out"});
  CHECK(after(R"({"playbook": 2})") == Said{"/playbook: format 2 is not known to this capsize; write 1"});
  CHECK(after(R"({"title": " "})") == Said{"/title: an empty text; write what it is for"});
  CHECK(after(R"({"faults": {}})") == Said{"/faults: {} is an object; write a list: [ ... ]"});
  CHECK(said(read_playbook("[1]", test::options())) == Said{": [1] is a list; write an object: { \"playbook\": 1, ... }"});
}

TEST_CASE("an unknown fault still has its common keys and, where it is clear what was meant, its own keys checked", "[playbook][mistakes]") {
  CHECK(after(R"({"faults": [{"fault": "balancer.skwe", "target": "nobody", "serv": "auth1", "at": "soon", "for": "30s"}]})") ==
        Said{"/faults/0: \"server\" is missing (the server that gets too much); add \"server\": name",
             "/faults/0/at: \"soon\" is not a duration; write a number and a unit (ns, us, ms, s, m, h), as \"250ms\" or \"30s\"",
             "/faults/0/fault: \"balancer.skwe\" is not known here; did you mean \"balancer.skew\"? known: \"balancer.skew\", \"balancer.weight\", \"process.pause\", \"net.delay\"",
             "/faults/0/serv: \"serv\" is not a key here; did you mean \"server\"?",
             "/faults/0/target: \"nobody\" is not known here; known: \"balancer\""});
  CHECK(after(R"({"faults": [{"fault": "earthquake", "magnitude": 9, "for": 30}]})") ==
        Said{"/faults/0/fault: \"earthquake\" is not known here; known: \"balancer.skew\", \"balancer.weight\", \"process.pause\", \"net.delay\"",
             "/faults/0/for: 30 is a number; write a duration, as \"250ms\" or \"30s\""});
}

TEST_CASE("targets and hosts must exist and be of the right type", "[playbook][mistakes]") {
  CHECK(after(R"({"targets": null, "probes": {"shares": null}})") ==
        Said{"/faults/0/target: \"balancer\" is not known here; add \"targets\": { \"balancer\": { \"type\": \"haproxy\", ... } }"});
  CHECK(after(R"({"faults": [{"fault": "process.pause", "target": "balancer", "for": "5s"}]})") ==
        Said{"/faults/0/target: \"balancer\" is a target of type haproxy, but process.pause needs one of type process; name another target"});
  CHECK(after(R"({"faults": [{"fault": "process.pause", "for": "5s"}]})") ==
        Said{"/faults/0: \"target\" is missing (process.pause needs one of type process); add \"target\": a name from \"targets\""});
  CHECK(after(R"({"probes": {"login": {"target": "balancer"}}})") == Said{"/probes/login/target: \"target\" is not a key here: login.http has none; leave it out"});
  CHECK(after(R"({"hosts": {"edge": {"via": ["ssh", "edge-1"]}}, "targets": {"balancer": {"host": "edg"}}})") ==
        Said{"/targets/balancer/host: \"edg\" is not known here; did you mean \"edge\"? known: \"edge\""});
  CHECK(after(R"({"hosts": {"edge": {"via": []}}})") ==
        Said{"/hosts/edge: nothing uses the host \"edge\"; name it in a target, or leave it out", "/hosts/edge/via: [] is a list; write a list of at least one text"});
  CHECK(after(R"({"targets": {"a.b": {"type": "process", "pid_file": "/run/a"}}})").front() ==
        "/targets/a.b: \"a.b\" is not a name to give; begin with a letter, then up to 63 letters, digits, _ or -");
}

TEST_CASE("a bound must suit what is measured", "[playbook][mistakes]") {
  const auto bound = [](const std::string& expectation) { return after(("{\"hypothesis\": [" + expectation + "]}").c_str()); };
  CHECK(bound(R"({"measure": "login.success_ratio", "at_least": 0.95})") == Said{"/hypothesis/0/at_least: 0.95 is a plain number, but login.success_ratio is a share; write a percentage, as \"99%\""});
  CHECK(bound(R"({"measure": "login.latency.p99", "at_most": "2%"})") == Said{"/hypothesis/0/at_most: 2% is a share, but login.latency.p99 is a duration; write a duration, as \"250ms\""});
  CHECK(bound(R"({"measure": "login.wrongly_accepted", "at_most": "0"})") ==
        Said{"/hypothesis/0/at_most: \"0\" is not a bound; write \"99%\", \"250ms\", \"120/s\", 3 (without quotes) or \"2x baseline\", as suits the measure"});
  CHECK(bound(R"({"measure": "login.success_ratio", "at_least": "120%"})") == Said{"/hypothesis/0/at_least: \"120%\" is more than everything; write at most \"100%\""});
  CHECK(bound(R"({"measure": "login.success_ratio"})") == Said{"/hypothesis/0: there is no bound; add \"at_least\", \"at_most\", \"below\" or \"above\""});
  CHECK(bound(R"({"measure": "login.success_ratio", "at_least": "90%", "at_most": "50%"})") == Said{"/hypothesis/0/at_least: nothing is at_least 90% and at_most 50%; exchange the two, or leave one out"});
  CHECK(bound(R"({"measure": "login.success_ratio", "above": "100%"})") == Said{"/hypothesis/0/above: no share is above 100%; write at_least \"100%\", or a smaller share"});
  CHECK(bound(R"({"measure": "recovery_time", "at_most": "2x baseline"})") == Said{"/hypothesis/0/at_most: recovery_time has no baseline; write a duration, as \"10s\""});
  CHECK(bound(R"({"measure": "recovery_time", "at_most": "35s"})") ==
        Said{"/hypothesis/0/at_most: after 35s there is no time left to see 10s of steady state (timing.settle) within 40s (timing.recovery); make timing.recovery longer"});
  CHECK(bound(R"({"measure": "recovery_time", "during": "run", "at_most": "5s"})") == Said{"/hypothesis/0/during: recovery_time is of the whole run; leave \"during\" out"});
  CHECK(bound(R"({"measure": "login.rate", "during": "baseline", "at_least": "0.5x baseline"})") ==
        Said{"/hypothesis/0/at_least: the baseline compared with itself; write a bound of its own, or another phase in \"during\""});
  CHECK(bound(R"({"measure": "login.rate", "during": "outage", "at_least": "1/s"})") ==
        Said{"/hypothesis/0/during: \"outage\" is not known here; known: \"baseline\", \"fault\", \"recovery\", \"run\", \"balancer.skew\""});
  CHECK(bound(R"({"measure": "shares.share.auth1", "at_most": "60%"})") == Said{});
}

TEST_CASE("a measure must be one of its probe's", "[playbook][mistakes]") {
  const auto measure = [](const std::string& name) { return after(("{\"abort_when\": [{\"measure\": \"" + name + "\", \"above\": 1}]}").c_str()).back(); };
  CHECK(measure("shares.jian") == "/abort_when/0/measure: \"shares.jian\" is not a measure of balancer.shares; did you mean \"shares.jain\"? known: \"shares.share.<server>\", \"shares.jain\"");
  CHECK(measure("shraes.jain").starts_with("/abort_when/0/measure: there is no probe \"shraes\"; did you mean \"shares.jain\"?"));
  CHECK(measure("recovery").starts_with("/abort_when/0/measure: \"recovery\" is not known here; "));
  CHECK(measure("recovery_time").find("known only when the run is over") != std::string::npos);
  CHECK(after(R"({"steady_state": [{"measure": "login.rate", "at_least": "0.9x baseline", "during": "run"}]})") ==
        Said{"/steady_state/0/at_least: the steady state judges the baseline, and cannot be relative to it; write a bound of its own",
             "/steady_state/0/during: \"during\" is not a key here; leave it out; known here: measure, at_least, at_most, below, above"});
  CHECK(after(R"({"abort_when": [{"measure": "login.success_ratio", "at_most": "20%", "at_least": "10%"}]})").back() ==
        "/abort_when/0: more than one bound; write a guardrail for each: any of them stops the run");
}

TEST_CASE("more harm than by default needs a reason, and everything has an end", "[playbook][mistakes]") {
  CHECK(after(R"({"faults": [{"fault": "balancer.skew", "target": "balancer", "server": "a", "for": "1s", "allow": ["last_server"]}]})") ==
        Said{"/faults/0/allow: \"allow\" without a \"reason\"; add \"reason\": why that much harm is right here; the report prints it"});
  CHECK(after(R"({"faults": [{"fault": "balancer.skew", "target": "balancer", "server": "a", "for": "1s", "allow": ["anything"], "reason": ""}]})") ==
        Said{"/faults/0/allow: \"anything\" is not known here; known: \"last_server\", \"majority\", \"everything\", \"control_path\", \"starve_host\", \"irreversible\"",
             "/faults/0/reason: an empty reason; write why that much harm is right here; the report prints it"});
  CHECK(after(R"({"faults": [{"fault": "balancer.skew", "target": "balancer", "server": "a", "for": "0s"}]})") == Said{"/faults/0/for: a duration of zero; write more than zero, as \"10s\""});
  CHECK(after(R"({"faults": [{"fault": "balancer.skew", "target": "balancer", "server": "a", "for": "25h"}]})") ==
        Said{"/faults/0/for: it would end 25h after the start of the fault phase, more than 24h; make it shorter"});
  CHECK(after(R"({"timing": {"recovery": "24h"}})") == Said{"/timing: the run would take 86440s, more than 24h; make its phases shorter"});
  CHECK(after(R"({"timing": {"settle": "50s"}})") == Said{"/timing/settle: settle (50s) is longer than recovery (40s): nothing could count as recovered; make recovery the longer one"});
  CHECK(after(R"({"faults": null, "hypothesis": [{"measure": "login.rate", "during": "fault", "at_least": "1/s"}]})") ==
        Said{"/hypothesis/0/during: there is no fault phase: the playbook has no faults; write \"run\", or leave \"during\" out"});
}

TEST_CASE("two faults of a kind on one target that interleave are warned of", "[playbook][mistakes]") {
  const char* interleaved = R"({"faults": [
    {"fault": "balancer.skew", "target": "balancer", "server": "a", "for": "10s"},
    {"fault": "balancer.skew", "target": "balancer", "server": "b", "at": "5s", "for": "10s"}]})";
  CHECK(after(interleaved) == Said{"/faults/1: it overlaps with /faults/0 on the same target, which ends first: that undo may find this one's doing and refuse; "
                                   "let one end before the other begins, or lie wholly within it"});
  const char* nested = R"({"faults": [
    {"fault": "balancer.skew", "target": "balancer", "server": "a", "for": "30s"},
    {"fault": "balancer.skew", "target": "balancer", "server": "b", "at": "5s", "for": "5s"}]})";
  CHECK(after(nested) == Said{});
  const char* stacking = R"({"faults": [
    {"fault": "net.delay", "target": "balancer", "for": "20s"},
    {"fault": "net.delay", "target": "balancer", "at": "15s", "for": "20s"}]})";
  CHECK(after(stacking) == Said{});
}

TEST_CASE("a fault may accept several types of target, and says which when it gets another", "[playbook][mistakes]") {
  CHECK(after(R"({"faults": [{"fault": "net.delay", "target": "balancer", "for": "30s"}]})") == Said{});
  CHECK(after(R"({"faults": [{"fault": "net.delay", "for": "1s"}]})") ==
        Said{"/faults/0: \"target\" is missing (net.delay needs one of type process or haproxy); add \"target\": a name from \"targets\""});
  CHECK(after(R"({"faults": [{"fault": "process.pause", "target": "balancer", "for": "1s"}]})") ==
        Said{"/faults/0/target: \"balancer\" is a target of type haproxy, but process.pause needs one of type process; name another target"});
}

TEST_CASE("what is wrong with variables is said once, where it is", "[playbook][mistakes]") {
  CHECK(after(R"({"variables": {"rate": "fast"}, "probes": {"login": {"rate": "${rat}", "url": "http://${env:NO}/"}}})") ==
        Said{"/probes/login/rate: there is no variable \"rat\"; did you mean ${rate}?", "/probes/login/url: ${env:NO} is not set; set NO in the environment of capsize",
             "/variables/rate: nothing uses the variable \"rate\"; write \"${rate}\" where it belongs, or leave it out"});
  CHECK(after(R"({"variables": {"rate": "fast"}, "probes": {"login": {"rate": "${rate}"}}})") ==
        Said{"/probes/login/rate: \"fast\" is not a rate (from \"${rate}\"); write a number per second, minute or hour, as \"120/s\" or \"30/m\""});
  CHECK(after(R"({"variables": {"a": "${b}", "b": {}}, "title": "${a} ${b}", "description": "${b"})") ==
        Said{"/description: a ${ without its }; close it with }, or write $${ for the characters ${",
             "/variables/a: ${b} within a variable; write it out: a variable may use ${env:NAME} and ${secret:NAME}, but no other variable",
             "/variables/b: {} is an object; write a text, a number, true or false, or a list of at most 1000 of them"});
  CHECK(after(R"({"variables": {"f": "balancer.skew"}, "faults": [{"fault": "${f}", "target": "balancer", "for": "1s"}]})").front() ==
        "/faults/0/fault: \"${f}\": variables are not filled in here; write it out: it decides what the keys beside it mean");
  PlaybookOptions options = test::options();
  options.set = {{"rat", "1/s"}, {"users", "many"}};
  CHECK(after(R"({"variables": {"rate": "9/s", "users": 5}, "probes": {"login": {"rate": "${rate}", "users": "${users}"}}})", options) ==
        Said{"/variables: --set rat: there is no such variable; did you mean \"rate\"? known: \"rate\", \"users\"",
             "/variables/users: --set users: \"many\" is not a whole number, as the variable is; give it as in --set 'users=5'"});
}

TEST_CASE("no diagnostic shows a secret, nor the beginning of one", "[playbook][mistakes][secrets]") {
  PlaybookOptions options = test::options();
  const std::string secret = "correct horse battery staple correct horse battery staple and more of it";
  options.secret = [&](const std::string& name) -> std::optional<std::string> { return name == "SHORT" ? "abc" : secret; };
  const Said all = after(R"({"variables": {"pw": "${secret:PW}"}, "hosts": {"edge": {"via": ["ssh", "${pw}"]}},
    "targets": {"balancer": {"host": "edge", "backend": "${secret:PW}"}}, "title": "${secret:SHORT}",
    "probes": {"login": {"rate": "${pw}", "users": "at ${pw}", "url": ["${pw}"]}}})", options);
  CHECK(all.size() == 6);
  for (const std::string& one : all) {
    INFO(one);
    CHECK(one.find("correct") == std::string::npos);
    CHECK(one.find("abc") == std::string::npos);
  }
  CHECK(all.front() == "/hosts/edge/via: a secret in a command line, where every user of the machine can read it; let the command take it from a file or its environment");
}

TEST_CASE("whatever is left out of a probe or has another type is a mistake, and no more than that", "[playbook][mistakes]") {
  const auto check = [](const Json& probe) {
    const Json playbook = {{"playbook", 1}, {"title", "one probe"}, {"probes", {{"own", probe}}}, {"steady_state", {{{"measure", "own.success_ratio"}, {"at_least", "90%"}}}}};
    INFO(playbook.dump());
    CHECK_NOTHROW(read_playbook(playbook.dump(), PlaybookOptions{}));
  };
  for (const ProbeType& type : probe_catalog()) {
    check({{"probe", type.name}});
    for (const auto& [key, value] : type.example.items()) {
      for (const Json& other : {Json(), Json(7), Json("x"), Json::array(), Json::object(), Json::array({""})}) {
        Json probe = type.example;
        probe[key] = other;
        check(probe);
        probe.erase(key);
        check(probe);
      }
    }
  }
}

TEST_CASE("an escape test that could find nothing is refused, one that would hardly is warned of", "[playbook][mistakes]") {
  CHECK(after(R"({"escape": {}})").empty());
  CHECK(after(R"({"escape": {"steps": ["50%", "60%"]}})") ==
        Said{"/escape/steps: a step that is not below the one before; write falling shares below 100%, as [\"80%\", \"50%\", \"20%\"]"});
  CHECK(after(R"({"escape": {"steps": ["100%"]}})") == Said{"/escape/steps: the first step lowers nothing; write falling shares below 100%, as [\"80%\", \"50%\", \"20%\"]"});
  CHECK(after(R"({"escape": {"steps": ["0%"]}})") == Said{"/escape/steps: a step to no load at all: no login could succeed; end with a small share, as \"5%\""});
  CHECK(after(R"({"escape": {"hold": "5s"}})") == Said{"/escape/hold: hold (5s) is shorter than timing.settle (10s): nothing could count as escaped; make it as long, or longer"});
  CHECK(after(R"({"escape": {}, "faults": null})") == Said{"/escape: there is nothing to escape from: the playbook has no faults; leave it out, or add a fault"});
  CHECK(after(R"({"escape": {}, "probes": {"login": {"suspect": "auth1"}}})") ==
        Said{"/escape: there is no load to lower: no probe but suspects logs in; leave it out, or add a probe that logs in and is no \"suspect\""});
  CHECK(after(R"({"escape": {}, "steady_state": [{"measure": "login.rate", "at_least": "1/s"}]})") ==
        Said{"/escape: no expectation of the steady state can be met by a smaller load; add one to \"steady_state\" that is no least rate or count, as of a success_ratio"});
  CHECK(after(R"({"escape": {}, "timing": {"recovery": "15s"}})") ==
        Said{"/escape: a recovery of 15s is watched too briefly to be called metastable, so the test never begins; make timing.recovery 16s or longer"});
  CHECK(after(R"({"escape": {"steps": ["1%"]}})").size() == 1);  // 20 s of it are too few logins
}

TEST_CASE("a secret in the command of a probe is refused", "[playbook][mistakes][secrets]") {
  PlaybookOptions options;
  options.secret = [](const std::string&) { return "correct horse"; };
  const Json playbook = {{"playbook", 1}, {"title", "one probe"}, {"variables", {{"pw", "${secret:PW}"}}}, {"probes", {{"own", {{"probe", "exec"}, {"command", {"check", "${pw}"}}}}}},
                         {"steady_state", {{{"measure", "own.success_ratio"}, {"at_least", "90%"}}}}};
  CHECK(said(read_playbook(playbook.dump(), options)) ==
        Said{"/probes/own/command: a secret in a command line, where every user of the machine can read it; let the command take it from a file or its environment"});
}

TEST_CASE("a secret in any command of a playbook is refused, and every parameter that is a list of words is known to be one or not", "[playbook][mistakes][secrets]") {
  PlaybookOptions options;
  options.secret = [](const std::string&) { return "correct horse"; };
  Json playbook = Json::parse(R"({"playbook": 1, "title": "commands",
    "hosts": {"edge": {"via": ["ssh", "${secret:PW}"]}},
    "targets": {"box": {"type": "container", "name": "auth", "command": ["podman", "--password", "${secret:PW}"]}, "one": {"type": "process", "pid": "1", "host": "edge"},
                "machine": {"type": "host"}},
    "probes": {"own": {"probe": "exec", "command": ["check", "x${secret:PW}"]}},
    "steady_state": [{"measure": "own.success_ratio", "at_least": "90%"}],
    "faults": [{"fault": "process.restart", "target": "one", "restart": ["/usr/bin/auth", "--key=${secret:PW}"], "for": "5s"}],
    "sealed": [{"name": "a", "cause": "A.", "known_by": ["a"], "faults": [{"fault": "process.pause", "target": "box", "for": "5s"}, {"fault": "process.kill", "target": "one", "restart": ["/a", "${secret:PW}"], "for": "5s"}]},
               {"name": "b", "cause": "B.", "known_by": ["b"], "faults": [{"fault": "host.clock", "target": "machine", "command": ["/b", "${secret:PW}"], "ahead": "5m", "for": "5s"}]}]})");
  const PlaybookResult result = read_playbook(playbook.dump(), options);
  std::vector<std::string> refused;
  for (const Diagnostic& one : result.diagnostics.all()) {
    INFO(one.pointer << ": " << one.fact);
    CHECK(one.fact == "a secret in a command line, where every user of the machine can read it");
    refused.push_back(one.pointer);
  }
  std::sort(refused.begin(), refused.end());
  CHECK(refused == Said{"/faults/0/restart", "/hosts/edge/via", "/probes/own/command", "/sealed/0/faults/1/restart", "/sealed/1/faults/0/command", "/targets/box/command"});

  std::set<std::string> commands;
  const auto classify = [&](std::string_view owner, const AnySpec& spec) {
    static const std::set<std::string> kNoCommand = {"arguments"};
    for (const FieldInfo& field : spec.fields()) {
      if (field.type == "list of text" && !kNoCommand.contains(field.name)) commands.insert(std::string(owner) + " " + field.name);
    }
  };
  for (const FaultType& type : fault_catalog()) classify(type.name, type.spec());
  for (const TargetType& type : target_catalog()) classify(type.name, type.spec());
  for (const ProbeType& type : probe_catalog()) classify(type.name, type.spec());
  CHECK(commands == std::set<std::string>{"container command", "exec command", "host.clock command", "process.kill restart", "process.restart restart"});
}

TEST_CASE("slips of syntax do not hide what else is wrong", "[playbook][mistakes]") {
  const PlaybookResult result = read_playbook(R"({
  "playbook": 1
  "title": 'One of each',
  "probes": { "login": { "probe": "login.http", "url": "http://127.0.0.1/", "timeout": 1s, } },
  "steady_state": [ { "measure": "login.success_ratio", "at_most": 5 } ]
})", test::options());
  CHECK(result.diagnostics.text("p.json") ==
        "p.json:2:16: /: a comma is missing here; write a comma between two items\n"
        "p.json:3:12: /title: single quotes; write double quotes: \"\n"
        "p.json:4:88: /probes/login/timeout: 1s has no quotes; write \"1s\"\n"
        "p.json:4:90: /probes/login: a comma before }; leave the last comma out\n"
        "p.json:5:68: /steady_state/0/at_most: 5 is a plain number, but login.success_ratio is a share; write a percentage, as \"99%\"\n");
}

TEST_CASE("of endless problems the first hundred are shown, and the rest counted", "[playbook][mistakes]") {
  Json json = good_playbook();
  for (int i = 0; i < 500; ++i) json["zz" + std::to_string(i)] = 1;
  const PlaybookResult result = read(json);
  CHECK(!result.playbook);
  CHECK(result.diagnostics.all().size() == kMaxDiagnostics + 1);
  CHECK(result.diagnostics.all().back().fact == "400 more problems up to here");
}
