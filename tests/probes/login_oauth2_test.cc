// What login.oauth2 asks for, and what it makes of the answers.
#include "probes/login/login_oauth2.h"

#include "injector/base/error.h"
#include "probes/probe.h"
#include "tests/probes/scripted_wire.h"

using namespace capsize;
using namespace capsize::testing;

namespace {

Json params(Json more) {
  Json out = {{"token_url", "https://id.example/token"}, {"rate", "10/s"}};
  out.update(more);
  return out;
}

const Json kUserinfo = params({{"userinfo_url", "https://id.example/me"}, {"client_id", "web"}, {"client_secret", "s:1"}, {"scope", "openid profile"}});

Scripted service(const HttpAsk& ask) {
  if (ask.url.target == "/token") {
    if (ask.body.find("grant_type=refresh_token") != std::string::npos) return says(200, R"({"access_token":"t2","token_type":"Bearer"})");
    const bool right = ask.body.find("password=right") != std::string::npos || (!ask.headers.empty() && ask.headers.back().second == "Basic " + base64("ann:right"));
    return right ? says(200, R"({"access_token":"t1","token_type":"Bearer","refresh_token":"r1"})") : says(400, R"({"error":"invalid_grant"})");
  }
  if (ask.url.target == "/introspect") return says(200, ask.body.find("token=t") != std::string::npos ? R"({"active":true,"sub":"ann"})" : R"({"active":false})");
  for (const auto& [name, value] : ask.headers) {
    if (name == "Authorization" && value.starts_with("Bearer t")) return says(200, R"({"sub":"ann"})");
  }
  return says(401);
}

std::string refusal(const Json& json) {
  ProbeContext context;
  context.name = "login";
  context.params = json;
  try {
    find_probe("login.oauth2")->make(std::move(context));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::refused);
    return error.fact();
  }
  return "";
}

}  // namespace

TEST_CASE("the password grant logs a user in through a client, and userinfo shows that the token works", "[oauth2]") {
  const Tried tried = try_flow(oauth2_flow(kUserinfo), service);
  CHECK(tried.answer == Answer::ok);
  CHECK(tried.lines() == std::vector<std::string>{"POST /token grant_type=password&username=ann&password=right&scope=openid%20profile", "GET /me"});
  CHECK(tried.header(0, "Authorization") == "Basic " + base64("web:s%3A1"));
  CHECK(tried.header(1, "Authorization") == "Bearer t1");
}

TEST_CASE("a client proves who it is in the form, or not at all, where that is asked for", "[oauth2]") {
  Json json = kUserinfo;
  json["client_auth"] = "post";
  json.erase("scope");
  CHECK(try_flow(oauth2_flow(json), service).lines().at(0) == "POST /token grant_type=password&username=ann&password=right&client_id=web&client_secret=s%3A1");
  json["client_auth"] = "none";
  json.erase("client_secret");
  const Tried tried = try_flow(oauth2_flow(json), service);
  CHECK(tried.lines().at(0) == "POST /token grant_type=password&username=ann&password=right&client_id=web");
  CHECK(tried.header(0, "Authorization").empty());
}

TEST_CASE("client credentials: the one who logs in is the client, and introspection shows that the token works", "[oauth2]") {
  const Json json = params({{"grant", "client_credentials"}, {"introspection_url", "https://id.example/introspect"}, {"client_id", "api"}, {"client_secret", "x"}, {"parameters", {{"audience", "a"}}}});
  const Tried tried = try_flow(oauth2_flow(json), service);
  CHECK(tried.answer == Answer::ok);
  CHECK(tried.lines() == std::vector<std::string>{"POST /token grant_type=client_credentials&audience=a", "POST /introspect token=t1"});
  CHECK(tried.header(0, "Authorization") == "Basic " + base64("ann:right"));
  CHECK(tried.header(1, "Authorization") == "Basic " + base64("api:x"));
  CHECK(try_flow(oauth2_flow(json), service, Try::wrong).answer == Answer::rejected_rightly);
}

TEST_CASE("a refreshed token is the one that is used", "[oauth2]") {
  Json json = kUserinfo;
  json["refresh"] = true;
  const Tried tried = try_flow(oauth2_flow(json), service);
  CHECK(tried.answer == Answer::ok);
  REQUIRE(tried.lines().size() == 3);
  CHECK(tried.lines()[1] == "POST /token grant_type=refresh_token&refresh_token=r1");
  CHECK(tried.header(2, "Authorization") == "Bearer t2");
}

TEST_CASE("a token that introspection calls inactive, or that is somebody else's, is no login", "[oauth2]") {
  const auto inactive = [](const HttpAsk& ask) { return ask.url.target == "/introspect" ? says(200, R"({"active":false})") : service(ask); };
  const Json introspecting = params({{"introspection_url", "https://id.example/introspect"}, {"client_id", "api"}, {"client_secret", "x"}});
  CHECK(try_flow(oauth2_flow(introspecting), inactive).answer == Answer::broken);
  CHECK(try_flow(oauth2_flow(introspecting), service).answer == Answer::ok);
  Json json = kUserinfo;
  json["subject"] = "{user}";
  CHECK(try_flow(oauth2_flow(json), service).answer == Answer::ok);
  const auto bob = [](const HttpAsk& ask) { return ask.url.target == "/me" ? says(200, R"({"sub":"bob"})") : service(ask); };
  CHECK(try_flow(oauth2_flow(json), bob).answer == Answer::broken);
}

TEST_CASE("an endpoint that gives everyone a token is found out only where the token works", "[oauth2]") {
  const auto generous = [](const HttpAsk& ask) { return ask.url.target == "/token" ? says(200, R"({"access_token":"t9"})") : service(ask); };
  CHECK(try_flow(oauth2_flow(kUserinfo), generous, Try::wrong).answer == Answer::wrongly_accepted);
  const auto worthless = [](const HttpAsk& ask) { return ask.url.target == "/token" ? says(200, R"({"access_token":"x9"})") : service(ask); };
  CHECK(try_flow(oauth2_flow(kUserinfo), worthless, Try::wrong).answer == Answer::rejected_rightly);
  CHECK(try_flow(oauth2_flow(kUserinfo), service, Try::wrong).answer == Answer::rejected_rightly);
}

TEST_CASE("an expired token must be refused by userinfo or introspection", "[oauth2]") {
  Json json = kUserinfo;
  json.update({{"refresh", true}, {"expired_token", "old"}, {"expired_token_share", "1%"}});
  const Tried tried = try_flow(oauth2_flow(json), service, Try::expired);
  CHECK(tried.answer == Answer::rejected_rightly);
  CHECK(tried.lines() == std::vector<std::string>{"GET /me"});
  json["expired_token"] = "t-still-good";
  CHECK(try_flow(oauth2_flow(json), service, Try::expired).answer == Answer::wrongly_accepted);
}

TEST_CASE("only what introspection says of a token refuses it: an error is about the client that asks", "[oauth2]") {
  const Json json = params({{"introspection_url", "https://id.example/introspect"}, {"client_id", "api"}, {"client_secret", "x"}, {"expired_token", "old"}, {"expired_token_share", "1%"}});
  const auto introspected = [&json](const Scripted& said, Try kind) {
    const auto generous = [&said](const HttpAsk& ask) { return ask.url.target == "/token" ? says(200, R"({"access_token":"t9"})") : said; };
    return try_flow(oauth2_flow(json), generous, kind).answer;
  };
  for (const Try control : {Try::wrong, Try::expired}) {
    CHECK(introspected(says(200, R"({"active":false})"), control) == Answer::rejected_rightly);
    CHECK(introspected(says(200, R"({"active":true})"), control) == Answer::wrongly_accepted);
    for (const Scripted& no_answer : {says(401), says(503), says(401, R"({"active":false})"), says(200, "{}"), says(200, "<html>")}) CHECK(introspected(no_answer, control) == Answer::broken);
  }
  CHECK(introspected(says(503), Try::right) == Answer::broken);
}

TEST_CASE("a working token is wrongly accepted, even where it is somebody else's", "[oauth2]") {
  Json json = kUserinfo;
  json.update({{"subject", "{user}"}, {"expired_token", "t-of-bob"}, {"expired_token_share", "1%"}});
  const auto bob = [](const HttpAsk& ask) { return ask.url.target == "/token" ? says(200, R"({"access_token":"t9"})") : says(200, R"({"sub":"bob"})"); };
  CHECK(try_flow(oauth2_flow(json), bob, Try::wrong).answer == Answer::wrongly_accepted);
  CHECK(try_flow(oauth2_flow(json), bob, Try::expired).answer == Answer::wrongly_accepted);
  CHECK(try_flow(oauth2_flow(json), bob).answer == Answer::broken);
}

TEST_CASE("parameters that cannot work together are refused before anything is sent", "[oauth2]") {
  const auto with = [](Json more) {
    Json out = kUserinfo;
    out.update(more);
    return refusal(out);
  };
  CHECK(refusal(kUserinfo).empty());
  CHECK(refusal(params(Json::object())).find("userinfo_url") != std::string::npos);
  CHECK(refusal(params({{"introspection_url", "https://id.example/i"}})).find("no client may") != std::string::npos);
  CHECK(with({{"client_auth", "none"}, {"grant", "client_credentials"}}).find("without a secret") != std::string::npos);
  CHECK(with({{"expired_token", "old"}}).find("not both") != std::string::npos);
  CHECK(with({{"user", "ann"}}).find("not both") != std::string::npos);
  CHECK(with({{"scope", "{usr}"}}).find("{usr}") != std::string::npos);
  CHECK(with({{"wrong_password_share", "60%"}, {"unknown_user_share", "50%"}}).find("more than all") != std::string::npos);
}
