#include "injector/base/param_types.h"

#include <catch2/catch.hpp>

using namespace capsize;
using namespace std::chrono_literals;

namespace {

template <class T>
bool is_mistake(const Parsed<T>& parsed) {
  const auto* mistake = std::get_if<Mistake>(&parsed);
  return mistake != nullptr && !mistake->fact.empty() && !mistake->remedy.empty();
}

enum class Colour { red, green };

}  // namespace

template <>
struct capsize::EnumWords<Colour> {
  static constexpr std::array<std::pair<Colour, std::string_view>, 2> words = {{{Colour::red, "red"}, {Colour::green, "green"}}};
};

TEST_CASE("durations are a number with a unit", "[param_types]") {
  const std::vector<std::pair<const char*, Duration>> good = {{"250ms", 250ms}, {"30s", 30s},  {"1.5s", 1500ms}, {"2m", 2min},  {"1h", 1h},
                                                              {"10us", 10us},   {"7ns", 7ns}, {"0s", 0s},       {"168h", 168h}};
  for (const auto& [text, expected] : good) {
    INFO(text);
    CHECK(std::get<Duration>(parse_duration(text)) == expected);
  }
  for (const char* text : {"", "s", "10", "10 s", "-1s", "+1s", "1e3s", ".5s", "5.s", "1d", "10S", "10s ", "169h", "99999999999999999999s", "1..5s", "\xff"}) {
    INFO(text);
    CHECK(is_mistake(parse_duration(text)));
  }
}

TEST_CASE("what is shown can be read back", "[param_types]") {
  for (const Duration value : {Duration(0s), Duration(250ms), Duration(1500ms), Duration(30s), Duration(90s), Duration(2min), Duration(36h), Duration(1us)}) CHECK(std::get<Duration>(parse_duration(show(value))) == value);
  for (const double value : {0.0, 0.05, 0.95, 0.999, 1.0}) CHECK(std::get<Share>(parse_share(show(Share{value}))).value == Approx(value));
  for (const double value : {0.5, 120.0, 1e6}) CHECK(std::get<Rate>(parse_rate(show(Rate{value}))) == Rate{value});
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1000}, std::uint64_t{4096}, std::uint64_t{64} << 20}) CHECK(std::get<Size>(parse_size(show(Size{value}))) == Size{value});
  for (const char* text : {"127.0.0.1:80", "[::1]:8080", "db.staging:5432"}) CHECK(show(std::get<Address>(parse_address(text))) == text);
  CHECK(show(Duration(90s)) == "90s");
  CHECK(show(Duration(2min)) == "2m");
  CHECK(show(Share{0.125}) == "12.5%");
}

TEST_CASE("shares are percentages from 0 to 100", "[param_types]") {
  CHECK(std::get<Share>(parse_share("95%")).value == Approx(0.95));
  CHECK(std::get<Share>(parse_share("100%")).value == 1);
  CHECK(std::get<Share>(parse_share("0%")).value == 0);
  CHECK(std::get<Share>(parse_share("99.9%")).value == Approx(0.999));
  for (const char* text : {"95", "0.95", "101%", "100.0001%", "-5%", "%", "95 %", "95%%"}) CHECK(is_mistake(parse_share(text)));
}

TEST_CASE("rates are above zero, per second, minute or hour", "[param_types]") {
  CHECK(std::get<Rate>(parse_rate("120/s")).per_second == 120);
  CHECK(std::get<Rate>(parse_rate("30/m")).per_second == Approx(0.5));
  CHECK(std::get<Rate>(parse_rate("3600/h")).per_second == Approx(1));
  for (const char* text : {"120", "120/d", "0/s", "0.0/s", "2000000/s", "/s", "120/ s"}) CHECK(is_mistake(parse_rate(text)));
}

TEST_CASE("sizes count in powers of 1024", "[param_types]") {
  CHECK(std::get<Size>(parse_size("64MiB")).bytes == 64u << 20);
  CHECK(std::get<Size>(parse_size("1.5KiB")).bytes == 1536);
  for (const char* text : {"64MB", "64", "-1B", "99999999GiB"}) CHECK(is_mistake(parse_size(text)));
}

TEST_CASE("nothing in a name can end a command and begin another", "[param_types]") {
  for (const char* text : {"auth1", "a", "be_auth:srv-1.x@y"}) CHECK(std::get<Name>(parse_name(text)).text == text);
  for (const char* text : {"", "a b", "a;b", "a/b", "a\nb", "$(id)", "a\"b", "caf\u00e9", "a,b", "-o Proxy"}) CHECK(is_mistake(parse_name(text)));
  CHECK(!is_mistake(parse_name(std::string(128, 'a'))));
  CHECK(is_mistake(parse_name(std::string(129, 'a'))));
}

TEST_CASE("addresses have a host and a port", "[param_types]") {
  CHECK(std::get<Address>(parse_address("[fe80::1%eth0]:80")) == Address{"fe80::1%eth0", 80});
  for (const char* text : {"", ":80", "host", "host:", "host:0", "host:65536", "host:8a", "::1:80", "a b:80", "host:80/x", "[]:80"}) {
    INFO(text);
    CHECK(is_mistake(parse_address(text)));
  }
}

TEST_CASE("a value of the wrong type is told what to write", "[param_types]") {
  const auto mistake = std::get<Mistake>(ParamTraits<Duration>::parse(30));
  CHECK(mistake.fact == "30 is a number");
  CHECK(mistake.remedy == "write a duration, as \"250ms\" or \"30s\"");
  CHECK(is_mistake(ParamTraits<Count>::parse("5")));
  CHECK(is_mistake(ParamTraits<Count>::parse(-5)));
  CHECK(is_mistake(ParamTraits<Count>::parse(5.5)));
  CHECK(is_mistake(ParamTraits<Count>::parse(2'000'000'000)));
  CHECK(std::get<Count>(ParamTraits<Count>::parse(5)) == 5);
  CHECK(is_mistake(ParamTraits<bool>::parse("true")));
  CHECK(is_mistake(ParamTraits<std::string>::parse(std::string(4097, 'x'))));
}

TEST_CASE("words, lists and maps read their items", "[param_types]") {
  CHECK(std::get<Colour>(ParamTraits<Colour>::parse("green")) == Colour::green);
  CHECK(std::get<Mistake>(ParamTraits<Colour>::parse("gren")).remedy == "did you mean \"green\"? known: \"red\", \"green\"");
  CHECK(std::get<std::vector<Count>>(ParamTraits<std::vector<Count>>::parse({1, 2})) == std::vector<Count>{1, 2});
  CHECK(is_mistake(ParamTraits<std::vector<Count>>::parse(Json::array())));
  CHECK(std::get<Mistake>(ParamTraits<std::vector<Count>>::parse({1, "x"})).fact == "\"x\" is a text");
  using Weights = std::map<Name, Count>;
  CHECK(std::get<Weights>(ParamTraits<Weights>::parse({{"auth1", 5}})) == Weights{{Name{"auth1"}, 5}});
  CHECK(is_mistake(ParamTraits<Weights>::parse({{"auth 1", 5}})));
  CHECK(is_mistake(ParamTraits<Weights>::parse({{"auth1", -1}})));
}

TEST_CASE("a schema takes a variable wherever a value of the type may stand", "[param_types]") {
  const Json variable = {{"type", "string"}, {"pattern", "\\$\\{"}};
  for (const Json& schema : {ParamTraits<Duration>::schema(), ParamTraits<Share>::schema(), ParamTraits<Count>::schema(), ParamTraits<bool>::schema(), ParamTraits<Colour>::schema(),
                             ParamTraits<std::vector<Name>>::schema()}) {
    CHECK(schema["anyOf"].back() == variable);
  }
}
