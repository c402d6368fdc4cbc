#include "probes/login/flow.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>

#include "injector/base/error.h"
#include "probes/login/http_transport.h"

namespace capsize {
namespace {

bool is_name_char(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }

// Calls `text` with what stands between the names in braces, and `name` with each of these. Braces around anything else are text.
template <class Text, class Name>
void scan(std::string_view written, Text text, Name name) {
  while (!written.empty()) {
    const std::size_t open = std::min(written.find('{'), written.size());
    text(written.substr(0, open));
    written.remove_prefix(open);
    if (written.empty()) return;
    std::size_t end = 1;
    while (end < written.size() && is_name_char(written[end])) ++end;
    const bool is_name = end > 1 && end < written.size() && written[end] == '}';
    if (is_name) name(std::string(written.substr(1, end - 1)));
    else text(written.substr(0, 1));
    written.remove_prefix(is_name ? end + 1 : 1);
  }
}

void add_names(std::string_view written, std::set<std::string>& out) {
  scan(written, [](std::string_view) {}, [&out](const std::string& name) { out.insert(name); });
}

void add_names(const Json& json, std::set<std::string>& out) {
  if (json.is_string()) add_names(std::string_view(json.get_ref<const std::string&>()), out);
  if (!json.is_structured()) return;
  for (const Json& item : json) add_names(item, out);
}

// Fills in texts; remembers whether a value was missing.
class Filler {
 public:
  explicit Filler(const FlowValues& values) : values_(values) {}

  std::string text(std::string_view written, std::string (*encoded)(std::string_view) = nullptr) {
    std::string out;
    const auto value = [&](const std::string& name) {
      const auto found = values_.find(name);
      if (found == values_.end()) complete = false;
      else out += encoded != nullptr ? encoded(found->second) : found->second;
    };
    scan(written, [&out](std::string_view plain) { out += plain; }, value);
    return out;
  }

  Json json(const Json& written) {
    if (written.is_string()) return text(written.get_ref<const std::string&>());
    Json out = written;
    if (out.is_structured()) {
      for (Json& item : out) item = json(item);
    }
    return out;
  }

  bool complete = true;

 private:
  const FlowValues& values_;
};

bool is_one_name(const std::string& url) { return url.size() > 2 && url.front() == '{' && url.back() == '}' && std::all_of(url.begin() + 1, url.end() - 1, is_name_char); }

std::optional<Url> url_at(const std::string& text, const Url& base) {
  if (text.empty()) return base;
  const std::string whole = text.starts_with('/') && !text.starts_with("//") ? fmt::format("{}://{}{}", base.tls ? "https" : "http", show(base.address), text) : text;
  auto parsed = parse_url(whole);
  if (std::holds_alternative<Mistake>(parsed)) return std::nullopt;
  return std::get<Url>(std::move(parsed));
}

bool fit_for_header(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != 0x7f; });
}

bool status_fits(const FlowStep& step, unsigned status) { return step.status.empty() ? status >= 200 && status < 300 : step.status.contains(status); }

bool is_a_no(unsigned status) { return status >= 400 && status < 600; }

bool names_user(const Json& wanted) {
  std::set<std::string> names;
  if (wanted.is_string()) add_names(wanted, names);
  return names.contains("user");
}

bool is_somebody(const Json& found) { return found.is_number() || (found.is_string() && !found.get_ref<const std::string&>().empty()); }

// An answer and what has been made of it.
struct Given {
  const Url& from;
  const HttpSaid& said;
  Json body;
  const CookieJar& cookies;
};

bool holds(const FlowCheck& check, const Given& answer, Filler& fill, bool anybody) {
  Json text;
  const Json* found = &text;
  if (check.what.from == Capture::From::json) {
    found = at(answer.body, check.what.what);
  } else {
    const auto value = captured(check.what, answer.from, answer.said, answer.body, answer.cookies);
    if (value) text = *value;
    else found = nullptr;
  }
  if (found == nullptr) return false;
  if (anybody && names_user(check.wanted)) return is_somebody(*found);
  if (!check.wanted.is_string()) return *found == check.wanted;
  return !found->is_structured() && as_text(*found) == fill.text(check.wanted.get_ref<const std::string&>());
}

// But for the status.
bool looks_like(const FlowLook& look, const Given& answer, Filler& fill, bool anybody) {
  if (look.contains && answer.said.body.find(fill.text(*look.contains)) == std::string::npos) return false;
  return std::all_of(look.check.begin(), look.check.end(), [&](const FlowCheck& check) { return holds(check, answer, fill, anybody); });
}

bool looks_inside(const FlowStep& step) {
  const auto is_json = [](const FlowCheck& check) { return check.what.from == Capture::From::json; };
  return std::any_of(step.check.begin(), step.check.end(), is_json) || (step.denied && std::any_of(step.denied->check.begin(), step.denied->check.end(), is_json)) ||
         std::any_of(step.capture.begin(), step.capture.end(), [](const auto& each) { return each.second.from == Capture::From::json; });
}

void add_names(const FlowLook& look, std::set<std::string>& out) {
  for (const FlowCheck& check : look.check) add_names(check.wanted, out);
  if (look.contains) add_names(std::string_view(*look.contains), out);
}

constexpr std::array<std::string_view, 3> kByChance = {"random", "pkce_verifier", "pkce_challenge"};
bool is_by_chance(std::string_view name) { return std::find(kByChance.begin(), kByChance.end(), name) != kByChance.end(); }

// Base64 as URLs have it, without padding.
std::string base64url(std::string_view bytes) {
  std::string out = base64(bytes);
  std::erase(out, '=');
  for (char& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

std::string bytes_by_chance(Rng& rng, std::size_t size) {
  std::string out;
  while (out.size() < size) {
    for (std::uint64_t drawn = rng.next(), i = 0; i < 8; ++i, drawn >>= 8) out += static_cast<char>(drawn & 0xff);
  }
  out.resize(size);
  return out;
}

class FlowTransport final : public LoginTransport {
 public:
  FlowTransport(Flow flow, std::unique_ptr<HttpWire> wire)
      : flow_(std::move(flow)), wire_(std::move(wire)), origins_(origins_of(flow_)), use_(first_use_of_token(flow_).value_or(0)), rng_(flow_.seed) {
    CAPSIZE_CHECK(!flow_.steps.empty());
    first_credentials_ = flow_.steps.size();
    for (std::size_t i = 0; i < flow_.steps.size(); ++i) {
      for (const std::string& name : names_in(flow_.steps[i])) uses_chance_ = uses_chance_ || is_by_chance(name);
      if (!sends_credentials(flow_.steps[i])) continue;
      first_credentials_ = std::min(first_credentials_, i);
      last_credentials_ = i;
    }
  }

  Task<> open() override { return wire_->open(); }
  Task<> close() override { return wire_->close(); }

  Task<Answer> attempt(LoginAttempt attempt) override { return login(std::move(attempt)); }

 private:
  Task<Answer> login(LoginAttempt attempt) {
    const auto conversation = wire_->start();
    FlowValues values = values_of(attempt);
    values.insert(flow_.given.begin(), flow_.given.end());
    if (uses_chance_) values.merge(chance_values(rng_));
    CookieJar jar;
    std::size_t i = 0;
    if (attempt.expired_token) {
      values["token"] = flow_.expired_token;
      i = use_;
    }
    for (; i < flow_.steps.size(); ++i) {
      const FlowStep& step = flow_.steps[i];
      auto ask = filled_in(step, flow_.base, origins_, values);
      if (!ask) co_return Answer::broken;  // what could not be asked was not refused either
      const Url url = ask->url;
      if (const std::string cookies = jar.header_for(url); !cookies.empty()) ask->headers.emplace_back("Cookie", cookies);
      HttpAsk sent = std::move(*ask);
      const HttpSaid said = co_await conversation->send(std::move(sent));
      if (said.failed) co_return *said.failed;
      const bool anybody = attempt.expired_token || (attempt.wrong_password && step.proves_token);
      const StepEnd end = judge_step(step, url, said, values, jar, anybody);
      if (end != StepEnd::accepted) co_return not_accepted(attempt, i, said, end == StepEnd::denied);
    }
    co_return attempt.wrong_password ? Answer::wrongly_accepted : Answer::ok;
  }

  Answer not_accepted(const LoginAttempt& attempt, std::size_t i, const HttpSaid& said, bool denied) const {
    const FlowStep& step = flow_.steps[i];
    const bool is_no = is_a_no(said.status) && !status_fits(step, said.status);
    if (!attempt.wrong_password) return denied || (is_no && i <= last_credentials_) ? Answer::denied : Answer::broken;
    const bool was_asked = i >= first_credentials_ || attempt.expired_token;
    const bool has_verdict = !step.verdict_at || (!is_no && at(Json::parse(said.body, nullptr, false), *step.verdict_at) != nullptr);
    return was_asked && (denied || (has_verdict && (is_no || !step.denied))) ? Answer::rejected_rightly : Answer::broken;
  }

  const Flow flow_;
  const std::unique_ptr<HttpWire> wire_;
  const std::vector<Url> origins_;
  const std::size_t use_;
  Rng rng_;
  bool uses_chance_ = false;
  std::size_t first_credentials_ = 0;
  std::size_t last_credentials_ = 0;
};

}  // namespace

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

FlowValues values_of(const LoginAttempt& attempt) {
  return {{"user", attempt.user},
          {"password", attempt.password},
          {"basic", base64(attempt.user + ":" + attempt.password)},
          {"client", base64(form_encoded(attempt.user) + ":" + form_encoded(attempt.password))}};
}

FlowValues chance_values(Rng& rng) {
  const std::string verifier = base64url(bytes_by_chance(rng, 32));
  return {{"random", base64url(bytes_by_chance(rng, 16))}, {"pkce_verifier", verifier}, {"pkce_challenge", pkce_challenge(verifier)}};
}

std::string pkce_challenge(std::string_view verifier) {
  std::string digest(32, '\0');
  CAPSIZE_CHECK(::EVP_Digest(verifier.data(), verifier.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr, ::EVP_sha256(), nullptr) == 1);
  return base64url(digest);
}

bool is_taken(std::string_view name) { return is_by_chance(name) || values_of({}).contains(std::string(name)); }

std::set<std::string> names_sent(const FlowStep& step) {
  std::set<std::string> out;
  add_names(std::string_view(step.url), out);
  for (const auto& [name, value] : step.headers) add_names(std::string_view(value), out);
  for (const auto& [name, value] : step.form) add_names(std::string_view(value), out);
  if (step.json) add_names(*step.json, out);
  return out;
}

std::set<std::string> names_in(const FlowStep& step) {
  std::set<std::string> out = names_sent(step);
  add_names(static_cast<const FlowLook&>(step), out);
  if (step.denied) add_names(*step.denied, out);
  return out;
}

bool sends_credentials(const FlowStep& step) {
  const auto names = names_sent(step);
  return names.contains("password") || names.contains("basic") || names.contains("client");
}

std::optional<std::string> unknown_name(const Flow& flow) {
  FlowValues known = values_of({});
  known.insert(flow.given.begin(), flow.given.end());
  for (const std::string_view name : kByChance) known[std::string(name)] = "";
  for (const FlowStep& step : flow.steps) {
    for (const std::string& name : names_in(step)) {
      if (!known.contains(name)) return name;
    }
    for (const auto& [name, capture] : step.capture) known[name] = "";
  }
  return std::nullopt;
}

std::vector<Url> origins_of(const Flow& flow) {
  std::vector<Url> out = {flow.base};
  for (const FlowStep& step : flow.steps) {
    std::string without_names;
    scan(step.url, [&](std::string_view plain) { without_names += plain; }, [&](const std::string&) { without_names += "x"; });
    const auto url = url_at(without_names, flow.base);
    if (!url || is_one_name(step.url)) continue;
    const bool known = std::any_of(out.begin(), out.end(), [&url](const Url& other) { return same_origin(other, *url); });
    if (!known) out.push_back(*url);
  }
  return out;
}

std::optional<std::size_t> first_use_of_token(const Flow& flow) {
  std::optional<std::size_t> out;
  for (std::size_t i = 0; i < flow.steps.size(); ++i) {
    if (flow.steps[i].capture.contains("token")) out.reset();  // a newer token: what comes before makes it, as a refresh does
    if (!out && names_sent(flow.steps[i]).contains("token")) out = i;
    if (sends_credentials(flow.steps[i])) out.reset();
  }
  return out;
}

std::optional<HttpAsk> filled_in(const FlowStep& step, const Url& base, const std::vector<Url>& origins, const FlowValues& values) {
  Filler fill(values);
  HttpAsk out;
  out.method = step.method;
  std::string where = is_one_name(step.url) ? fill.text(step.url) : fill.text(step.url, form_encoded);
  if (is_one_name(step.url)) where.resize(std::min(where.find('#'), where.size()));  // the fragment of a redirect is the client's own
  const auto url = url_at(where, base);
  if (!url) return std::nullopt;
  out.url = *url;
  if (std::none_of(origins.begin(), origins.end(), [&out](const Url& origin) { return same_origin(origin, out.url); })) return std::nullopt;
  if (step.json) {
    out.headers.emplace_back("Content-Type", "application/json");
    out.body = fill.json(*step.json).dump(-1, ' ', true, Json::error_handler_t::replace);
  } else if (!step.form.empty()) {
    out.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
    for (const auto& [name, value] : step.form) out.body += fmt::format("{}{}={}", out.body.empty() ? "" : "&", form_encoded(name), form_encoded(fill.text(value)));
  }
  for (const auto& [name, value] : step.headers) {
    out.headers.emplace_back(name, fill.text(value));
    if (!fit_for_header(out.headers.back().second)) return std::nullopt;
  }
  if (!fill.complete) return std::nullopt;
  return out;
}

StepEnd judge_step(const FlowStep& step, const Url& from, const HttpSaid& said, FlowValues& values, CookieJar& jar, bool anybody) {
  CookieJar given;  // by this answer
  for (const auto& [name, value] : said.headers) {
    if (!boost::beast::iequals(name, "Set-Cookie")) continue;
    jar.take(from, value);
    given.take(from, value);
  }
  const Given answer{from, said, looks_inside(step) ? Json::parse(said.body, nullptr, false) : Json(nullptr), given};
  Filler fill(values);
  const bool is_denied = step.denied && (step.denied->status.empty() || step.denied->status.contains(said.status)) && looks_like(*step.denied, answer, fill, false);
  if (is_denied) return StepEnd::denied;
  if (!status_fits(step, said.status) || !looks_like(step, answer, fill, anybody)) return StepEnd::unfit;
  FlowValues taken;
  for (const auto& [name, capture] : step.capture) {
    auto value = captured(capture, from, said, answer.body, given);
    if (!value || value->empty() || value->size() > kMaxCaptured) return StepEnd::unfit;
    taken[name] = std::move(*value);
  }
  if (!fill.complete) return StepEnd::unfit;
  for (auto& [name, value] : taken) values[name] = std::move(value);
  return StepEnd::accepted;
}

std::unique_ptr<LoginTransport> make_flow_transport(Flow flow, std::unique_ptr<HttpWire> wire) {
  return std::make_unique<FlowTransport>(std::move(flow), std::move(wire));
}

}  // namespace capsize
