// login.basic as a flow: the header it sends, and what of the page it believes.
#include "injector/base/error.h"
#include "probes/login/flow.h"
#include "probes/login/login_basic.h"
#include "probes/probe.h"
#include "tests/probes/scripted_wire.h"

using namespace capsize;
using namespace capsize::testing;

namespace {

const Json kParams = {{"url", "https://staging.example/private/"}, {"rate", "10/s"}};

Scripted guarded(const HttpAsk& ask) {
  for (const auto& [name, value] : ask.headers) {
    if (name == "Authorization" && value == "Basic YW5uOnJpZ2h0") return says(200, "Welcome, ann");
  }
  return says(401);
}

}  // namespace

TEST_CASE("basic authentication sends user and password in base64, and the page is the proof", "[basic]") {
  const Tried tried = try_flow(basic_flow(kParams), guarded);
  CHECK(tried.answer == Answer::ok);
  CHECK(tried.lines() == std::vector<std::string>{"GET /private/"});
  CHECK(try_flow(basic_flow(kParams), guarded, Try::wrong).answer == Answer::rejected_rightly);
  CHECK(try_flow(basic_flow(kParams), [](const HttpAsk&) { return says(401); }).answer == Answer::denied);
}

TEST_CASE("a page that anyone is shown is wrongly accepted", "[basic]") {
  const auto open_to_all = [](const HttpAsk&) { return says(200, "Welcome, guest"); };
  CHECK(try_flow(basic_flow(kParams), open_to_all, Try::wrong).answer == Answer::wrongly_accepted);
  Json json = kParams;
  json["contains"] = "Welcome, {user}";
  CHECK(try_flow(basic_flow(json), open_to_all, Try::wrong).answer == Answer::rejected_rightly);
  CHECK(try_flow(basic_flow(json), open_to_all).answer == Answer::broken);
  CHECK(try_flow(basic_flow(json), guarded).answer == Answer::ok);
}

TEST_CASE("names with a colon, which Basic authentication cannot carry, are refused before anything is sent", "[basic]") {
  const auto refusal = [](const char* type, Json params) {
    ProbeContext context;
    context.name = "login";
    context.params = std::move(params);
    try {
      find_probe(type)->make(std::move(context));
    } catch (const Error& error) {
      return error.fact();
    }
    return std::string();
  };
  Json params = kParams;
  CHECK(refusal("login.basic", params).empty());
  params.update({{"user", "ann:x"}, {"password", "right"}});
  CHECK(refusal("login.basic", params).find("a colon") != std::string::npos);
  params["steps"] = Json::parse(R"([{"headers": {"Authorization": "Basic {basic}"}}])");
  CHECK(refusal("login.http", params).find("a colon") != std::string::npos);
  params["steps"] = Json::parse(R"([{"form": {"user": "{user}", "password": "{password}"}}])");
  CHECK(refusal("login.http", params).empty());
}
