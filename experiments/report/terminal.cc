#include "experiments/report/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "experiments/report/output.h"
#include "experiments/report/words.h"
#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxLineText = 600;  // bytes of one line's text; the timeline has all of it

std::string safe(std::string_view text) { return printable(text, kMaxLineText); }

std::string painted(std::string_view text, const char* sgr, bool colour) {
  return colour ? fmt::format("\x1b[{}m{}\x1b[0m", sgr, text) : std::string(text);
}

const char* sgr_of(std::string_view tone) { return tone == "good" ? "1;32" : tone == "bad" ? "1;31" : "1;33"; }

class PlainDisplay final : public RunDisplay {
 public:
  PlainDisplay(TextSink out, TerminalStyle style) : out_(std::move(out)), style_(std::move(style)) {}

  void event(const Json& event) override {
    remembered_.add(event);
    const auto words = teller_.tell(event);
    if (words) out_(event_line(*words, style_.colour) + "\n");
  }
  void tick(double) override {}
  void told(const std::vector<Json>& events) override { remembered_.replace(events); }
  void note(const std::string& text) override { out_(safe(text) + "\n"); }
  void verdict(const Json& verdict, const std::string& folder) override { out_(verdict_text(remembered_.summary(verdict), folder, style_.colour)); }

 private:
  TextSink out_;
  TerminalStyle style_;
  Teller teller_;
  Remembered remembered_;
};

class JsonDisplay final : public RunDisplay {
 public:
  explicit JsonDisplay(TextSink out) : out_(std::move(out)) {}

  void event(const Json& event) override { line(event); }
  void tick(double) override {}
  void told(const std::vector<Json>&) override {}  // the verdict has it
  void note(const std::string& text) override { line({{"event", "note"}, {"text", text}}); }
  void verdict(const Json& verdict, const std::string& folder) override { line({{"event", "verdict"}, {"verdict", verdict}, {"folder", folder}}); }

 private:
  void line(const Json& json) { out_(json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n"); }  // ASCII: fit for a terminal

  TextSink out_;
};

// One of the above, on a file descriptor.
class FdDisplay final : public RunDisplay {
 public:
  FdDisplay(int fd, DisplayMode mode) : output_(fd) {
    const TextSink sink = [this](std::string_view text) { output_.write(text); };
    TerminalStyle style = terminal_style(fd, [](const char* name) -> const char* { return std::getenv(name); });
    if (mode == DisplayMode::json) inner_ = json_display(sink);
    else inner_ = style.live && mode == DisplayMode::automatic ? live_display(sink, std::move(style)) : plain_display(sink, std::move(style));
  }

  void event(const Json& event) override { inner_->event(event); }
  void tick(double now) override { inner_->tick(now); }
  void told(const std::vector<Json>& events) override { inner_->told(events); }
  void note(const std::string& text) override { inner_->note(text); }
  void verdict(const Json& verdict, const std::string& folder) override {
    inner_->verdict(verdict, folder);
    output_.drain();
  }

 private:
  PatientOutput output_;
  std::unique_ptr<RunDisplay> inner_;
};

void add_findings(std::string& out, const Summary& summary, bool colour) {
  for (const FindingWords& one : summary.findings) {
    const char* word = one.holds == "yes" ? "held   " : one.holds == "no" ? "MISSED " : "unknown";
    const char* tone = one.holds == "yes" ? "good" : one.holds == "no" ? "bad" : "unsure";
    out += fmt::format("  {}  {}\n", painted(word, sgr_of(tone), colour), safe(one.sentence));
  }
}

void add_suspects(std::string& out, const Summary& summary, bool colour) {
  for (const SuspectWords& one : summary.suspects) {
    out += fmt::format("  suspect {}: {}: {}\n", safe(one.suspect), painted(one.word, sgr_of(one.tone), colour), safe(one.because));
  }
}

void add_game(std::string& out, const Summary& summary, bool colour) {
  const GameWords& game = summary.game;
  if (!game.cause.empty()) out += fmt::format("  sealed: it was {}\n", painted(safe(game.cause), "1", colour));
  if (game.untold) out += "  sealed: what it was is not told: the run ended before that\n";
  if (!game.opening.empty()) out += fmt::format("  the hash of the choice {}\n", game.matches ? "is the one shown at the start" : painted("is NOT the one shown at the start", "1;31", colour));
  for (const ScoreWords& one : game.score) out += fmt::format("  {}: {}{}\n", one.what, painted(one.value, one.known ? "1" : "1;33", colour), one.because.empty() ? "" : ": " + safe(one.because));
}

void add_alerts(std::string& out, const Summary& summary, bool colour) {
  for (const AlertWords& one : summary.alerts) {
    out += fmt::format("  alert {}: {}: {}\n", safe(one.alert), painted(one.word, sgr_of(one.tone), colour), safe(one.because));
  }
}

bool has_utf8(const std::function<const char*(const char*)>& environment) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = environment(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string_view text(value);
    return text.find("UTF-8") != std::string_view::npos || text.find("utf8") != std::string_view::npos || text.find("utf-8") != std::string_view::npos;
  }
  return false;
}

}  // namespace

TerminalStyle terminal_style(int fd, const std::function<const char*(const char* name)>& environment) {
  TerminalStyle style;
  if (::isatty(fd) == 0) return style;
  const char* term = environment("TERM");
  const bool dumb = term == nullptr || *term == '\0' || std::string_view(term) == "dumb";
  const char* no_colour = environment("NO_COLOR");
  style.live = !dumb;
  style.colour = !dumb && (no_colour == nullptr || *no_colour == '\0');
  style.utf8 = has_utf8(environment);
  style.size = [fd] {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return TerminalSize{};
    return TerminalSize{size.ws_col, size.ws_row};
  };
  return style;
}

std::string event_line(const EventWords& event, bool colour) {
  const char* sgr = event.kind == "fault" || event.kind == "stop" ? "1;31" : event.kind == "undo" ? "32" : event.kind == "phase" ? "1" : nullptr;
  const std::string text = safe(event.text);
  return fmt::format("{:>8}  {}", fmt::format("{:.1f} s", event.t), sgr == nullptr ? text : painted(text, sgr, colour));
}

std::string verdict_text(const Summary& summary, const std::string& folder, bool colour) {
  const OutcomeWords words = outcome_words(summary.outcome);
  std::string out = fmt::format("\n{}: {}\n", painted(words.badge, sgr_of(words.tone), colour), words.meaning);
  if (!summary.because.empty()) out += fmt::format("  because: {}\n", safe(summary.because));
  for (const std::string& sentence : summary.done) out += fmt::format("  done: {}\n", safe(sentence));
  add_findings(out, summary, colour);
  add_suspects(out, summary, colour);
  add_game(out, summary, colour);
  add_alerts(out, summary, colour);
  out += fmt::format("  recovery: {}\n  undo: {}\n", safe(summary.recovery), painted(safe(summary.undo), !summary.all_undone ? "1;31" : summary.undo_known ? "32" : "1;33", colour));
  if (!summary.rebalance.empty()) out += fmt::format("  shares: {}\n", safe(summary.rebalance));
  if (!summary.retries.empty()) out += fmt::format("  retries: {}\n", safe(summary.retries));
  if (!summary.escape.empty()) out += fmt::format("  escape: {}\n", safe(summary.escape));
  for (const ResidueWords& one : summary.residue) {
    out += fmt::format("  {}\n", painted("LEFT BEHIND " + safe(one.what) + (one.because.empty() ? "" : ": " + safe(one.because)), "1;31", colour));
    if (!one.remedy.empty()) out += fmt::format("  do now: {}\n", painted(safe(one.remedy), "1", colour));
  }
  if (!folder.empty()) out += fmt::format("  report: {}/report.html\n", safe(folder));
  if (!folder.empty() && summary.game.any()) out += fmt::format("  postmortem, to go on from: {}/postmortem.md\n", safe(folder));
  return out;
}

void Remembered::add(const Json& event) {
  if (text_of(event, "event") != "window") events_.push_back(event);
}

void Remembered::replace(const std::vector<Json>& events) {
  events_.clear();
  for (const Json& event : events) add(event);
}

Summary Remembered::summary(const Json& verdict) const { return summarize(events_.empty() ? Json() : member(events_.front(), "playbook"), events_, verdict); }

std::unique_ptr<RunDisplay> plain_display(TextSink out, TerminalStyle style) { return std::make_unique<PlainDisplay>(std::move(out), std::move(style)); }

std::unique_ptr<RunDisplay> json_display(TextSink out) { return std::make_unique<JsonDisplay>(std::move(out)); }

std::unique_ptr<RunDisplay> make_run_display(int fd, DisplayMode mode) { return std::make_unique<FdDisplay>(fd, mode); }

}  // namespace capsize
