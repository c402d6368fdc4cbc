#include "injector/base/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "injector/base/utf8.h"
#include <utility>

namespace capsize {
namespace {

// Letters changed, lost, added or swapped with their neighbour.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before;  // the row before the one before
  std::vector<std::size_t> above(b.size() + 1);
  std::iota(above.begin(), above.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::vector<std::size_t> row(b.size() + 1, i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::exchange(above, std::move(row));
  }
  return above[b.size()];
}

// Length in bytes of the valid UTF-8 sequence of a printable character at `at`, or 0.
std::size_t printable_sequence(std::string_view text, std::size_t at) {
  unsigned point = 0;
  const std::size_t length = utf8_sequence(text, at, point);
  const bool control = point < 0x20 || (point >= 0x7f && point < 0xa0);
  const bool bidi = (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
  return control || bidi ? 0 : length;
}

}  // namespace

bool Diagnostics::ok() const { return errors() == 0; }

std::size_t Diagnostics::errors() const {
  return static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), [](const Diagnostic& d) { return d.severity == Severity::error; }));
}

std::string Diagnostics::text(std::string_view file) const {
  std::vector<Diagnostic> sorted = all_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Diagnostic& a, const Diagnostic& b) { return std::tie(a.line, a.column) < std::tie(b.line, b.column); });
  std::string out;
  for (const Diagnostic& d : sorted) {
    out += fmt::format("{}:{}:{}: {}{}: {}{}{}\n", printable(file), d.line, d.column, d.severity == Severity::warning ? "warning: " : "",
                       d.pointer.empty() ? "/" : printable(d.pointer), printable(d.fact, 400), d.remedy.empty() ? "" : "; ", printable(d.remedy, 400));
  }
  return out;
}

Json Diagnostics::json(std::string_view file) const {
  Json out = Json::array();
  for (const Diagnostic& d : all_) {
    Json one = {{"file", file}, {"line", d.line}, {"column", d.column}, {"pointer", d.pointer}, {"fact", d.fact}, {"remedy", d.remedy}};
    one["severity"] = d.severity == Severity::error ? "error" : "warning";
    out.push_back(std::move(one));
  }
  return out;
}

std::string pointer_join(const std::string& pointer, std::string_view key) {
  std::string out = pointer + "/";
  for (const char c : key) {
    if (c == '~') out += "~0";
    else if (c == '/') out += "~1";
    else out += c;
  }
  return out;
}

std::string pointer_join(const std::string& pointer, std::size_t index) { return fmt::format("{}/{}", pointer, index); }

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 64) return {};
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    // A word that was cut short is meant, too: "serv" for "server", "skew" for "balancer.skew".
    const bool is_cut = word.size() >= 3 && (candidate.starts_with(word) || candidate.ends_with("." + std::string(word)));
    const std::size_t distance = is_cut ? 1 : edit_distance(word, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (out.size() >= limit) return out + "...";
    const std::size_t length = printable_sequence(text, i);
    if (length > 0) {
      out += text.substr(i, length);
      i += length;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
      ++i;
    }
  }
  return out;
}

}  // namespace capsize
