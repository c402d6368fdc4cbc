#include "experiments/describe.h"

#include <catch2/catch.hpp>

#include "experiments/playbook_parts.h"
#include "tests/experiments/test_catalogs.h"

using namespace capsize;

namespace {

// Every name of `catalogs` is explained, with an example that passes the check.
void check_examples(const Catalogs& catalogs) {
  PlaybookOptions options;
  options.catalogs = catalogs;
  options.secret = [](const std::string&) { return "a secret of the test"; };
  std::vector<std::string> names = catalogs.fault_names();
  for (const auto& more : {catalogs.probe_names(), catalogs.target_names()}) names.insert(names.end(), more.begin(), more.end());
  for (const std::string& name : names) {
    INFO(name);
    const auto described = describe(name, catalogs);
    REQUIRE(std::holds_alternative<Description>(described));
    const Description& description = std::get<Description>(described);
    const PlaybookResult result = read_playbook(description.json["example"].dump(2), options);
    INFO(description.json["example"].dump(2));
    CHECK(result.diagnostics.text("example") == "");
    CHECK(description.text.find(name) == 0);
    CHECK(description.text.find(description.json["example"].dump(2)) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("everything that can be described has an example that passes the check", "[describe]") {
  check_examples(test::catalogs());
  check_examples(Catalogs{});
}

TEST_CASE("a fault is explained with its parameters, and a probe with its measures", "[describe]") {
  const auto skew = std::get<Description>(describe("balancer.skew", test::catalogs()));
  CHECK(skew.json["parameters"][0] == Json{{"name", "server"}, {"type", "name"}, {"required", true}, {"doc", "the server that gets too much"}});
  CHECK(skew.json["parameters"][1]["default"] == "80%");
  CHECK(skew.text.find("share   share; default \"80%\"") != std::string::npos);
  const auto shares = std::get<Description>(describe("balancer.shares", test::catalogs()));
  CHECK(shares.json["measures"][0]["name"] == "share.<server>");
  CHECK(shares.text.find("jain") != std::string::npos);
}

TEST_CASE("every fault says how it is undone, and its explanation repeats it", "[describe]") {
  for (const FaultType& fault : fault_catalog()) {
    INFO(fault.name);
    CHECK_FALSE(fault.undo_doc.empty());
    const auto described = std::get<Description>(describe(fault.name));
    CHECK(described.text.find("\nUndo\n  " + std::string(fault.undo_doc)) != std::string::npos);
    CHECK(described.json["undo"] == fault.undo_doc);
  }
}

TEST_CASE("every fault aims at types of target that there are", "[describe]") {
  for (const FaultType& fault : fault_catalog()) {
    for (const std::string_view type : fault.target_types) {
      INFO(fault.name << " and " << type);
      CHECK(find_target_type(type) != nullptr);
      CHECK(accepts(fault, type));
    }
    CHECK_FALSE(accepts(fault, ""));
  }
}

TEST_CASE("measures are explained by their full name", "[describe]") {
  const auto time = std::get<Description>(describe("recovery_time", test::catalogs()));
  CHECK(time.json["measures"] == "duration");
  const auto share = std::get<Description>(describe("balancer.shares.share.auth7", test::catalogs()));
  CHECK(share.json["example"] == Json{{"measure", "balancer.share.auth7"}, {"at_least", "90%"}});
}

TEST_CASE("a wrong name gets the one that was meant", "[describe]") {
  const auto mistake = [](const char* name) { return std::get<Mistake>(describe(name, test::catalogs())); };
  CHECK(mistake("balancer.skwe").remedy == "did you mean \"balancer.skew\"?");
  CHECK(mistake("skew").remedy == "did you mean \"balancer.skew\"?");
  CHECK(mistake("login.http.sucess_ratio").remedy == "did you mean \"login.http.success_ratio\"?");
  CHECK(mistake("zzzzzzzz").remedy == "`capsize describe` lists all names");
}

TEST_CASE("the overview names everything there is", "[describe]") {
  const Catalogs catalogs = test::catalogs();
  const Description all = describe_all(catalogs);
  for (const auto& names : {catalogs.fault_names(), catalogs.probe_names(), catalogs.target_names()}) {
    for (const std::string& name : names) CHECK(all.text.find(name) != std::string::npos);
  }
  CHECK(all.text.find("latency.p99") != std::string::npos);
  CHECK(all.text.find("recovery_time") != std::string::npos);
  CHECK(all.json["faults"].size() == 4);
  CHECK(all.json["probes"][1]["measures"].size() == 2);
}

// Else two Specs would read one key.
TEST_CASE("no fault, probe or target declares a key that all of its kind have", "[describe]") {
  const auto clash = [](const AnySpec& own, const AnySpec& common) {
    for (const FieldInfo& mine : own.fields()) {
      for (const FieldInfo& theirs : common.fields()) CHECK(mine.name != theirs.name);
    }
  };
  for (const FaultType& type : fault_catalog()) clash(type.spec(), fault_spec());
  for (const ProbeType& type : probe_catalog()) clash(type.spec(), probe_spec());
  for (const TargetType& type : target_catalog()) clash(type.spec(), target_spec());
  clash(test::skew_spec(), fault_spec());
}
