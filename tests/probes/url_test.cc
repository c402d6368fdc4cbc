#include "probes/http/url.h"

using namespace capsize;

TEST_CASE("a URL is taken apart into what is connected to and what is asked for", "[url]") {
  CHECK(std::get<Url>(parse_url("http://127.0.0.1:8080/login?x=1")) == Url{false, {"127.0.0.1", 8080}, "/login?x=1"});
  CHECK(std::get<Url>(parse_url("https://auth.staging")) == Url{true, {"auth.staging", 443}, "/"});
  CHECK(std::get<Url>(parse_url("http://auth.staging?a")) == Url{false, {"auth.staging", 80}, "/?a"});
  CHECK(std::get<Url>(parse_url("https://[::1]/x")) == Url{true, {"::1", 443}, "/x"});
  CHECK(std::get<Url>(parse_url("https://[::1]:8443/x")) == Url{true, {"::1", 8443}, "/x"});
}

TEST_CASE("a host is the same however it is written, a path is not", "[url]") {
  CHECK(std::get<Url>(parse_url("https://Auth.Staging/Login")) == std::get<Url>(parse_url("https://auth.staging/Login")));
  CHECK(!(std::get<Url>(parse_url("https://auth.staging/Login")) == std::get<Url>(parse_url("https://auth.staging/login"))));
}

TEST_CASE("a URL is shown as it was written", "[url]") {
  for (const char* text : {"http://127.0.0.1:8080/login?x=1", "https://auth.staging/", "https://[::1]/x", "http://[::1]:8080/"}) {
    CHECK(show(std::get<Url>(parse_url(text))) == text);
  }
  CHECK(host_header(std::get<Url>(parse_url("https://auth.staging/"))) == "auth.staging");
  CHECK(host_header(std::get<Url>(parse_url("http://auth.staging:443/"))) == "auth.staging:443");
}

TEST_CASE("what could end a request line, or is no URL, is a mistake", "[url]") {
  for (const char* text : {"", "ftp://a/", "http://", "http:///x", "http://a b/", "http://a/\r\nX: 1", "http://user:pw@a/", "http://a/#x", "http://a:0/", "http://a:99999/", "http://[::1/",
                           "a/b", "http://a/\x7f"}) {
    INFO(text);
    CHECK(std::holds_alternative<Mistake>(parse_url(text)));
  }
  CHECK(std::holds_alternative<Mistake>(ParamTraits<Url>::parse(Json(3))));
}
