#include "experiments/schema.h"

#include <catch2/catch.hpp>

#include "tests/experiments/test_catalogs.h"

using namespace capsize;

TEST_CASE("the schema closes every object, and knows each type's own keys", "[schema]") {
  const Json schema = playbook_schema(test::catalogs());
  CHECK(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema");
  CHECK(schema["additionalProperties"] == false);
  CHECK(schema["required"] == Json{"playbook", "title", "probes", "steady_state"});
  const Json& skew = schema["$defs"]["fault.balancer.skew"];
  CHECK(skew["additionalProperties"] == false);
  CHECK(skew["required"] == Json{"fault", "for", "server", "target"});
  CHECK(skew["properties"]["fault"]["const"] == "balancer.skew");
  CHECK(skew["properties"]["share"]["default"] == "80%");
  CHECK(skew["dependentRequired"]["allow"] == Json::array({"reason"}));
  const Json& login = schema["$defs"]["probe.login.http"];
  CHECK(!login["properties"].contains("target"));
  CHECK(schema["$defs"]["probes"]["additionalProperties"]["properties"]["probe"]["enum"] == Json{"login.http", "balancer.shares"});
  CHECK(schema["$defs"]["guardrail"]["oneOf"].size() == 4);
}

TEST_CASE("the schema of the real tables has no reference to nothing", "[schema]") {
  const Json schema = playbook_schema();
  const std::string text = schema.dump();
  std::size_t references = 0;
  const std::string mark = "\"$ref\":\"#/$defs/";
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const std::size_t begin = at + mark.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    INFO(name);
    CHECK(schema["$defs"].contains(name));
    ++references;
  }
  CHECK(references >= 12);
  CHECK(schema["$defs"]["target.process"]["allOf"][0]["oneOf"][1] == Json::parse(R"({"required": ["pid_file"]})"));
}
