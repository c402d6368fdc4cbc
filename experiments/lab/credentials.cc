#include "experiments/lab/credentials.h"

#include <charconv>

#include "injector/base/json.h"

namespace capsize {
namespace {

std::optional<std::string> url_decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      plain.push_back(' ');
    } else if (text[i] == '%') {
      unsigned byte = 0;
      if (i + 2 >= text.size()) return std::nullopt;
      const auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
      if (error != std::errc{} || end != text.data() + i + 3) return std::nullopt;
      plain.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

std::optional<std::string> form_field(std::string_view form, std::string_view name) {
  while (!form.empty()) {
    const std::string_view pair = form.substr(0, form.find('&'));
    form.remove_prefix(pair.size() == form.size() ? pair.size() : pair.size() + 1);
    const std::size_t equals = pair.find('=');
    if (equals != std::string_view::npos && pair.substr(0, equals) == name) return url_decoded(pair.substr(equals + 1));
  }
  return std::nullopt;
}

std::optional<std::string> json_field(const Json& object, const char* name) {
  const auto field = object.find(name);
  if (field == object.end() || !field->is_string()) return std::nullopt;
  return field->get<std::string>();
}

std::optional<AuthCredentials> both(std::optional<std::string> user, std::optional<std::string> password) {
  if (!user || !password) return std::nullopt;
  return AuthCredentials{std::move(*user), std::move(*password)};
}

}  // namespace

std::optional<AuthCredentials> parse_credentials(std::string_view content_type, std::string_view body) {
  if (!content_type.starts_with("application/json")) return both(form_field(body, "user"), form_field(body, "password"));
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  return both(json_field(json, "user"), json_field(json, "password"));
}

}  // namespace capsize
