#include "injector/base/located_json.h"

#include <catch2/catch.hpp>

#include "injector/base/rng.h"

using namespace capsize;

namespace {

// "line:column: fact; remedy" of each problem.
std::vector<std::string> problems(std::string_view text) {
  Diagnostics diagnostics;
  parse_located(text, diagnostics);
  std::vector<std::string> out;
  for (const Diagnostic& d : diagnostics.all()) out.push_back(std::to_string(d.line) + ":" + std::to_string(d.column) + ": " + d.fact + "; " + d.remedy);
  return out;
}

using Said = std::vector<std::string>;

Json random_json(Rng& rng, int depth) {
  static const std::vector<std::string> texts = {"", "plain", "\"quoted\" \\ /", "caf\u00e9 \U0001F600", "${variable}", "// no comment", "[{,:}]"};
  switch (rng.below(depth > 0 ? 8 : 6)) {
    case 0: return nullptr;
    case 1: return rng.chance(0.5);
    case 2: return static_cast<std::int64_t>(rng.next());
    case 3: return rng.next();
    case 4: return (rng.uniform() - 0.5) * 1e9;
    case 5: return texts[rng.below(texts.size())];
    case 6: {
      Json list = Json::array();
      for (std::uint64_t i = rng.below(5); i > 0; --i) list.push_back(random_json(rng, depth - 1));
      return list;
    }
    default: break;
  }
  Json object = Json::object();
  for (std::uint64_t i = rng.below(5); i > 0; --i) object[texts[rng.below(texts.size())] + std::to_string(rng.below(9))] = random_json(rng, depth - 1);
  return object;
}

void check_places(const LocatedJson& located, const std::vector<std::string>& lines, const Json& json, const std::string& pointer) {
  const Position place = located.value_at(pointer);
  REQUIRE(place.line >= 1);
  const std::string rest = lines.at(static_cast<std::size_t>(place.line) - 1).substr(static_cast<std::size_t>(place.column) - 1);
  INFO(pointer << " at " << rest);
  const std::string begins = json.is_object() ? "{" : json.is_array() ? "[" : json.dump();
  CHECK(rest.rfind(begins, 0) == 0);
  if (!json.is_structured()) return;
  std::size_t index = 0;
  for (const auto& [key, value] : json.items()) {
    const std::string inner = json.is_array() ? pointer_join(pointer, index++) : pointer_join(pointer, key);
    if (json.is_object()) {
      const Position key_place = located.key_at(inner);
      CHECK(lines.at(static_cast<std::size_t>(key_place.line) - 1).substr(static_cast<std::size_t>(key_place.column) - 1).rfind(Json(key).dump(), 0) == 0);
    }
    check_places(located, lines, value, inner);
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out(1);
  for (const char c : text) {
    if (c == '\n') out.emplace_back();
    else out.back() += c;
  }
  return out;
}

}  // namespace

TEST_CASE("every value and key is found where it stands, comments or not", "[located_json]") {
  const std::string text =
      "// first, a word\n"
      "{ /* and { \"another\": 1 } */ \"a\": [ 1, // one\n"
      "    { \"b/c~d\": \"x\" } ],\n"
      "\t\"caf\u00e9\": 1, \"e\": true }\n";
  Diagnostics diagnostics;
  const auto located = parse_located(text, diagnostics);
  REQUIRE(located);
  CHECK(diagnostics.all().empty());
  CHECK(located->json == Json{{"a", {1, {{"b/c~d", "x"}}}}, {"caf\u00e9", 1}, {"e", true}});
  CHECK(located->value_at("") == Position{2, 1});
  CHECK(located->key_at("") == Position{2, 1});
  CHECK(located->key_at("/a") == Position{2, 30});
  CHECK(located->value_at("/a") == Position{2, 35});
  CHECK(located->value_at("/a/0") == Position{2, 37});
  CHECK(located->value_at("/a/1") == Position{3, 5});
  CHECK(located->key_at("/a/1/b~1c~0d") == Position{3, 7});
  CHECK(located->value_at("/a/1/b~1c~0d") == Position{3, 16});
  CHECK(located->key_at("/e") == Position{4, 14});  // columns count bytes
  CHECK(located->value_at("/a/1/none/such") == Position{3, 5});
}

TEST_CASE("what is valid is read as nlohmann reads it, and every place is right", "[located_json]") {
  Rng rng(20240611);
  for (int i = 0; i < 300; ++i) {
    const Json json = random_json(rng, 4);
    const std::string text = json.dump(i % 4 == 0 ? -1 : i % 4);
    INFO(text);
    Diagnostics diagnostics;
    const auto located = parse_located(text, diagnostics);
    REQUIRE(located);
    CHECK(diagnostics.all().empty());
    CHECK(located->json == json);
    check_places(*located, lines_of(text), json, "");
  }
}

// Bytes changed, lost and doubled: where nlohmann takes it, so do we, with the same value, but for what we refuse on purpose.
TEST_CASE("what is broken is refused wherever nlohmann refuses it", "[located_json]") {
  const std::string good = R"({"a": [1, -2.5e3, "t\u00e9xt", {"b": null}], "c": {"d": [true, false]}, "e": "${x}", "f": 0.5})";
  const std::string letters = "{}[]\",:'\\/*0123456789.eE+-truefalsn \n#x$";
  Rng rng(7);
  int taken = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = good;
    for (std::uint64_t changes = 1 + rng.below(3); changes > 0; --changes) {
      const std::size_t at = rng.below(text.size());
      switch (rng.below(3)) {
        case 0: text[at] = letters[rng.below(letters.size())]; break;
        case 1: text.erase(at, 1 + rng.below(4)); break;
        default: text.insert(at, 1, letters[rng.below(letters.size())]); break;
      }
    }
    Diagnostics diagnostics;
    const auto located = parse_located(text, diagnostics);
    const Json expected = Json::parse(text, nullptr, false, true);
    INFO(text);
    if (expected.is_discarded()) {
      CHECK(!diagnostics.ok());
      continue;
    }
    const bool on_purpose = text.find('#') != std::string::npos;
    const bool twice = !diagnostics.ok() && diagnostics.all().front().fact.find("there twice") != std::string::npos;
    const bool control = !diagnostics.ok() && diagnostics.all().front().fact.find("control character") != std::string::npos;
    const bool beyond = !diagnostics.ok() && diagnostics.all().front().fact.find("beyond") != std::string::npos;
    if (on_purpose || twice || control || beyond) continue;
    CHECK(diagnostics.text("t") == "");
    REQUIRE(located);
    CHECK(located->json == expected);
    ++taken;
  }
  CHECK(taken > 500);
}

TEST_CASE("each slip of syntax has its place and its remedy, and is read as it was meant", "[located_json]") {
  CHECK(problems("{\"a\": 1\n \"b\": 2}") == Said{"1:8: a comma is missing here; write a comma between two items"});
  CHECK(problems("[1, 2, ]") == Said{"1:6: a comma before ]; leave the last comma out"});
  CHECK(problems("[, 1]") == Said{"1:2: a comma with nothing before it; leave it out"});
  CHECK(problems("{'a': 'it'}") == Said{"1:2: single quotes; write double quotes: \"", "1:7: single quotes; write double quotes: \""});
  CHECK(problems("{a: 10s}") == Said{"1:2: the key a has no quotes; write \"a\"", "1:5: 10s has no quotes; write \"10s\""});
  CHECK(problems("{\"a\" 1}") == Said{"1:6: no : after the key \"a\"; write a colon between a key and its value"});
  CHECK(problems("{\"a\" = 1}") == Said{"1:6: = after a key; write :"});
  CHECK(problems("[True, 95%, 120/s]") == Said{"1:2: True is not a value of JSON; write true", "1:8: 95% has no quotes; write \"95%\"", "1:13: 120/s has no quotes; write \"120/s\""});
  CHECK(problems("[1] # why") == Said{"1:5: \"#\" does not begin a comment here; begin comments with //"});
  Diagnostics diagnostics;
  CHECK(parse_located("{a: 10s, 'b' = True \"c\": [1,],}", diagnostics)->json == Json{{"a", "10s"}, {"b", true}, {"c", Json::array({1})}});
}

TEST_CASE("a key that is there twice is said each time, and the first value counts", "[located_json]") {
  CHECK(problems("{\"a\": 1,\n \"a\": 2,\n \"b\": {\"c\": 1, \"c\": 2},\n \"a\": 3}") ==
        Said{"2:2: \"a\" is there twice, first on line 1; keep one of the two", "3:16: \"c\" is there twice, first on line 3; keep one of the two",
             "4:2: \"a\" is there twice, first on line 1; keep one of the two"});
  Diagnostics diagnostics;
  CHECK(parse_located("{\"a\": 1, \"a\": 2}", diagnostics)->json == Json{{"a", 1}});
}

TEST_CASE("where reading on would only guess there is one diagnostic", "[located_json]") {
  CHECK(problems("") == Said{"1:1: there is nothing in it; begin with { and end with }"});
  CHECK(problems("// only\n") == Said{"2:1: there is nothing in it; begin with { and end with }"});
  CHECK(problems("{\"a\": \"open,\n\"b\": 1}") == Said{"1:7: this text has no closing quote on its line; close it with \""});
  CHECK(problems("{\"a\": [1, 2}") == Said{"1:12: } closes the [ of line 1, column 7; write ] here, or check what is closed before"});
  CHECK(problems("{\"a\": {\n\n") == Said{"1:7: this { is never closed; add } where it ends"});
  CHECK(problems("{\"a\": }") == Said{"1:7: the key \"a\" has no value; write its value after the colon"});
  CHECK(problems("{} }") == Said{"1:4: there is more after the end of the document; count the closing braces before it, or leave the rest out"});
  CHECK(problems("{ /* a") == Said{"1:3: this comment has no end; close it with */"});
  CHECK(problems("[;]") == Said{"1:2: \";\" where a value should be; write a text in quotes, a number, true, false, [ or {"});
}

TEST_CASE("numbers are those of JSON, and can be counted with", "[located_json]") {
  for (const char* text : {"01", "+1", ".5", "5.", "1.2.3", "1e", "--1"}) {
    INFO(text);
    REQUIRE(problems(text).size() == 1);
    CHECK(problems(text)[0].find(" is not a number as JSON writes it; ") != std::string::npos);
  }
  for (const char* text : {"1e999", "-1e999", "18446744073709551616", "-9223372036854775809"}) {
    INFO(text);
    REQUIRE(problems(text).size() == 1);
    CHECK(problems(text)[0].find("beyond what can be counted with") != std::string::npos);
  }
  CHECK(problems("NaN") == Said{"1:1: NaN is not a number; write a number"});
  CHECK(problems("-Infinity") == Said{"1:1: -Infinity is not a number; write a number"});
  CHECK(problems("[0, -0, 1e5, 18446744073709551615, -9223372036854775808, 0.25]") == Said{});
}

TEST_CASE("texts are UTF-8 without control characters, however they are written", "[located_json]") {
  CHECK(problems("\"a\tb\"") == Said{"1:3: a control character (U+0009) in a text; leave it out"});
  CHECK(problems("\"a\\nb\"") == Said{"1:3: a control character (\\n) in a text; leave it out"});
  CHECK(problems("\"a\\u0000\\u001b\\u009b\"").size() == 3);
  CHECK(problems("\"\\ud83d\"") == Said{"1:2: half of a surrogate pair; write both halves, or the character itself"});
  CHECK(problems("\"\\u12\"") == Said{"1:2: \\u without four hexadecimal digits; write them, as \\u00e9"});
  CHECK(problems("\"C:\\dir\"") == Said{"1:4: \\d means nothing in a text; write \\\\ for a backslash"});
  CHECK(problems("{\"a\":\n\"caf\xe9\"}") == Said{"2:5: bytes that are not UTF-8; save it as UTF-8"});
  CHECK(problems("\"\xed\xa0\x80\"").size() == 1);
  CHECK(problems("\"\xc0\xaf\"").size() == 1);
  Diagnostics diagnostics;
  CHECK(parse_located("\"\\ud83d\\ude00 \\u00e9 \\/\"", diagnostics)->json == "\U0001F600 \u00e9 /");
  CHECK(diagnostics.all().empty());
}

TEST_CASE("size, depth and the number of problems have limits", "[located_json]") {
  const auto nested = [](int depth) { return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']'); };
  CHECK(problems(nested(kMaxDocumentDepth)) == Said{});
  CHECK(problems(nested(kMaxDocumentDepth + 1)) == Said{"1:33: more than 32 objects and lists within each other; flatten it"});
  CHECK(problems(std::string(1'000'000, '[')).size() == 1);
  CHECK(problems(std::string(kMaxDocumentBytes, ' ') + "1").front().find("larger than 1048576 bytes") != std::string::npos);
  CHECK(problems("{\"" + std::string(kMaxKeyBytes + 1, 'k') + "\": 1}") == Said{"1:2: a key of more than 256 bytes; write a shorter one"});
  CHECK(problems("[" + std::string(1000, ',') + "]").size() == kMaxSyntaxProblems);
}
