// What a playbook expects though nobody wrote it: that no login that must be refused is let in.
#include "experiments/playbook.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

Json playbook_with(Json login, Json hypothesis) {
  Json out = Json::parse(R"({
    "playbook": 1, "title": "t", "timing": {"baseline": "10s", "recovery": "20s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "90%"}]
  })");
  out["probes"]["login"] = std::move(login);
  out["hypothesis"] = std::move(hypothesis);
  return out;
}

std::vector<std::string> expected_of(const Json& json) {
  const PlaybookResult result = read_playbook(json.dump(), {});
  INFO(result.diagnostics.text("playbook"));
  REQUIRE(result.playbook);
  std::vector<std::string> out;
  for (const Expectation& expectation : result.playbook->hypothesis) {
    out.push_back(expectation.name() + " during " + expectation.over());
    for (const Bound& bound : expectation.bounds) out.back() += " " + std::string(to_string(bound.comparison)) + " " + bound.written;
  }
  return out;
}

const Json kSuccess = Json::parse(R"([{"measure": "login.success_ratio", "at_least": "90%"}])");
const Json kLogin = {{"probe", "login.http"}, {"url", "http://127.0.0.1:1/login"}, {"rate", "100/s"}};

Json with(Json params, const char* key, Json value) {
  params[key] = std::move(value);
  return params;
}

}  // namespace

TEST_CASE("where wrong passwords are sent, letting one in is expected not to happen", "[playbook]") {
  const std::string success = "login.success_ratio during run at_least 90%";
  const std::string refusals = "login.wrongly_accepted during run at_most 0";
  CHECK(expected_of(playbook_with(kLogin, kSuccess)) == std::vector<std::string>{success});
  CHECK(expected_of(playbook_with(with(kLogin, "wrong_password_share", "0%"), kSuccess)) == std::vector<std::string>{success});
  CHECK(expected_of(playbook_with(with(kLogin, "wrong_password_share", "5%"), kSuccess)) == std::vector<std::string>{success, refusals});
  CHECK(expected_of(playbook_with(with(kLogin, "unknown_user_share", "5%"), kSuccess)) == std::vector<std::string>{success, refusals});
  const Json basic = {{"probe", "login.basic"}, {"url", "http://127.0.0.1:1/"}, {"rate", "100/s"}, {"wrong_password_share", "5%"}};
  CHECK(expected_of(playbook_with(basic, kSuccess)) == std::vector<std::string>{success, refusals});
}

TEST_CASE("what the playbook says of wrong passwords itself stays as it is", "[playbook]") {
  const Json own = Json::parse(R"([{"measure": "login.wrongly_accepted", "at_most": 3}])");
  CHECK(expected_of(playbook_with(with(kLogin, "wrong_password_share", "5%"), own)) == std::vector<std::string>{"login.wrongly_accepted during run at_most 3"});
}
