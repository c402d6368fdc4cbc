// Logins of several requests, against a service that is a function.
#include "probes/login/flow.h"

#include "probes/login/flow_steps.h"
#include "tests/probes/scripted_wire.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

Flow flow_of(const Json& steps) {
  Flow out;
  out.base = std::get<Url>(parse_url("https://staging.example/login"));
  auto parsed = ParamTraits<FlowSteps>::parse(steps);
  if (const auto* mistake = std::get_if<Mistake>(&parsed)) FAIL(mistake->fact);
  out.steps = std::get<FlowSteps>(std::move(parsed)).steps;
  return out;
}

std::string mistake_in(const Json& steps) {
  const auto parsed = ParamTraits<FlowSteps>::parse(steps);
  const auto* mistake = std::get_if<Mistake>(&parsed);
  return mistake == nullptr ? "" : mistake->fact + "; " + mistake->remedy;
}

// A page with a token against forgery, a form, a redirect, a page for those who are in.
const Json kForm = Json::parse(R"([
  {"capture": {"csrf": "header:X-Csrf"}},
  {"form": {"user": "{user}", "password": "{password}", "csrf": "{csrf}"}, "status": [303], "capture": {"next": "header:Location", "session": "cookie:sid"}},
  {"url": "{next}", "check": {"/name": "{user}", "/in": true}, "contains": "ann"}
])");

Scripted form_service(const HttpAsk& ask) {
  if (ask.method == "GET" && ask.url.target == "/login") return says(200, "<form>", {{"X-CSRF", "c 1"}, {"set-cookie", "sid=before; Path=/"}});
  if (ask.method == "POST") {
    if (ask.body.find("password=right") == std::string::npos) return says(401);
    return says(303, "", {{"Location", "/me?x=1"}, {"Set-Cookie", "sid=s1; Path=/; HttpOnly"}});
  }
  for (const auto& [name, value] : ask.headers) {
    if (name == "Cookie" && value == "sid=s1") return says(200, R"({"name":"ann","in":true})");
  }
  return says(401);
}

}  // namespace

TEST_CASE("a form with a captured field, a cookie and a captured redirect logs in", "[flow]") {
  const Tried tried = try_flow(flow_of(kForm), form_service);
  CHECK(tried.answer == Answer::ok);
  CHECK(tried.lines() == std::vector<std::string>{"GET /login", "POST /login csrf=c%201&password=right&user=ann", "GET /me?x=1"});
  CHECK(tried.header(1, "Cookie") == "sid=before");
  CHECK(tried.header(1, "Content-Type") == "application/x-www-form-urlencoded");
  CHECK(tried.header(2, "Cookie") == "sid=s1");
  CHECK(show(tried.asked[2].url) == "https://staging.example/me?x=1");
}

TEST_CASE("a wrong password that one request refuses is rightly rejected, and one that gets through all is wrongly accepted", "[flow]") {
  CHECK(try_flow(flow_of(kForm), form_service, Try::wrong).answer == Answer::rejected_rightly);
  const auto lets_all_in = [](const HttpAsk& ask) {
    HttpAsk right = ask;
    if (ask.method == "POST") right.body = "password=right";
    return form_service(right);
  };
  CHECK(try_flow(flow_of(kForm), lets_all_in, Try::wrong).answer == Answer::wrongly_accepted);
  const auto token_is_worth_nothing = [&](const HttpAsk& ask) { return ask.url.target == "/me?x=1" ? says(401) : lets_all_in(ask); };
  CHECK(try_flow(flow_of(kForm), token_is_worth_nothing, Try::wrong).answer == Answer::rejected_rightly);
}

TEST_CASE("a no before or at the credentials is denied, and one after them is a broken login", "[flow]") {
  const auto saying_no_to = [](const std::string& method, const std::string& target, unsigned status) {
    return [=](const HttpAsk& ask) { return ask.method == method && ask.url.target == target ? says(status) : form_service(ask); };
  };
  CHECK(try_flow(flow_of(kForm), saying_no_to("GET", "/login", 503)).answer == Answer::denied);
  CHECK(try_flow(flow_of(kForm), saying_no_to("POST", "/login", 429)).answer == Answer::denied);
  CHECK(try_flow(flow_of(kForm), saying_no_to("GET", "/me?x=1", 401)).answer == Answer::broken);
  CHECK(try_flow(flow_of(kForm), saying_no_to("POST", "/login", 200)).answer == Answer::broken);
  // A wrong password that never got to the service says nothing about it.
  CHECK(try_flow(flow_of(kForm), saying_no_to("GET", "/login", 503), Try::wrong).answer == Answer::broken);
}

TEST_CASE("an answer without what is to be captured, or with something else than what is checked, is broken", "[flow]") {
  const auto instead = [](const std::string& target, const Scripted& answer) {
    return [=](const HttpAsk& ask) { return ask.method == "GET" && ask.url.target == target ? answer : form_service(ask); };
  };
  CHECK(try_flow(flow_of(kForm), instead("/login", says(200))).answer == Answer::broken);
  CHECK(try_flow(flow_of(kForm), instead("/me?x=1", says(200, R"({"name":"bob","in":true,"ann":1})"))).answer == Answer::broken);
  CHECK(try_flow(flow_of(kForm), instead("/me?x=1", says(200, R"({"name":"ann","in":"true"})"))).answer == Answer::broken);
  CHECK(try_flow(flow_of(kForm), instead("/me?x=1", says(200, "ann"))).answer == Answer::broken);
  CHECK(try_flow(flow_of(kForm), instead("/me?x=1", says(200, R"({"in":true,"name":)" + std::string(20'000, '[') + std::string(20'000, ']') + "}"))).answer == Answer::broken);
  // The session of before is not one that this answer gave.
  const auto no_session = [](const HttpAsk& ask) { return ask.method == "POST" ? says(303, "", {{"Location", "/me?x=1"}}) : form_service(ask); };
  CHECK(try_flow(flow_of(kForm), no_session).asked.size() == 2);
  CHECK(try_flow(flow_of(kForm), instead("/me?x=1", says(200, std::string(5000, '[')))).answer == Answer::broken);
}

TEST_CASE("what fails on the way is called what it is, whatever the password", "[flow]") {
  Scripted refused;
  refused.said.failed = Answer::refused;
  for (const Try kind : {Try::right, Try::wrong}) {
    CHECK(try_flow(flow_of(kForm), [&](const HttpAsk&) { return refused; }, kind).answer == Answer::refused);
    Scripted late = says(200);
    late.after = 2s;
    CHECK(try_flow(flow_of(kForm), [&](const HttpAsk&) { return late; }, kind).answer == Answer::timed_out);
  }
}

TEST_CASE("a redirect to elsewhere is not followed, and a captured line break does not get into a header", "[flow]") {
  const auto with_next = [](const std::string& next) {
    return [=](const HttpAsk& ask) { return ask.method == "POST" ? says(303, "", {{"Location", next}, {"Set-Cookie", "sid=s1; Path=/"}}) : form_service(ask); };
  };
  CHECK(try_flow(flow_of(kForm), with_next("https://staging.example/me?x=1")).answer == Answer::ok);
  for (const char* elsewhere : {"https://evil.example/me", "//evil.example/me", "http://staging.example/me?x=1", "javascript:alert(1)"}) {
    INFO(elsewhere);
    const Tried tried = try_flow(flow_of(kForm), with_next(elsewhere));
    CHECK(tried.answer == Answer::broken);
    CHECK(tried.asked.size() == 2);
  }
  CHECK(try_flow(flow_of(kForm), with_next("/me?x=1#/home")).answer == Answer::ok);  // the fragment stays with the client
  // A wrong password that is let through to where nobody follows was not refused.
  CHECK(try_flow(flow_of(kForm), with_next("https://evil.example/me"), Try::wrong).answer == Answer::broken);
  const Flow bearer = flow_of(Json::parse(R"([{"json": {"p": "{password}"}, "capture": {"token": "json:/token"}}, {"headers": {"Authorization": "Bearer {token}"}}])"));
  const Tried evil = try_flow(bearer, [](const HttpAsk&) { return says(200, R"({"token":"a\r\nX-Evil: 1"})"); });
  CHECK(evil.answer == Answer::broken);
  CHECK(evil.asked.size() == 1);
}

TEST_CASE("where a redirect leads is relative to the host that redirects, and never to another", "[flow]") {
  const Flow flow = flow_of(Json::parse(R"([
    {"url": "https://id.example/a/login?x=1", "form": {"p": "{password}"}, "status": [302], "capture": {"next": "header:Location"}},
    {"url": "{next}"}])"));
  const auto led_to = [&flow](const std::string& location) {
    const Tried tried = try_flow(flow, [&](const HttpAsk& ask) { return ask.method == "POST" ? says(302, "", {{"location", location}}) : says(200); });
    return tried.asked.size() < 2 ? "nowhere" : show(tried.asked[1].url);
  };
  CHECK(led_to("/me") == "https://id.example/me");
  CHECK(led_to("me#here") == "https://id.example/a/me");
  CHECK(led_to("../me?y=../z") == "https://id.example/me?y=../z");
  CHECK(led_to("./../../../b/./c/..") == "https://id.example/b/");
  CHECK(led_to("?y") == "https://id.example/a/login?y");
  CHECK(led_to("//staging.example/me") == "https://staging.example/me");
  CHECK(led_to("HTTPS://Staging.Example/Me") == "https://staging.example/Me");
  CHECK(led_to("//evil.example/me") == "nowhere");
  CHECK(led_to("https://id.example@evil.example/me") == "nowhere");
  CHECK(led_to("https://id.example:8443/me") == "nowhere");
  CHECK(led_to("mailto:me") == "nowhere");
}

// The authorization code grant with PKCE, as a browser and a client without a secret go through it.
const Json kCode = Json::parse(R"([
  {"url": "https://id.example/auth?client_id=spa&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&state={random}&code_challenge={pkce_challenge}", "status": [303], "capture": {"page": "header:Location"}},
  {"url": "{page}", "capture": {"action": "form:", "csrf": "field:csrf"}},
  {"url": "{action}", "form": {"login": "{user}", "password": "{password}", "csrf": "{csrf}"}, "status": [303], "capture": {"back": "header:Location"}},
  {"url": "{back}", "status": [303], "capture": {"code": "query:code"}},
  {"url": "https://id.example/token", "form": {"code": "{code}", "code_verifier": "{pkce_verifier}"}, "capture": {"token": "json:/access_token"}},
  {"url": "https://id.example/me", "headers": {"Authorization": "Bearer {token}"}, "check": {"/sub": "{user}"}}
])");

Scripted provider(const HttpAsk& ask) {
  const std::string& target = ask.url.target;
  if (target.starts_with("/auth?")) return says(303, "", {{"Location", "/interaction/7"}});
  if (target == "/interaction/7") return says(200, R"(<form action="/find"><input name=q></form><form method=post action='../do?a=1&amp;b=2'><input name="csrf" value="c&quot;1"><input type=PASSWORD name=password></form>)");
  if (target == "/do?a=1&b=2") return ask.body.find("password=right") == std::string::npos || ask.body.find("csrf=c%221") == std::string::npos ? says(401) : says(303, "", {{"Location", "https://id.example/auth/7"}});
  if (target == "/auth/7") return says(303, "", {{"Location", "https://app.example/cb?state=s&code=a%2Bb+c#x"}});
  if (target == "/token") return ask.body.find("code=a%2Bb%20c&") == std::string::npos ? says(400) : says(200, R"({"access_token":"t1"})");
  return says(200, R"({"sub":"ann"})");
}

TEST_CASE("an authorization code with PKCE is had through the provider's login page", "[flow]") {
  const Tried tried = try_flow(flow_of(kCode), provider);
  CHECK(tried.answer == Answer::ok);
  REQUIRE(tried.asked.size() == 6);
  const auto parameter = [](std::string text, const std::string& name) { return query_parameter("?" + text.substr(text.find('?') + 1), name).value_or(""); };
  const std::string verifier = parameter(tried.asked[4].body, "code_verifier");
  const std::string challenge = parameter(tried.asked[0].url.target, "code_challenge");
  CHECK(verifier.size() == 43);
  CHECK(challenge.size() == 43);
  CHECK(verifier.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == std::string::npos);
  CHECK(try_flow(flow_of(kCode), provider, Try::wrong).answer == Answer::rejected_rightly);
  const auto refusing = [](const HttpAsk& ask) { return ask.url.target == "/auth/7" ? says(303, "", {{"Location", "https://app.example/cb?error=access_denied"}}) : provider(ask); };
  CHECK(try_flow(flow_of(kCode), refusing).answer == Answer::broken);
}

TEST_CASE("a state that comes back as another is no login", "[flow]") {
  Json steps = kCode;
  steps[3]["check"] = {{"query:state", "{random}"}};
  const auto returning = [&steps](const std::string& replaced) {
    std::string state;
    return try_flow(flow_of(steps), [&, state](const HttpAsk& ask) mutable {
      if (ask.url.target.starts_with("/auth?")) state = query_parameter(ask.url.target, "state").value_or("");
      if (ask.url.target == "/auth/7") return says(303, "", {{"Location", "https://app.example/cb?code=a%2Bb+c" + (replaced == "none" ? "" : "&state=" + (replaced.empty() ? state : replaced))}});
      return provider(ask);
    });
  };
  CHECK(returning("").answer == Answer::ok);
  for (const char* other : {"s", "none"}) {
    CHECK(returning(other).answer == Answer::broken);
    CHECK(returning(other).asked.size() == 4);
  }
}

TEST_CASE("headers, cookies and fields can be checked as they can be captured", "[flow]") {
  const auto page = says(200, "<form action=x><input name=who value=ann>", {{"X-In", "yes"}, {"Set-Cookie", "sid=1"}});
  const auto with = [&page](const Json& check) {
    return try_flow(flow_of({{{"form", {{"p", "{password}"}}}, {"check", check}}}), [&page](const HttpAsk&) { return page; }).answer;
  };
  CHECK(with({{"header:x-in", "yes"}, {"cookie:sid", "1"}, {"field:who", "{user}"}, {"form:", "https://staging.example/x"}}) == Answer::ok);
  for (const char* where : {"header:X-In", "cookie:sid", "field:who", "form:", "header:None", "query:code"}) CHECK(with({{where, "no"}}) == Answer::broken);
}

// A provider that answers a wrong password with its login page and status 200, as Keycloak does.
const Json kKeycloak = Json::parse(R"([
  {"capture": {"action": "form:"}},
  {"url": "{action}", "form": {"p": "{password}"}, "status": [302], "capture": {"next": "header:Location"}, "denied": {"status": [200], "contains": "Invalid password"}},
  {"url": "{next}", "denied": {"check": {"/user": null}}}
])");

TEST_CASE("a step can say what a no looks like that has the status of a yes", "[flow]") {
  const auto posted = [](const Scripted& said, Try kind) {
    const auto service = [&said](const HttpAsk& ask) { return ask.method == "POST" ? said : says(200, ask.url.target == "/login" ? "<form action=/in>" : R"({"user":"ann"})"); };
    return try_flow(flow_of(kKeycloak), service, kind).answer;
  };
  const Scripted lets_in = says(302, "", {{"Location", "/me"}});
  CHECK(posted(lets_in, Try::right) == Answer::ok);
  CHECK(posted(lets_in, Try::wrong) == Answer::wrongly_accepted);
  const Scripted no = says(200, "<form action=/in>Invalid password");
  CHECK(posted(no, Try::right) == Answer::denied);
  CHECK(posted(no, Try::wrong) == Answer::rejected_rightly);
  CHECK(posted(says(429), Try::right) == Answer::denied);
  CHECK(posted(says(429), Try::wrong) == Answer::rejected_rightly);
  // Neither a yes nor a no: for once that can be told.
  for (const Scripted& neither : {says(200, "<form action=/in>Something went wrong"), says(302), says(303, "Invalid password")}) {
    CHECK(posted(neither, Try::right) == Answer::broken);
    CHECK(posted(neither, Try::wrong) == Answer::broken);
  }
}

TEST_CASE("a no that a step describes counts wherever it comes, and before whatever else is right about the answer", "[flow]") {
  const auto service = [](const HttpAsk& ask) {
    if (ask.method == "POST") return says(302, "", {{"Location", "/me"}});
    return says(200, ask.url.target == "/login" ? "<form action=/in>" : R"({"user":null})");
  };
  CHECK(try_flow(flow_of(kKeycloak), service).answer == Answer::denied);
  CHECK(try_flow(flow_of(kKeycloak), service, Try::wrong).answer == Answer::rejected_rightly);
  // One that came before the password was sent says nothing about a wrong one.
  Json early = kKeycloak;
  early[0]["denied"] = {{"contains", "closed"}};
  const auto closed = [](const HttpAsk&) { return says(200, "<form action=/in>closed"); };
  CHECK(try_flow(flow_of(early), closed).answer == Answer::denied);
  CHECK(try_flow(flow_of(early), closed, Try::wrong).answer == Answer::broken);
}

TEST_CASE("each login draws a code verifier and a challenge of its own, which fit, and a seed repeats them", "[flow]") {
  Rng rng(7);
  const FlowValues first = chance_values(rng);
  const FlowValues second = chance_values(rng);
  CHECK(first.at("pkce_verifier") != second.at("pkce_verifier"));
  CHECK(first.at("random") != second.at("random"));
  CHECK(first.at("random").size() == 22);
  Rng again(7);
  CHECK(chance_values(again) == first);
  CHECK(pkce_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");  // RFC 7636, appendix B
  CHECK(pkce_challenge(first.at("pkce_verifier")) == first.at("pkce_challenge"));
}

TEST_CASE("a password in a check does not make a step one that sends it", "[flow]") {
  const Flow flow = flow_of(Json::parse(R"([{"form": {"p": "{password}"}}, {"check": {"/echo": "{password}"}}])"));
  const auto echoes_nothing = [](const HttpAsk& ask) { return ask.method == "POST" ? says(200) : says(403); };
  CHECK(try_flow(flow, echoes_nothing).answer == Answer::broken);  // and not denied: the login itself was a success
}

TEST_CASE("JSON goes out with its texts filled in, and braces around anything but a name stay", "[flow]") {
  const Flow flow = flow_of(Json::parse(R"([{"json": {"who": ["{user}", {"secret": "{password}"}], "keep": "{ x } {", "n": 3}}])"));
  const Tried tried = try_flow(flow, [](const HttpAsk&) { return says(204); });
  CHECK(tried.answer == Answer::ok);
  CHECK(Json::parse(tried.asked.at(0).body) == Json::parse(R"({"who": ["ann", {"secret": "right"}], "keep": "{ x } {", "n": 3})"));
  CHECK(tried.header(0, "Content-Type") == "application/json");
}

TEST_CASE("an expired token is used instead of a login, and must be refused", "[flow]") {
  Flow flow = flow_of(Json::parse(R"([{"json": {"p": "{password}"}, "capture": {"token": "json:/token"}}, {"url": "/me", "headers": {"Authorization": "Bearer {token}"}}])"));
  flow.expired_token = "old";
  const Tried refused = try_flow(flow, [](const HttpAsk&) { return says(401); }, Try::expired);
  CHECK(refused.answer == Answer::rejected_rightly);
  CHECK(refused.lines() == std::vector<std::string>{"GET /me"});
  CHECK(refused.header(0, "Authorization") == "Bearer old");
  CHECK(try_flow(flow, [](const HttpAsk&) { return says(200); }, Try::expired).answer == Answer::wrongly_accepted);
}

TEST_CASE("an expired token that works is wrongly accepted, whoever it makes of its bearer", "[flow]") {
  Flow flow = flow_of(Json::parse(R"([{"json": {"p": "{password}"}, "capture": {"token": "json:/token"}},
                                      {"url": "/me", "headers": {"Authorization": "Bearer {token}"}, "check": {"/sub": "{user}", "/in": true}}])"));
  flow.expired_token = "old";
  const auto as = [&flow](const char* me) { return try_flow(flow, [me](const HttpAsk&) { return says(200, me); }, Try::expired).answer; };
  CHECK(as(R"({"sub":"bob","in":true})") == Answer::wrongly_accepted);
  CHECK(as(R"({"sub":7,"in":true})") == Answer::wrongly_accepted);
  CHECK(as(R"({"sub":"bob","in":false})") == Answer::rejected_rightly);
  for (const char* nobody : {R"({"sub":null,"in":true})", R"({"sub":"","in":true})", R"({"sub":false,"in":true})", R"({"sub":{},"in":true})", R"({"in":true})"}) {
    CHECK(as(nobody) == Answer::rejected_rightly);
  }
}

TEST_CASE("a control whose token nobody answered for is neither refused nor accepted", "[flow]") {
  Flow flow = flow_of(Json::parse(R"([{"json": {"p": "{password}"}, "capture": {"token": "json:/token"}}, {"url": "/me", "headers": {"Authorization": "Bearer {token}"}}])"));
  flow.expired_token = "old";
  for (const Answer failed : {Answer::broken, Answer::refused}) {
    const auto cut = [failed](const HttpAsk& ask) {
      Scripted out = says(200, R"({"token":"t1"})");
      if (ask.url.target == "/me") out.said.failed = failed;
      return out;
    };
    for (const Try kind : {Try::right, Try::wrong, Try::expired}) CHECK(try_flow(flow, cut, kind).answer == failed);
  }
}

TEST_CASE("other hosts that steps name are known before the first login", "[flow]") {
  const Flow flow = flow_of(Json::parse(R"([{"form": {"p": "{password}"}, "capture": {"code": "json:/code"}}, {"url": "https://id.staging.example:8443/check?code={code}"}])"));
  const auto origins = origins_of(flow);
  REQUIRE(origins.size() == 2);
  CHECK(origins[1].address == Address{"id.staging.example", 8443});
  const Tried tried = try_flow(flow, [](const HttpAsk&) { return says(200, R"({"code":"a b&c"})"); });
  CHECK(tried.answer == Answer::ok);
  CHECK(show(tried.asked.at(1).url) == "https://id.staging.example:8443/check?code=a%20b%26c");
}

TEST_CASE("mistakes in steps are said with their step", "[flow]") {
  const auto said = [](const char* text) { return mistake_in(Json::parse(text)); };
  CHECK(said(R"([{"form": {"p": "{password}"}}])").empty());
  CHECK(said("[]") == "[] is a list; write a list of 1 to 20 steps");
  CHECK(said(R"([{"url": "/a"}])") == "no step sends a password; write {password} where it belongs: without it nobody logs in");
  CHECK_THAT(said(R"([{"frm": {"p": "{password}"}}])"), Catch::StartsWith("step 1: ") && Catch::Contains("did you mean \"form\"?"));
  CHECK(said(R"([{"form": {"p": "{password}"}}, {"url": "/a?t={tokn}"}])").starts_with("step 2: "));
  CHECK(said(R"([{"form": {"p": "{password}", "t": "{token}"}, "capture": {"token": "json:/t"}}])").starts_with("step 1: "));
  CHECK(said(R"([{"form": {"p": "{password}"}, "capture": {"token": "xml:/t"}}])") ==
        "step 1: \"xml:/t\" does not say what to capture; write \"json:/token\", \"header:Location\", \"cookie:session\", \"query:code\", \"field:csrf\" or \"form:\"");
  CHECK(said(R"([{"form": {"p": "{password}"}, "capture": {"token": "query:"}}])").starts_with("step 1: \"query:\" does not say which"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "capture": {"token": "header:a b"}}])").starts_with("step 1: \"header:a b\" has no name of a header"));
  for (const char* taken : {"user", "password", "basic", "client", "random", "pkce_verifier"}) {
    const Json steps = {{{"form", {{"p", "{password}"}}}, {"capture", {{taken, "json:/t"}}}}};
    CHECK(mistake_in(steps).find("has a meaning of its own") != std::string::npos);
  }
  CHECK(said(R"([{"form": {"p": "{password}"}, "capture": {"token": "json:t"}}])").starts_with("step 1: \"t\" is not a JSON pointer"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "json": {}}])").starts_with("step 1: both a form and JSON"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "status": [100]}])").starts_with("step 1: 100 is not a status"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "url": "https://{user}.example/"}])").find("where its host is") != std::string::npos);
  CHECK(said(R"([{"form": {"p": "{password}"}, "url": "login"}])").starts_with("step 1: \"login\" is not a URL"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "headers": {"A b": "x"}}])").starts_with("step 1: \"A b\" is not the name of a header"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "headers": {"cookie": "x"}}])").starts_with("step 1: cookies are kept"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "check": {"active": true}}])").starts_with("step 1: \"active\" is not a JSON pointer"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "check": {"query:state": 7}}])").starts_with("step 1: "));
  CHECK(said(R"([{"form": {"p": "{password}"}, "check": {"query:": "x"}}])").starts_with("step 1: \"query:\" does not say which"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "denied": {}}])") == "step 1: denied: nothing says what a no looks like; write \"status\", \"check\" or \"contains\" in it");
  CHECK(said(R"([{"form": {"p": "{password}"}, "denied": "x"}])").starts_with("step 1: denied: "));
  CHECK_THAT(said(R"([{"form": {"p": "{password}"}, "denied": {"contain": "x"}}])"), Catch::StartsWith("step 1: denied: ") && Catch::Contains("did you mean \"contains\"?"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "denied": {"status": [99]}}])").starts_with("step 1: denied: 99 is not a status"));
  CHECK(said(R"([{"form": {"p": "{password}"}, "denied": {"contains": "{nme}"}}])").starts_with("step 1: "));
}

TEST_CASE("cookies go back to their host below their path, and go when they are taken away", "[flow]") {
  const auto url = [](const std::string& text) { return std::get<Url>(parse_url(text)); };
  CookieJar jar;
  jar.take(url("https://a.example/x/login"), "here=1");
  jar.take(url("https://a.example/x/login"), "all=2; Path=/; Secure");
  CHECK(jar.header_for(url("https://a.example/x/y")) == "here=1; all=2");
  CHECK(jar.header_for(url("https://a.example/xy")) == "all=2");
  CHECK(jar.header_for(url("http://a.example/")).empty());
  CHECK(jar.header_for(url("https://b.example/x/login")).empty());
  jar.take(url("https://a.example/other"), "all=3; path=/");
  CHECK(jar.value("all") == "3");
  jar.take(url("https://a.example/"), "all=; Max-Age=0; Path=/");
  CHECK(jar.value("all") == std::nullopt);
  jar.take(url("https://a.example/"), "big=" + std::string(4093, 'x'));
  CHECK(jar.value("big") == std::string(4093, 'x'));
  jar.take(url("https://a.example/"), "big=; Max-Age=0");
  jar.take(url("https://a.example/"), "big=" + std::string(4094, 'x'));
  for (const char* nonsense : {"", "=1", "a", "a=b c", "a=\x01", ";;;"}) jar.take(url("https://a.example/"), nonsense);
  CHECK(jar.header_for(url("https://a.example/")).empty());
}
