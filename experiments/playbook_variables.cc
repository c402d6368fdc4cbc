#include "experiments/playbook_variables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "experiments/playbook_parts.h"
#include "injector/base/located_json.h"

namespace capsize {
namespace {

constexpr const char* kStars = "***";

std::string in_quotes(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

bool is_environment_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; };
  if (name.empty() || name.size() > 128 || !letter(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

bool is_scalar(const Json& json) { return json.is_string() || json.is_number() || json.is_boolean(); }

const char* kind_of(const Json& json) {
  return json.is_string() ? "a text" : json.is_boolean() ? "true or false" : json.is_number_integer() ? "a whole number" : json.is_number() ? "a number" : "a list";
}

std::optional<Mistake> value_mistake(const Json& json) {
  const bool is_list = json.is_array() && json.size() <= kMaxVariableItems && std::all_of(json.begin(), json.end(), is_scalar);
  if (!is_scalar(json) && !is_list) return wrong_type(json, fmt::format("a text, a number, true or false, or a list of at most {} of them", kMaxVariableItems));
  for (const Json& item : json.is_array() ? json : Json::array({json})) {
    if (!item.is_string()) continue;
    const auto& text = item.get_ref<const std::string&>();
    if (text.size() > kMaxVariableBytes) return Mistake{fmt::format("a text of more than {} bytes", kMaxVariableBytes), "write a shorter one"};
    if (auto mistake = text_mistake(text)) return mistake;
  }
  return std::nullopt;
}

// The text of --set as the type that the variable has; nothing when it cannot be.
std::optional<Json> as_type_of(const Json& model, const std::string& text) {
  if (model.is_string()) return Json(text);
  Json parsed = Json::parse(text, nullptr, false);
  if (model.is_boolean() && parsed.is_boolean()) return parsed;
  if (model.is_number_integer() && parsed.is_number_integer()) return parsed;
  if (model.is_number_float() && parsed.is_number()) return parsed;
  if (!model.is_array()) return std::nullopt;
  if (parsed.is_array()) return parsed;
  Json list = Json::array();
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    auto item = as_type_of(model.empty() ? Json("") : model.front(), text.substr(start, end - start));
    if (!item) return std::nullopt;
    list.push_back(std::move(*item));
    start = end + 1;
  }
  return list;
}

std::string url_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) out += c;
    else out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string as_text(const Json& scalar) { return scalar.is_string() ? scalar.get<std::string>() : scalar.dump(); }

}  // namespace

std::optional<std::string> from_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

std::string hide_secrets(std::string text, const std::vector<std::string>& secrets) {
  std::set<std::string> forms;
  for (const std::string& secret : secrets) {
    const std::string json = Json(secret).dump();
    const std::string ascii = Json(secret).dump(-1, ' ', true);
    forms.insert({secret, url_encoded(secret), json.substr(1, json.size() - 2), ascii.substr(1, ascii.size() - 2)});
  }
  std::vector<std::string> longest_first(forms.begin(), forms.end());
  std::stable_sort(longest_first.begin(), longest_first.end(), [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  for (const std::string& form : longest_first) {
    for (std::size_t at = text.find(form); at != std::string::npos; at = text.find(form, at + 3)) text.replace(at, form.size(), kStars);
  }
  return text;
}

Json hide_secrets_in(const Json& json, const std::vector<std::string>& secrets) {
  if (secrets.empty()) return json;
  if (json.is_string()) return hide_secrets(json.get<std::string>(), secrets);
  if (!json.is_structured()) return json;
  Json out = json;
  for (Json& item : out) item = hide_secrets_in(item, secrets);
  return out;
}

Json fit_to_record(Json fields, const std::vector<std::string>& secrets) {
  // Names and words of ours, by which a record is read, whatever a secret may be; and hashes.
  static const std::set<std::string> kOurs = {"run", "started", "wall", "version", "phase", "probe", "kind", "state", "what", "step", "question", "scores", "commitment", "opening"};
  for (auto& [key, value] : fields.items()) {
    if (!secrets.empty() && !kOurs.contains(key)) value = hide_secrets_in(value, secrets);
  }
  const auto window = fields.find("window");
  if (window == fields.end() || !window->is_object()) return fields;
  for (const char* words : {"gap", "because"}) {
    if (window->contains(words) && (*window)[words].is_string()) (*window)[words] = printable((*window)[words].get<std::string>(), kMaxWords);
  }
  return fields;
}

bool is_written_out(const std::string& pointer) {
  if (pointer == "/playbook" || pointer == "/$schema") return true;
  const auto depth = std::count(pointer.begin(), pointer.end(), '/');
  if (depth == 5) return pointer.starts_with("/sealed/") && pointer.ends_with("/fault") && pointer.find("/faults/") != std::string::npos;
  if (depth != 3) return false;
  return (pointer.starts_with("/faults/") && pointer.ends_with("/fault")) || (pointer.starts_with("/probes/") && pointer.ends_with("/probe")) ||
         (pointer.starts_with("/targets/") && pointer.ends_with("/type"));
}

void Variables::problem(const std::string& pointer, std::string fact, std::string remedy) {
  broken_.insert(pointer);
  diagnostics_.add(pointer, std::move(fact), std::move(remedy));
}

Filled Variables::fill_playbook(const Json& raw) {
  const auto written = raw.find("variables");
  const bool has_variables = written != raw.end() && written->is_object();
  if (has_variables) declare(*written);
  const std::vector<std::string> known(names_.begin(), names_.end());
  for (const auto& [name, value] : options_.set) {
    if (names_.contains(name)) continue;
    const Mistake mistake = wrong_word(name, known);
    diagnostics_.add_key("/variables", fmt::format("--set {}: there is no such variable", printable(name, 60)), mistake.remedy);
  }
  Filled out{Json::object(), Json::object()};
  for (const auto& [key, value] : raw.items()) {
    if (key == "variables") continue;
    Filled part = fill(value, pointer_join("", key));
    out.real[key] = std::move(part.real);
    out.shown[key] = std::move(part.shown);
  }
  if (has_variables) {
    Json& shown = out.shown["variables"] = Json::object();
    for (const auto& [name, value] : values_) shown[name] = value.shown;
    out.real["variables"] = *written;
  } else if (written != raw.end()) {
    out.real["variables"] = *written;  // the reader says what is wrong with it
  }
  for (const std::string& name : names_) {
    if (!used_.contains(name)) diagnostics_.warn(pointer_join("/variables", name), fmt::format("nothing uses the variable {}", in_quotes(name)), fmt::format("write \"${{{}}}\" where it belongs, or leave it out", name));
  }
  out.shown = hide_secrets_in(out.shown, secrets_);
  return out;
}

void Variables::declare(const Json& variables) {
  declaring_ = true;
  for (const auto& [name, written] : variables.items()) {
    if (auto mistake = playbook_name_mistake(name)) {
      diagnostics_.add_key(pointer_join("/variables", name), mistake->fact, mistake->remedy);
      continue;
    }
    names_.insert(name);
    declare_one(name, written);
  }
  declaring_ = false;
}

void Variables::declare_one(const std::string& name, const Json& written) {
  const std::string pointer = pointer_join("/variables", name);
  if (auto mistake = value_mistake(written)) return problem(pointer, mistake->fact, mistake->remedy);
  Filled value;
  const std::size_t broken_before = broken_.size();
  if (!override_value(name, written, value)) value = fill(written, pointer);
  if (broken_.size() > broken_before) broken_.insert(pointer);  // also when it is one item of a list
  values_[name] = std::move(value);
}

// True when the command line says what the value is, or is wrong about it.
bool Variables::override_value(const std::string& name, const Json& written, Filled& value) {
  const auto set = options_.set.find(name);
  const auto offer = options_.offer.find(name);
  if (set == options_.set.end() && offer == options_.offer.end()) return false;
  const bool is_set = set != options_.set.end();
  Json given = is_set ? set->second : offer->second;
  if (written.is_string() && (given.is_number() || given.is_boolean())) given = given.dump();  // a port or pid that the playbook has as text
  const std::string pointer = pointer_join("/variables", name);
  const std::string prefix = fmt::format(fmt::runtime(is_set ? "--set {}: " : "the value given for {}: "), name);
  value = {given, given};
  if (auto mistake = value_mistake(given)) {
    problem(pointer, prefix + mistake->fact, mistake->remedy);
    return true;
  }
  if (given.is_string()) {
    auto typed = as_type_of(written, given.get<std::string>());
    if (typed && !value_mistake(*typed)) value = {*typed, *typed};
    else problem(pointer, fmt::format("{}{} is not {}, as the variable is", prefix, in_quotes(given.get<std::string>()), kind_of(written)), fmt::format("give it as in --set '{}={}'", name, printable(written.dump(), 60)));
  } else if (std::string_view(kind_of(given)) != kind_of(written) && !(given.is_number() && written.is_number_float())) {
    problem(pointer, fmt::format("{}{} is {}, but the variable is {}", prefix, printable(given.dump(), 60), kind_of(given), kind_of(written)), "give a value of the same kind");
  }
  return true;
}

Filled Variables::fill(const Json& raw, const std::string& pointer) {
  if (raw.is_string()) return fill_text(raw.get_ref<const std::string&>(), pointer);
  if (!raw.is_structured()) return {raw, raw};
  Filled out{raw, raw};
  std::size_t index = 0;
  for (const auto& [key, value] : raw.items()) {
    Filled part = fill(value, raw.is_array() ? pointer_join(pointer, index) : pointer_join(pointer, key));
    if (raw.is_array()) out.real[index] = std::move(part.real), out.shown[index] = std::move(part.shown);
    else out.real[key] = std::move(part.real), out.shown[key] = std::move(part.shown);
    ++index;
  }
  return out;
}

std::optional<std::vector<Variables::Piece>> Variables::pieces(const std::string& text, const std::string& pointer) {
  std::vector<Piece> out;
  std::string literal;
  for (std::size_t at = 0; at < text.size();) {
    if (text.compare(at, 3, "$${") == 0) {
      literal += "${";
      at += 3;
    } else if (text.compare(at, 2, "${") == 0) {
      const std::size_t end = text.find('}', at);
      if (end == std::string::npos) {
        problem(pointer, "a ${ without its }", "close it with }, or write $${ for the characters ${");
        return std::nullopt;
      }
      if (!literal.empty()) out.push_back({std::exchange(literal, {}), false});
      out.push_back({text.substr(at + 2, end - at - 2), true});
      at = end + 1;
    } else {
      literal += text[at++];
    }
  }
  if (!literal.empty() || out.empty()) out.push_back({literal, false});
  return out;
}

Filled Variables::fill_text(const std::string& text, const std::string& pointer) {
  const Filled as_written{text, text};
  if (text.find("${") == std::string::npos) return as_written;
  if (is_written_out(pointer)) {
    problem(pointer, fmt::format("{}: variables are not filled in here", in_quotes(text)), "write it out: it decides what the keys beside it mean");
    return as_written;
  }
  const auto parts = pieces(text, pointer);
  if (!parts) return as_written;
  std::string real;
  std::string shown;
  bool complete = true;  // every name is looked up, so that all that are wrong are said
  for (const Piece& piece : *parts) {
    if (!piece.is_name) {
      real += piece.text;
      shown += piece.text;
      continue;
    }
    auto value = look_up(piece.text, pointer);
    complete = complete && value;
    if (!value) continue;
    if (parts->size() == 1) {
      filled_bytes_ += value->real.is_array() ? value->real.size() * 16 : 16;
      return std::move(*value);
    }
    if (value->real.is_array()) {
      problem(pointer, fmt::format("the list ${{{}}} within a longer text", printable(piece.text, 60)), "put it alone between the quotes");
      return as_written;
    }
    real += as_text(value->real);
    shown += as_text(value->shown);
  }
  if (!complete) return as_written;
  filled_bytes_ += real.size();
  if (filled_bytes_ > kMaxFilledBytes) {
    problem(pointer, fmt::format("more than {} bytes of text with variables filled in", kMaxFilledBytes), "use shorter values, or use them less often");
    return as_written;
  }
  return {real, shown};
}

std::optional<Filled> Variables::look_up(const std::string& name, const std::string& pointer) {
  if (name.starts_with("env:")) return from_outside(name.substr(4), false, pointer);
  if (name.starts_with("secret:")) return from_outside(name.substr(7), true, pointer);
  if (declaring_) {
    problem(pointer, fmt::format("${{{}}} within a variable", printable(name, 60)), "write it out: a variable may use ${env:NAME} and ${secret:NAME}, but no other variable");
    return std::nullopt;
  }
  used_.insert(name);
  const auto value = values_.find(name);
  if (value != values_.end() && !broken_.contains(pointer_join("/variables", name))) return value->second;
  if (names_.contains(name)) {
    broken_.insert(pointer);  // said where it is declared
    return std::nullopt;
  }
  const std::vector<std::string> known(names_.begin(), names_.end());
  const std::string meant = did_you_mean(name, known);
  problem(pointer, fmt::format("there is no variable {}", in_quotes(name)),
          meant.empty() ? fmt::format("add it to \"variables\": {{ {}: ... }}", in_quotes(name)) : fmt::format("did you mean ${{{}}}?", meant));
  return std::nullopt;
}

std::optional<Filled> Variables::from_outside(const std::string& name, bool is_secret, const std::string& pointer) {
  const std::string what = fmt::format("${{{}:{}}}", is_secret ? "secret" : "env", printable(name, 60));
  if (!is_environment_name(name)) {
    problem(pointer, what + " is not the name of an environment variable", "write letters, digits and _, as ${env:LOGIN_URL}");
    return std::nullopt;
  }
  const auto& look = is_secret && options_.secret ? options_.secret : options_.environment;
  const auto value = look ? look(name) : std::nullopt;
  if (!value) {
    problem(pointer, what + " is not set", fmt::format("set {} in the environment of capsize", name));
    return std::nullopt;
  }
  auto mistake = text_mistake(*value);
  if (!mistake && value->size() > kMaxVariableBytes) mistake = Mistake{fmt::format("more than {} bytes", kMaxVariableBytes), "give a shorter value"};
  if (!mistake && is_secret && value->size() < kMinSecretBytes) mistake = Mistake{fmt::format("fewer than {} characters, too few to keep them out of reports", kMinSecretBytes), "use a longer secret"};
  if (mistake) {
    problem(pointer, fmt::format("{} holds {}", what, mistake->fact), mistake->remedy);
    return std::nullopt;
  }
  if (!is_secret) return Filled{*value, *value};
  if (std::find(secrets_.begin(), secrets_.end(), *value) == secrets_.end()) secrets_.push_back(*value);
  return Filled{*value, kStars};
}

}  // namespace capsize
