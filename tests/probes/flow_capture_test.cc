#include "probes/login/flow_capture.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

using Found = std::optional<std::string>;

const Url kFrom = std::get<Url>(parse_url("https://id.example:8443/a/login?x=1"));

HttpSaid said(HttpHeaders headers, std::string body = {}) {
  HttpSaid out;
  out.headers = std::move(headers);
  out.body = std::move(body);
  return out;
}

Found taken(Capture::From from, const std::string& what, const HttpSaid& answer) {
  CookieJar jar;
  jar.take(kFrom, "sid=s1; Path=/");
  return captured({from, what}, kFrom, answer, Json::parse(answer.body, nullptr, false), jar);
}

}  // namespace

TEST_CASE("each source gives what it is asked for, or nothing", "[flow]") {
  const HttpSaid answer = said({{"location", "https://app.example/cb?code=a%2Fb+c&empty=&code=2#code=3"}, {"X-Csrf", "c1"}}, R"({"t":"t1","n":7,"o":{},"z":null})");
  CHECK(taken(Capture::From::header, "x-csrf", answer) == Found("c1"));
  CHECK(taken(Capture::From::header, "none", answer) == Found());
  CHECK(taken(Capture::From::cookie, "sid", answer) == Found("s1"));
  CHECK(taken(Capture::From::query, "code", answer) == Found("a/b c"));
  CHECK(taken(Capture::From::query, "empty", answer) == Found(""));
  CHECK(taken(Capture::From::query, "none", answer) == Found());
  CHECK(taken(Capture::From::query, "code", said({})) == Found());
  CHECK(taken(Capture::From::query, "code", said({{"Location", "/cb#?code=1"}})) == Found());
  CHECK(taken(Capture::From::json, "/t", answer) == Found("t1"));
  CHECK(taken(Capture::From::json, "/n", answer) == Found("7"));
  for (const char* pointer : {"/o", "/z", "/none"}) CHECK(taken(Capture::From::json, pointer, answer) == Found());
  CHECK(taken(Capture::From::form, "", answer) == Found());
}

TEST_CASE("a form that names no place, or a relative one, goes to the host that sent it", "[flow]") {
  CHECK(taken(Capture::From::form, "", said({}, "<form><input type=password>")) == Found("https://id.example:8443/a/login?x=1"));
  CHECK(taken(Capture::From::form, "", said({}, "<form action=do>")) == Found("https://id.example:8443/a/do"));
  CHECK(taken(Capture::From::form, "", said({}, "<form action=//evil.example/do>")) == Found("https://evil.example/do"));  // which no step may ask
}

TEST_CASE("half a percent sign is text", "[flow]") {
  CHECK(query_parameter("/?a=%4", "a") == Found("%4"));
  CHECK(query_parameter("/?a=%zz%41%", "a") == Found("%zzA%"));
  CHECK(query_parameter("/?&&=&a", "a") == Found(""));
}
