#include "injector/base/spec.h"

#include <catch2/catch.hpp>

using namespace capsize;
using namespace std::chrono_literals;

namespace {

struct Params {
  Name server;
  Share share{0.8};
  Duration pause = 1s;
  Count users = 10;
  std::optional<Name> backend;
};

const Spec<Params>& spec() {
  static const auto out = Spec<Params>()
                              .required("server", &Params::server, "the server that gets too much")
                              .optional("share", &Params::share, "its share")
                              .optional("pause", &Params::pause, "how long", more_than_zero())
                              .optional("users", &Params::users, "how many", between(1, 100))
                              .optional("backend", &Params::backend, "where");
  return out;
}

std::vector<std::string> said(const Json& json, const std::vector<std::string>& also_known = {}) {
  Diagnostics diagnostics;
  spec().validate(json, "/faults/0", also_known, diagnostics);
  std::vector<std::string> out;
  for (const Diagnostic& d : diagnostics.all()) out.push_back(d.pointer + ": " + d.fact + "; " + d.remedy);
  return out;
}

using Said = std::vector<std::string>;

}  // namespace

TEST_CASE("what is not written has its default", "[spec]") {
  Diagnostics diagnostics;
  const Params params = spec().parse({{"server", "auth1"}, {"share", "95%"}}, "", {}, diagnostics);
  CHECK(diagnostics.all().empty());
  CHECK(params.server.text == "auth1");
  CHECK(params.share.value == Approx(0.95));
  CHECK(params.pause == 1s);
  CHECK(!params.backend);
}

TEST_CASE("all problems of an object are said at once", "[spec]") {
  CHECK(said({{"sahre", "95%"}, {"share", 95}, {"pause", "0s"}, {"users", 101}}) ==
        Said{"/faults/0/sahre: \"sahre\" is not a key here; did you mean \"share\"?", "/faults/0: \"server\" is missing (the server that gets too much); add \"server\": name",
             "/faults/0/share: 95 is a number; write a share, as \"95%\"", "/faults/0/pause: a duration of zero; write more than zero, as \"10s\"",
             "/faults/0/users: 101 is outside 1 to 100; write a whole number from 1 to 100"});
  CHECK(said({{"server", "a"}, {"zzz", 1}}, {"fault"}) == Said{"/faults/0/zzz: \"zzz\" is not a key here; leave it out; known here: fault, server, share, pause, users, backend"});
  CHECK(said({{"server", "a"}, {"fault", "x"}}, {"fault"}) == Said{});
  CHECK(said(Json::array({1})) == Said{"/faults/0: [1] is a list; write an object"});
}

TEST_CASE("problems of keys are told from problems of values", "[spec]") {
  Diagnostics diagnostics;
  spec().validate({{"sahre", 1}, {"share", 95}}, "", {}, diagnostics);
  REQUIRE(diagnostics.all().size() == 3);
  CHECK(diagnostics.all()[0].about_key);
  CHECK(diagnostics.all()[1].about_key);
  CHECK(!diagnostics.all()[2].about_key);
}

TEST_CASE("checked JSON that is wrong after all is an error that names the place", "[spec]") {
  CHECK(spec().parse_or_throw({{"server", "auth1"}}).server.text == "auth1");
  try {
    spec().parse_or_throw({{"server", "a;b"}});
    FAIL("taken");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::refused);
    CHECK(error.fact() == "/server: \"a;b\" is not a name");
  }
}

TEST_CASE("one declaration gives the schema and the fields", "[spec]") {
  const Json schema = schema_of(spec());
  CHECK(schema["required"] == Json::array({"server"}));
  CHECK(schema["properties"]["share"]["default"] == "80%");
  CHECK(schema["properties"]["share"]["description"] == "its share");
  CHECK(!schema["properties"]["backend"].contains("default"));
  CHECK(schema["properties"]["users"]["allOf"][1]["anyOf"][0] == Json{{"type", "integer"}, {"minimum", 1}, {"maximum", 100}});
  const auto fields = spec().fields();
  REQUIRE(fields.size() == 5);
  CHECK(fields[0].required);
  CHECK(fields[2].type == "duration");
  CHECK(fields[2].default_value == "1s");
}
