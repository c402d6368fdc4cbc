// Units live in types. Each parameter type knows how to read its JSON, how to say what it wants, its JSON Schema and how it is printed.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/json.h"

namespace capsize {

struct Share {
  double value = 0;  // 0 to 1
  friend bool operator==(const Share&, const Share&) = default;
};
struct Rate {
  double per_second = 0;
  friend bool operator==(const Rate&, const Rate&) = default;
};
struct Size {
  std::uint64_t bytes = 0;
  friend bool operator==(const Size&, const Size&) = default;
};
using Count = std::uint64_t;
// A name as balancers and kernels accept it: nothing in it can end or begin another command.
struct Name {
  std::string text;
  friend auto operator<=>(const Name&, const Name&) = default;
};
struct Address {
  std::string host;  // an IPv4 or IPv6 literal or a host name; without brackets
  std::uint16_t port = 0;
  friend bool operator==(const Address&, const Address&) = default;
};

// Why a value was not taken.
struct Mistake {
  std::string fact;
  std::string remedy;
};
template <class T>
using Parsed = std::variant<T, Mistake>;

Parsed<Duration> parse_duration(std::string_view text);  // "250ms"; units ns us ms s m h
Parsed<Share> parse_share(std::string_view text);        // "95%"
Parsed<Rate> parse_rate(std::string_view text);          // "120/s"; per s, m, h
Parsed<Size> parse_size(std::string_view text);          // "64MiB"; units B KiB MiB GiB
Parsed<Name> parse_name(std::string_view text);          // ^[A-Za-z0-9_.:@-]{1,128}$
Parsed<Address> parse_address(std::string_view text);    // "127.0.0.1:80", "[::1]:80", "db.staging:5432"

std::string show(Duration duration);
std::string show(Share share);
std::string show(Rate rate);
std::string show(Size size);
std::string show(const Address& address);

// One specialisation a type: name(), parse(Json), schema(), show(value) -> Json.
template <class T>
struct ParamTraits;

#define CAPSIZE_TEXT_PARAM(Type)                                  \
  template <>                                                     \
  struct ParamTraits<Type> {                                      \
    static std::string name();                                    \
    static Parsed<Type> parse(const Json& json);                  \
    static Json schema();                                         \
    static Json show(const Type& value);                          \
  }
CAPSIZE_TEXT_PARAM(Duration);
CAPSIZE_TEXT_PARAM(Share);
CAPSIZE_TEXT_PARAM(Rate);
CAPSIZE_TEXT_PARAM(Size);
CAPSIZE_TEXT_PARAM(Name);
CAPSIZE_TEXT_PARAM(Address);
CAPSIZE_TEXT_PARAM(std::string);
CAPSIZE_TEXT_PARAM(Count);
CAPSIZE_TEXT_PARAM(bool);
CAPSIZE_TEXT_PARAM(Json);  // anything; checked by who declared it
#undef CAPSIZE_TEXT_PARAM

// A choice from a list of words: specialise EnumWords with `static constexpr std::array<std::pair<E, std::string_view>, N> words`.
template <class E>
struct EnumWords;

Mistake wrong_word(std::string_view word, const std::vector<std::string>& known);
Mistake wrong_type(const Json& json, std::string_view wanted);
Json schema_with_variables(Json schema);  // the schema, or a text with ${...} in it

template <class E>
  requires requires { EnumWords<E>::words; }
struct ParamTraits<E> {
  static std::vector<std::string> known() {
    std::vector<std::string> out;
    for (const auto& [value, word] : EnumWords<E>::words) out.emplace_back(word);
    return out;
  }
  static std::string name() {
    std::string out;
    for (const std::string& word : known()) out += (out.empty() ? "\"" : " | \"") + word + "\"";
    return out;
  }
  static Parsed<E> parse(const Json& json) {
    if (!json.is_string()) return wrong_type(json, "one of " + name());
    for (const auto& [value, word] : EnumWords<E>::words) {
      if (json.get_ref<const std::string&>() == word) return value;
    }
    return wrong_word(json.get_ref<const std::string&>(), known());
  }
  static Json schema() { return schema_with_variables({{"enum", known()}}); }
  static Json show(const E& wanted) {
    for (const auto& [value, word] : EnumWords<E>::words) {
      if (value == wanted) return std::string(word);
    }
    return nullptr;
  }
};

template <class T>
struct ParamTraits<std::optional<T>> {
  static std::string name() { return ParamTraits<T>::name(); }
  static Parsed<std::optional<T>> parse(const Json& json) {
    auto parsed = ParamTraits<T>::parse(json);
    if (auto* mistake = std::get_if<Mistake>(&parsed)) return std::move(*mistake);
    return std::optional<T>(std::get<T>(std::move(parsed)));
  }
  static Json schema() { return ParamTraits<T>::schema(); }
  static Json show(const std::optional<T>& value) { return value ? ParamTraits<T>::show(*value) : Json(nullptr); }
};

template <class T>
struct ParamTraits<std::vector<T>> {
  static std::string name() { return "list of " + ParamTraits<T>::name(); }
  static Parsed<std::vector<T>> parse(const Json& json) {
    if (!json.is_array() || json.empty()) return wrong_type(json, "a list of at least one " + ParamTraits<T>::name());
    std::vector<T> out;
    for (const Json& item : json) {
      auto parsed = ParamTraits<T>::parse(item);
      if (auto* mistake = std::get_if<Mistake>(&parsed)) return std::move(*mistake);
      out.push_back(std::get<T>(std::move(parsed)));
    }
    return out;
  }
  static Json schema() { return schema_with_variables({{"type", "array"}, {"minItems", 1}, {"items", ParamTraits<T>::schema()}}); }
  static Json show(const std::vector<T>& value) {
    Json out = Json::array();
    for (const T& item : value) out.push_back(ParamTraits<T>::show(item));
    return out;
  }
};

template <class T>
struct ParamTraits<std::map<Name, T>> {
  static std::string name() { return "object of name: " + ParamTraits<T>::name(); }
  static Parsed<std::map<Name, T>> parse(const Json& json) {
    if (!json.is_object() || json.empty()) return wrong_type(json, "an object with at least one name: " + ParamTraits<T>::name());
    std::map<Name, T> out;
    for (const auto& [key, item] : json.items()) {
      auto name = parse_name(key);
      if (auto* mistake = std::get_if<Mistake>(&name)) return std::move(*mistake);
      auto parsed = ParamTraits<T>::parse(item);
      if (auto* mistake = std::get_if<Mistake>(&parsed)) return std::move(*mistake);
      out.emplace(std::get<Name>(std::move(name)), std::get<T>(std::move(parsed)));
    }
    return out;
  }
  static Json schema() {
    return {{"type", "object"}, {"minProperties", 1}, {"propertyNames", {{"pattern", "^[A-Za-z0-9_.:@-]{1,128}$"}}}, {"additionalProperties", ParamTraits<T>::schema()}};
  }
  static Json show(const std::map<Name, T>& value) {
    Json out = Json::object();
    for (const auto& [name, item] : value) out[name.text] = ParamTraits<T>::show(item);
    return out;
  }
};

}  // namespace capsize
