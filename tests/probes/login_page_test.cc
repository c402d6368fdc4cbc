#include "probes/login/login_page.h"

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

using Found = std::optional<std::string>;

const std::string kPage = R"(<!doctype html><!-- <form action="/commented"><input type="password"></form> -->
<script>document.write("<form action='/scripted'>")</script>
1 < 2 <form id=search action="/find"><input name="q" value="old"></form>
<FORM method="post" id="kc-form-login" name='login' onsubmit="return a > b" action="https://id.example/auth?code=x&amp;tab=1">
<input name="csrf" type="hidden" value='a"b&#39;&#x26;&lt;'/><input name="csrf" value="second"><input id="p" TYPE="Password" name="password">
</FORM><form><input type=checkbox name=empty value></form>)";

}  // namespace

TEST_CASE("a login form is found by its password field, by its id or by its name", "[page]") {
  CHECK(form_action(kPage, "") == Found("https://id.example/auth?code=x&tab=1"));
  CHECK(form_action(kPage, "kc-form-login") == Found("https://id.example/auth?code=x&tab=1"));
  CHECK(form_action(kPage, "login") == Found("https://id.example/auth?code=x&tab=1"));
  CHECK(form_action(kPage, "search") == Found("/find"));
  CHECK(form_action(kPage, "none") == Found());
  CHECK(form_action("<form method=post><input type=password>", "") == Found(""));
  CHECK(form_action("<form action=/a></form><form action=/b></form>", "") == Found("/a"));
  CHECK(form_action("<form action=/a></form><input type=password>", "") == Found("/a"));
  CHECK(form_action("no form", "") == Found());
}

TEST_CASE("what only looks like a form or a field, as text or in a template, is none", "[page]") {
  const std::string fake = R"(<form id="login" action="/evil"><input type="password"><input name="csrf" value="evil"></form>)";
  const std::string real = R"(<form id="login" action="/real"><input type="password"><input name="csrf" value="real"></form>)";
  const std::vector<std::pair<std::string, std::string>> around = {
      {"<!--", "-->"}, {"<!-- > -- ->", "--!><p>-->"}, {"<script>", "</script>"}, {"<script>'</b>';", "</script >"}, {"<SCRIPT type=x>\"</scripty>\"", "</Script>"}, {"<style>", "</style>"},
      {"<textarea>", "</textarea>"}, {"<textarea/>", "</textarea\n>"}, {"<title>", "</title>"}, {"<template>", "</template>"}, {"<template><template></template>", "</template>"},
      {"<template><script></template></script>", "</template>"}, {"<iframe>", "</iframe>"}, {"<xmp>", "</xmp>"}, {"<noembed>", "</noembed>"}, {"<? ", "?>"}};
  for (const auto& [begin, end] : around) {
    INFO(begin);
    if (begin != "<? ") {  // which the first > ends
      CHECK(form_action(begin + fake + end + real, "") == Found("/real"));
      CHECK(form_action(begin + fake + end + real, "login") == Found("/real"));
      CHECK(field_value(begin + fake + end + real, "csrf") == Found("real"));
      CHECK(form_action(begin + fake + end, "login") == Found());
      CHECK(form_action(begin + fake, "login") == Found());  // never ended
    }
    CHECK(form_action(real + begin + end, "login") == Found("/real"));
    CHECK(form_action(begin + end + real, "login") == Found("/real"));
  }
  for (const char* empty : {"<!-->", "<!--->", "<!---->", "<!----!>"}) CHECK(form_action(empty + real, "login") == Found("/real"));
  CHECK(form_action("<!doctype html <form id=login action=/evil>" + real, "login") == Found("/real"));
  CHECK(form_action("</template></script>" + real, "login") == Found("/real"));
  CHECK(form_action("<noscript>" + real + "</noscript>", "login") == Found("/real"));
  CHECK(form_action("<form/id='login'/action=/a>", "login") == Found("/a"));
}

TEST_CASE("a field's value is what a browser would send back", "[page]") {
  CHECK(field_value(kPage, "csrf") == Found("a\"b'&<"));
  CHECK(field_value(kPage, "q") == Found("old"));
  CHECK(field_value(kPage, "empty") == Found(""));
  CHECK(field_value(kPage, "password") == Found());
  CHECK(field_value("<input name=a value=&#8364;&nbsp;&amp>", "a") == Found("\xe2\x82\xac&nbsp;&amp"));
  CHECK(field_value("<input name=a value='&#0;&#xd800;&#x110000;&#12345678;&#x;&#;&;'>", "a") == Found("&#0;&#xd800;&#x110000;&#12345678;&#x;&#;&;"));
}

TEST_CASE("a page that is cut off anywhere, or changed anywhere, is read to its end and not beyond", "[page]") {
  for (std::size_t length = 0; length <= kPage.size(); ++length) {
    const std::string part = kPage.substr(0, length);  // of its own, so that a byte too many is seen
    form_action(part, "");
    field_value(part, "csrf");
    for (const char c : {'<', '>', '"', '\'', '&', '=', '/', '\0'}) {
      if (length == kPage.size()) break;
      std::string changed = kPage;
      changed[length] = c;
      const auto action = form_action(changed, "kc-form-login");
      CHECK((!action || action->size() <= changed.size()));
    }
  }
}
