#include "probes/login/flow_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace capsize {
namespace {

enum class Method { get, post, put, patch, remove };

}  // namespace

template <>
struct EnumWords<Method> {
  static constexpr std::array<std::pair<Method, std::string_view>, 5> words = {
      {{Method::get, "GET"}, {Method::post, "POST"}, {Method::put, "PUT"}, {Method::patch, "PATCH"}, {Method::remove, "DELETE"}}};
};

namespace {

struct LookKeys {
  std::vector<Count> status;
  Json check;
  std::optional<std::string> contains;
};

struct StepKeys : LookKeys {
  std::optional<std::string> url;
  std::optional<Method> method;
  std::optional<Texts> headers;
  std::optional<Texts> form;
  Json json;
  std::optional<Texts> capture;
  Json denied;
};

// The same keys for an answer that is right and for one that is a no; P is LookKeys or inherits it.
template <class P>
Spec<P>& add_look(Spec<P>& spec, const char* status) {
  using Statuses = std::vector<Count> P::*;
  using Check = Json P::*;
  using Contains = std::optional<std::string> P::*;
  return spec.optional("status", Statuses(&LookKeys::status), status)
      .optional("check", Check(&LookKeys::check), "what must be in the answer: by JSON pointer, as {\"/active\": true, \"/name\": \"{user}\"}, or as in \"capture\", as {\"query:state\": \"{random}\"}")
      .optional("contains", Contains(&LookKeys::contains), "text that must be in the answer's body");
}

const Spec<LookKeys>& denied_spec() {
  static const auto spec = [] {
    Spec<LookKeys> out;
    return add_look(out, "its statuses, as [200]; default: any");
  }();
  return spec;
}

const Spec<StepKeys>& step_spec() {
  static const auto spec = [] {
    Spec<StepKeys> out;
    out.optional("url", &StepKeys::url, "a URL, or a path of the probe's \"url\"; default: that itself")
        .optional("method", &StepKeys::method, "default: POST with a form or JSON, else GET")
        .optional("headers", &StepKeys::headers, "headers to send, as {\"Authorization\": \"Bearer {token}\"}")
        .optional("form", &StepKeys::form, "a form to send, as {\"user\": \"{user}\", \"password\": \"{password}\"}")
        .optional("json", &StepKeys::json, "JSON to send")
        .optional("capture", &StepKeys::capture, "what to take from the answer, as {\"token\": \"json:/access_token\", \"next\": \"header:Location\", \"csrf\": \"field:csrf\"}")
        .optional("denied", &StepKeys::denied, "what a no looks like that is no 4xx or 5xx, as {\"status\": [200], \"contains\": \"Wrong password\"}; keys: status, check, contains");
    return add_look(out, "the statuses that are right, as [303]; default: any 2xx");
  }();
  return spec;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

std::string in_quotes(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || kMarks.find(c) != std::string_view::npos; });
}

constexpr std::array<std::pair<std::string_view, Capture::From>, 6> kSources = {{{"json", Capture::From::json},
                                                                                 {"header", Capture::From::header},
                                                                                 {"cookie", Capture::From::cookie},
                                                                                 {"query", Capture::From::query},
                                                                                 {"field", Capture::From::field},
                                                                                 {"form", Capture::From::form}}};

Parsed<Capture> capture_of(const std::string& text) {
  const std::size_t colon = text.find(':');
  const auto source = std::find_if(kSources.begin(), kSources.end(), [from = text.substr(0, colon)](const auto& known) { return known.first == from; });
  if (colon == std::string::npos || source == kSources.end()) {
    return Mistake{in_quotes(text) + " does not say what to capture", "write \"json:/token\", \"header:Location\", \"cookie:session\", \"query:code\", \"field:csrf\" or \"form:\""};
  }
  const Capture out{source->second, text.substr(colon + 1)};
  if (out.from == Capture::From::json) {
    if (const auto mistake = json_pointer_mistake(out.what)) return *mistake;
  }
  const bool names_a_token = out.from == Capture::From::header || out.from == Capture::From::cookie;
  if (names_a_token && !is_token(out.what)) return Mistake{in_quotes(text) + " has no name of a " + std::string(source->first), "write \"header:Location\" or \"cookie:session\""};
  if (out.what.empty() && out.from != Capture::From::form) return Mistake{in_quotes(text) + " does not say which", "write the name behind the colon, as \"query:code\""};
  return out;
}

std::optional<Mistake> read_look(const LookKeys& keys, FlowLook& out) {
  for (const Count status : keys.status) {
    if (status < 200 || status > 599) return Mistake{fmt::format("{} is not a status that ends a request", status), "write statuses from 200 to 599"};
    out.status.insert(static_cast<unsigned>(status));
  }
  out.contains = keys.contains;
  if (!keys.check.is_null() && !keys.check.is_object()) return wrong_type(keys.check, "an object of what to look at: value, in \"check\"");
  for (const auto& [where, value] : keys.check.items()) {
    const bool is_source = where.find(':') < where.find('/');
    auto what = capture_of(is_source ? where : "json:" + where);
    if (auto* mistake = std::get_if<Mistake>(&what)) return std::move(*mistake);
    out.check.push_back({std::get<Capture>(std::move(what)), value});
    if (out.check.back().what.from != Capture::From::json && !value.is_string()) return wrong_type(value, "a text for " + in_quotes(where) + ", in \"check\"");
  }
  return std::nullopt;
}

std::optional<Mistake> first_mistake(const Diagnostics& found) {
  if (found.ok()) return std::nullopt;
  const Diagnostic& first = found.all().front();
  return Mistake{(first.pointer.empty() ? "" : first.pointer.substr(1) + ": ") + first.fact, first.remedy};
}

std::optional<Mistake> read_denied(const Json& json, FlowLook& out) {
  Diagnostics found;
  const LookKeys keys = denied_spec().parse(json, "", {}, found);
  if (const auto mistake = first_mistake(found)) return mistake;
  if (json.empty()) return Mistake{"nothing says what a no looks like", "write \"status\", \"check\" or \"contains\" in it"};
  return read_look(keys, out);
}

// Everything in the step itself; what names it may use depends on the steps before.
std::optional<Mistake> read_step(const Json& json, FlowStep& out) {
  Diagnostics found;
  const StepKeys keys = step_spec().parse(json, "", {}, found);
  if (const auto mistake = first_mistake(found)) return mistake;
  const bool has_json = json.contains("json");
  if (has_json && keys.form) return Mistake{"both a form and JSON are sent", "leave one of them out"};
  out.url = keys.url.value_or("");
  out.method = ParamTraits<Method>::show(keys.method.value_or(has_json || keys.form ? Method::post : Method::get)).get<std::string>();
  if (keys.headers) out.headers = keys.headers->entries;
  if (keys.form) out.form = keys.form->entries;
  if (has_json) out.json = keys.json;
  for (const auto& [name, value] : out.headers) {
    if (!is_token(name)) return Mistake{in_quotes(name) + " is not the name of a header", "write letters, digits and dashes"};
    if (boost::beast::iequals(name, "Cookie")) return Mistake{"cookies are kept and sent by themselves", "leave the header out"};
  }
  if (const auto mistake = read_look(keys, out)) return mistake;
  if (json.contains("denied")) {
    if (const auto mistake = read_denied(keys.denied, out.denied.emplace())) return Mistake{"denied: " + mistake->fact, mistake->remedy};
  }
  if (!keys.capture) return std::nullopt;
  for (const auto& [name, text] : keys.capture->entries) {
    if (!is_name(name)) return Mistake{in_quotes(name) + " cannot be a name for what is captured", "write small letters, digits and underlines"};
    if (is_taken(name)) return Mistake{in_quotes(name) + " has a meaning of its own", "capture it as something else"};
    auto capture = capture_of(text);
    if (auto* mistake = std::get_if<Mistake>(&capture)) return std::move(*mistake);
    out.capture[name] = std::get<Capture>(std::move(capture));
  }
  return std::nullopt;
}

std::optional<Mistake> url_mistake(const FlowStep& step) {
  const std::string& url = step.url;
  if (url.empty() || url.front() == '/' || url.front() == '{') return std::nullopt;
  const std::size_t authority = url.find("://");
  const std::size_t path = authority == std::string::npos ? 0 : url.find_first_of("/?", authority + 3);
  if (url.substr(0, path).find('{') != std::string::npos) return Mistake{in_quotes(url) + " has a name in braces where its host is", "write the host itself"};
  std::string plain = url;
  std::erase_if(plain, [](char c) { return c == '{' || c == '}'; });
  const auto parsed = parse_url(plain);
  if (const auto* mistake = std::get_if<Mistake>(&parsed)) return Mistake{mistake->fact, "write a URL, or a path that begins with /"};
  return std::nullopt;
}

}  // namespace

std::optional<Mistake> json_pointer_mistake(std::string_view text) {
  bool good = !text.empty() && text.front() == '/';
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '~') good = good && i + 1 < text.size() && (text[i + 1] == '0' || text[i + 1] == '1');
  }
  if (good) return std::nullopt;
  return Mistake{in_quotes(text) + " is not a JSON pointer", "write where it is in the answer, as \"/token\" or \"/data/access_token\""};
}

Parsed<Texts> ParamTraits<Texts>::parse(const Json& json) {
  if (!json.is_object() || json.empty()) return wrong_type(json, "an object of texts, as {\"name\": \"text\"}");
  Texts out;
  for (const auto& [name, value] : json.items()) {
    if (!value.is_string()) return wrong_type(value, "a text for " + in_quotes(name));
    out.entries.emplace_back(name, value.get<std::string>());
  }
  return out;
}

Json ParamTraits<Texts>::schema() { return schema_with_variables({{"type", "object"}, {"minProperties", 1}, {"additionalProperties", {{"type", "string"}}}}); }

Json ParamTraits<Texts>::show(const Texts& value) {
  Json out = Json::object();
  for (const auto& [name, text] : value.entries) out[name] = text;
  return out;
}

Parsed<FlowSteps> ParamTraits<FlowSteps>::parse(const Json& json) {
  if (!json.is_array() || json.empty() || json.size() > kMaxSteps) return wrong_type(json, fmt::format("a list of 1 to {} steps", kMaxSteps));
  FlowSteps out;
  out.written = json;
  std::vector<std::string> known = {"user", "password", "basic", "random", "pkce_verifier", "pkce_challenge"};
  bool has_credentials = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const auto here = [i](Mistake mistake) { return Mistake{fmt::format("step {}: {}", i + 1, mistake.fact), mistake.remedy}; };
    FlowStep step;
    if (const auto mistake = read_step(json[i], step)) return here(*mistake);
    if (const auto mistake = url_mistake(step)) return here(*mistake);
    for (const std::string& name : names_in(step)) {
      if (std::find(known.begin(), known.end(), name) == known.end()) return here(wrong_word(name, known));
    }
    for (const auto& [name, capture] : step.capture) known.push_back(name);
    has_credentials = has_credentials || sends_credentials(step);
    out.steps.push_back(std::move(step));
  }
  if (!has_credentials) return Mistake{"no step sends a password", "write {password} where it belongs: without it nobody logs in"};
  return out;
}

Json ParamTraits<FlowSteps>::schema() {
  Json step = schema_of(step_spec());
  step["type"] = "object";
  step["additionalProperties"] = false;
  return schema_with_variables({{"type", "array"}, {"minItems", 1}, {"maxItems", kMaxSteps}, {"items", step}});
}

}  // namespace capsize
