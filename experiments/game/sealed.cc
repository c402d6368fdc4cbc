#include "experiments/game/sealed.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <set>

#include "injector/base/error.h"
#include "injector/base/rng.h"

namespace capsize {
namespace {

// Letters and digits, in lower case; bytes beyond ASCII are letters.
std::set<std::string> words_of(std::string_view text) {
  std::set<std::string> out;
  std::string word;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool part = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
    if (part) word += upper ? static_cast<char>(c - 'A' + 'a') : c;
    else if (!word.empty()) out.insert(std::exchange(word, {}));
  }
  if (!word.empty()) out.insert(std::move(word));
  return out;
}

bool holds_all(const std::set<std::string>& text, const std::set<std::string>& phrase) {
  return !phrase.empty() && std::includes(text.begin(), text.end(), phrase.begin(), phrase.end());
}

// Of a stop: an error's own words may name the fault; those of an operator or a guardrail cannot.
Json stop_meanwhile(Json event) {
  const std::string kind = event.value("kind", "");
  if (kind != "operator" && kind != "guardrail" && kind != "not_steady") event["because"] = "told at the end";
  return event;
}

}  // namespace

std::string commitment_of(const std::string& opening) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  CAPSIZE_CHECK(EVP_Digest(opening.data(), opening.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
  std::string out;
  for (unsigned i = 0; i < length; ++i) out += fmt::format("{:02x}", digest.at(i));
  return out;
}

Seal seal_choice(const Playbook& playbook, std::uint64_t seed, const std::string& salt) {
  CAPSIZE_CHECK(!playbook.sealed.empty());
  Seal out;
  out.choice = static_cast<std::size_t>(Rng(seed).stream("sealed").below(playbook.sealed.size()));
  const Json& chosen = playbook.as_run.at("sealed").at(out.choice);
  out.opening = salt + " " + chosen.dump(-1, ' ', true, Json::error_handler_t::replace);
  out.commitment = commitment_of(out.opening);
  return out;
}

Playbook open_sealed(const Playbook& playbook, std::size_t choice) {
  CAPSIZE_CHECK(choice < playbook.sealed.size() && !playbook.opened);
  Playbook out = playbook;
  out.opened = choice;
  const auto& faults = out.sealed[choice].faults;
  out.faults.insert(out.faults.end(), faults.begin(), faults.end());
  if (!out.as_run.contains("faults")) out.as_run["faults"] = Json::array();
  for (const Json& fault : playbook.as_run.at("sealed").at(choice).at("faults")) out.as_run["faults"].push_back(fault);
  return out;
}

std::optional<Json> seen_meanwhile(const Json& event, const Json& closed) {
  static const std::set<std::string> kTellNothing = {"phase", "window", "gate", "lateness", "undone", "seal", "opened", "note", "ask", "answer", "unanswered", "end"};
  const std::string kind = event.value("event", "");
  if (kTellNothing.contains(kind)) return event;
  if (kind == "stop") return stop_meanwhile(event);
  if (kind == "notice" && event.value("what", "") == "recovered") return event;
  if (kind != "run") return std::nullopt;
  Json head = event;
  head["playbook"] = closed;
  head.erase("seed");  // with it and the playbook anybody could choose again
  return head;
}

std::vector<std::size_t> causes_named(const std::vector<SealedCause>& causes, std::string_view answer) {
  const auto said = words_of(answer);
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < causes.size(); ++i) {
    const auto& phrases = causes[i].known_by;
    if (std::any_of(phrases.begin(), phrases.end(), [&](const std::string& phrase) { return holds_all(said, words_of(phrase)); })) out.push_back(i);
  }
  return out;
}

bool phrase_within(std::string_view shorter, std::string_view longer) { return holds_all(words_of(longer), words_of(shorter)); }

}  // namespace capsize
