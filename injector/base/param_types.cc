#include "injector/base/param_types.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

constexpr const char* kNamePattern = "^[A-Za-z0-9_.:@-]{1,128}$";

struct Unit {
  std::string_view word;
  double factor;
};
constexpr std::array<Unit, 6> kDurationUnits = {{{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}};
constexpr std::array<Unit, 3> kRateUnits = {{{"/s", 1}, {"/m", 1.0 / 60}, {"/h", 1.0 / 3600}}};
constexpr std::array<Unit, 4> kSizeUnits = {{{"B", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}}};
constexpr double kMaxDuration = 7.0 * 24 * 3600e9;  // a week; also keeps nanoseconds far from overflow

// Digits with an optional fraction, then a unit of the list: the value in base units.
template <std::size_t N>
std::optional<double> number_with_unit(std::string_view text, const std::array<Unit, N>& units) {
  std::size_t digits = 0;
  while (digits < text.size() && ((text[digits] >= '0' && text[digits] <= '9') || text[digits] == '.')) ++digits;
  const std::string_view number = text.substr(0, digits);
  if (number.empty() || number.size() > 18 || number.front() == '.' || number.back() == '.') return std::nullopt;
  double value = 0;
  const auto result = std::from_chars(number.data(), number.data() + number.size(), value, std::chars_format::fixed);
  if (result.ec != std::errc() || result.ptr != number.data() + number.size()) return std::nullopt;
  for (const Unit& unit : units) {
    if (text.substr(digits) == unit.word) return value * unit.factor;
  }
  return std::nullopt;
}

std::string trimmed(double value) {
  std::string out = fmt::format("{:.6f}", value);
  while (out.back() == '0') out.pop_back();
  if (out.back() == '.') out.pop_back();
  return out;
}

std::string quoted(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

Json text_schema(const char* pattern) { return schema_with_variables({{"type", "string"}, {"pattern", pattern}}); }

template <class T, class F>
Parsed<T> from_text(const Json& json, std::string_view wanted, F&& parse) {
  if (!json.is_string()) return wrong_type(json, wanted);
  return parse(json.get_ref<const std::string&>());
}

}  // namespace

Parsed<Duration> parse_duration(std::string_view text) {
  const auto value = number_with_unit(text, kDurationUnits);
  if (!value) return Mistake{quoted(text) + " is not a duration", "write a number and a unit (ns, us, ms, s, m, h), as \"250ms\" or \"30s\""};
  if (*value > kMaxDuration) return Mistake{quoted(text) + " is longer than a week", "write at most \"168h\""};
  return Duration(std::llround(*value));
}

Parsed<Share> parse_share(std::string_view text) {
  constexpr std::array<Unit, 1> kPercent = {{{"%", 0.01}}};
  const auto value = number_with_unit(text, kPercent);
  if (!value) return Mistake{quoted(text) + " is not a share", "write a percentage, as \"95%\""};
  if (*value > 1.0) return Mistake{quoted(text) + " is more than everything", "write at most \"100%\""};
  return Share{*value};
}

Parsed<Rate> parse_rate(std::string_view text) {
  const auto value = number_with_unit(text, kRateUnits);
  if (!value) return Mistake{quoted(text) + " is not a rate", "write a number per second, minute or hour, as \"120/s\" or \"30/m\""};
  if (*value <= 0) return Mistake{quoted(text) + " is no rate at all", "write a rate above zero"};
  if (*value > 1e6) return Mistake{quoted(text) + " is more than a million a second", "write at most \"1000000/s\""};
  return Rate{*value};
}

Parsed<Size> parse_size(std::string_view text) {
  const auto value = number_with_unit(text, kSizeUnits);
  if (!value) return Mistake{quoted(text) + " is not a size", "write a number and a unit (B, KiB, MiB, GiB), as \"64MiB\""};
  if (*value > 0x1p53) return Mistake{quoted(text) + " is too large", "write at most 8 PiB"};
  return Size{static_cast<std::uint64_t>(*value)};
}

Parsed<Name> parse_name(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == ':' || c == '@' || c == '-';
  };
  bool good = !text.empty() && text.size() <= 128;
  for (const char c : text) good = good && allowed(c);
  if (!good) return Mistake{quoted(text) + " is not a name", "write 1 to 128 of the characters A-Z a-z 0-9 _ . : @ -"};
  return Name{std::string(text)};
}

Parsed<Address> parse_address(std::string_view text) {
  const Mistake mistake{quoted(text) + " is not an address", "write host:port, as \"127.0.0.1:8080\", \"[::1]:8080\" or \"db.staging:5432\""};
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || text.size() > 300) return mistake;
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  for (const char c : host) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    if (!plain && !(bracketed && (c == ':' || c == '%'))) return mistake;
  }
  unsigned port = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size() || digits.size() > 5 || port == 0 || port > 65535) return mistake;
  return Address{std::string(host), static_cast<std::uint16_t>(port)};
}

std::string show(Duration duration) {
  const auto count = static_cast<double>(duration.count());
  const Unit* best = &kDurationUnits[0];
  for (const Unit& unit : kDurationUnits) {
    const bool long_unit = unit.factor > 1e9;  // minutes and hours only when they come out whole
    if (count >= unit.factor && (!long_unit || (count >= 2 * unit.factor && std::fmod(count, unit.factor) == 0))) best = &unit;
  }
  return count == 0 ? "0s" : trimmed(count / best->factor) + std::string(best->word);
}
std::string show(Share share) { return trimmed(share.value * 100) + "%"; }
std::string show(Rate rate) { return trimmed(rate.per_second) + "/s"; }
std::string show(Size size) {
  const Unit* best = &kSizeUnits[0];
  for (const Unit& unit : kSizeUnits) {
    if (static_cast<double>(size.bytes) >= unit.factor && std::fmod(static_cast<double>(size.bytes), unit.factor) == 0) best = &unit;
  }
  return trimmed(static_cast<double>(size.bytes) / best->factor) + std::string(best->word);
}
std::string show(const Address& address) {
  return address.host.find(':') == std::string::npos ? fmt::format("{}:{}", address.host, address.port) : fmt::format("[{}]:{}", address.host, address.port);
}

Mistake wrong_word(std::string_view word, const std::vector<std::string>& known) {
  std::string list;
  for (const std::string& k : known) list += (list.empty() ? "\"" : ", \"") + k + "\"";
  const std::string meant = did_you_mean(word, known);
  return {quoted(word) + " is not known here", (meant.empty() ? "" : "did you mean \"" + meant + "\"? ") + std::string("known: ") + (list.empty() ? "nothing" : list)};
}

Mistake wrong_type(const Json& json, std::string_view wanted) {
  return {fmt::format("{} is {}", printable(json.dump(-1, ' ', true, Json::error_handler_t::replace), 60), json.is_object() ? "an object" : json.is_array() ? "a list" : json.is_string() ? "a text" : json.is_number() ? "a number" : json.is_boolean() ? "true or false" : "null"),
          fmt::format("write {}", wanted)};
}

Json schema_with_variables(Json schema) {
  return {{"anyOf", Json::array({std::move(schema), {{"type", "string"}, {"pattern", "\\$\\{"}}})}};
}

std::string ParamTraits<Duration>::name() { return "duration"; }
Parsed<Duration> ParamTraits<Duration>::parse(const Json& json) { return from_text<Duration>(json, "a duration, as \"250ms\" or \"30s\"", parse_duration); }
Json ParamTraits<Duration>::schema() { return text_schema("^[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h)$"); }
Json ParamTraits<Duration>::show(const Duration& value) { return capsize::show(value); }

std::string ParamTraits<Share>::name() { return "share"; }
Parsed<Share> ParamTraits<Share>::parse(const Json& json) { return from_text<Share>(json, "a share, as \"95%\"", parse_share); }
Json ParamTraits<Share>::schema() { return text_schema("^0*(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]+)?)%$"); }
Json ParamTraits<Share>::show(const Share& value) { return capsize::show(value); }

std::string ParamTraits<Rate>::name() { return "rate"; }
Parsed<Rate> ParamTraits<Rate>::parse(const Json& json) { return from_text<Rate>(json, "a rate, as \"120/s\"", parse_rate); }
Json ParamTraits<Rate>::schema() { return text_schema("^(?=.*[1-9])[0-9]+(\\.[0-9]+)?/(s|m|h)$"); }
Json ParamTraits<Rate>::show(const Rate& value) { return capsize::show(value); }

std::string ParamTraits<Size>::name() { return "size"; }
Parsed<Size> ParamTraits<Size>::parse(const Json& json) { return from_text<Size>(json, "a size, as \"64MiB\"", parse_size); }
Json ParamTraits<Size>::schema() { return text_schema("^[0-9]+(\\.[0-9]+)?(B|KiB|MiB|GiB)$"); }
Json ParamTraits<Size>::show(const Size& value) { return capsize::show(value); }

std::string ParamTraits<Name>::name() { return "name"; }
Parsed<Name> ParamTraits<Name>::parse(const Json& json) { return from_text<Name>(json, "a name in quotes", parse_name); }
Json ParamTraits<Name>::schema() { return text_schema(kNamePattern); }
Json ParamTraits<Name>::show(const Name& value) { return value.text; }

std::string ParamTraits<Address>::name() { return "address"; }
Parsed<Address> ParamTraits<Address>::parse(const Json& json) { return from_text<Address>(json, "an address, as \"127.0.0.1:8080\"", parse_address); }
Json ParamTraits<Address>::schema() { return text_schema("^(\\[[0-9A-Za-z:.%_-]+\\]|[0-9A-Za-z._-]+):[0-9]{1,5}$"); }
Json ParamTraits<Address>::show(const Address& value) { return capsize::show(value); }

std::string ParamTraits<std::string>::name() { return "text"; }
Parsed<std::string> ParamTraits<std::string>::parse(const Json& json) {
  if (!json.is_string()) return wrong_type(json, "a text in quotes");
  const auto& text = json.get_ref<const std::string&>();
  if (text.size() > 4096) return Mistake{"a text of over 4,096 bytes", "write a shorter one"};
  return text;
}
Json ParamTraits<std::string>::schema() { return {{"type", "string"}, {"maxLength", 4096}}; }
Json ParamTraits<std::string>::show(const std::string& value) { return value; }

std::string ParamTraits<Count>::name() { return "count"; }
Parsed<Count> ParamTraits<Count>::parse(const Json& json) {
  if (!json.is_number_integer() && !json.is_number_unsigned()) return wrong_type(json, "a whole number without quotes, as 500");
  if (json.is_number_integer() && !json.is_number_unsigned() && json.get<std::int64_t>() < 0) return Mistake{json.dump() + " is negative", "write zero or more"};
  const auto value = json.get<std::uint64_t>();
  if (value > 1'000'000'000) return Mistake{json.dump() + " is more than a milliard", "write at most 1000000000"};
  return value;
}
Json ParamTraits<Count>::schema() { return schema_with_variables({{"type", "integer"}, {"minimum", 0}, {"maximum", 1'000'000'000}}); }
Json ParamTraits<Count>::show(const Count& value) { return value; }

std::string ParamTraits<bool>::name() { return "true | false"; }
Parsed<bool> ParamTraits<bool>::parse(const Json& json) {
  if (!json.is_boolean()) return wrong_type(json, "true or false without quotes");
  return json.get<bool>();
}
Json ParamTraits<bool>::schema() { return schema_with_variables({{"type", "boolean"}}); }
Json ParamTraits<bool>::show(const bool& value) { return value; }

std::string ParamTraits<Json>::name() { return "JSON"; }
Parsed<Json> ParamTraits<Json>::parse(const Json& json) { return json; }
Json ParamTraits<Json>::schema() { return Json::object(); }
Json ParamTraits<Json>::show(const Json& value) { return value; }

}  // namespace capsize
