// Reads the JSON of our own data strictly: what is missing, unknown or of another type is a bug of whoever wrote it, and says where.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {

template <class Words, class E>
std::string_view word_for(const Words& words, E wanted) {
  for (const auto& [value, word] : words) {
    if (value == wanted) return word;
  }
  throw Error(ErrorKind::bug, "a value without a word for it");
}

class JsonParts {
 public:
  // `what` names the object in messages: "a packet match".
  JsonParts(const Json& json, std::string_view what, std::initializer_list<std::string_view> keys) : json_(json), what_(what) {
    if (!json.is_object()) wrong("it is not an object");
    for (const auto& [key, value] : json.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) wrong("no key is called \"" + key.substr(0, 40) + "\"");
    }
  }

  bool has(const char* key) const { return json_.contains(key); }
  const Json& at(const char* key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) wrong(fmt::format("\"{}\" is missing", key));
    return *it;
  }
  const Json& list(const char* key) const {  // empty when it is not there
    static const Json none = Json::array();
    if (!has(key)) return none;
    if (!at(key).is_array()) wrong(fmt::format("\"{}\" is not a list", key));
    return at(key);
  }
  const std::string& text(const char* key) const { return text_of(at(key)); }
  const std::string& text_of(const Json& json) const {
    if (!json.is_string()) wrong("a text was wanted");
    return json.get_ref<const std::string&>();
  }
  bool flag(const char* key) const {
    if (!at(key).is_boolean()) wrong(fmt::format("\"{}\" is not true or false", key));
    return at(key).get<bool>();
  }
  template <class T>
  T number(const char* key) const {
    const Json& json = at(key);
    if constexpr (std::is_floating_point_v<T>) {
      if (!json.is_number()) wrong(fmt::format("\"{}\" is not a number", key));
    } else {
      const bool fits = json.is_number_unsigned() ? json.get<std::uint64_t>() <= std::numeric_limits<T>::max() : json.is_number_integer() && json.get<std::int64_t>() >= 0 && static_cast<std::uint64_t>(json.get<std::int64_t>()) <= std::numeric_limits<T>::max();
      if (!fits) wrong(fmt::format("\"{}\" is not a whole number that fits", key));
    }
    return json.get<T>();
  }
  template <class E, std::size_t N>
  E word(const char* key, const std::array<std::pair<E, std::string_view>, N>& words) const {
    for (const auto& [value, known] : words) {
      if (text(key) == known) return value;
    }
    wrong(fmt::format("\"{}\" has no such value", key));
  }
  template <class T>
  T read(Parsed<T> parsed) const {
    if (const auto* mistake = std::get_if<Mistake>(&parsed)) wrong(mistake->fact);
    return std::get<T>(std::move(parsed));
  }
  Duration duration(const char* key) const { return read(parse_duration(text(key))); }

  [[noreturn]] void wrong(const std::string& why) const {
    throw Error(ErrorKind::bug, fmt::format("not {}: {}: {}", what_, why, json_.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 200)));
  }

 private:
  const Json& json_;
  std::string_view what_;
};

}  // namespace capsize
