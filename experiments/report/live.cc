// The live block: redrawn in place, with the lines of events scrolling above it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>

#include "experiments/report/series.h"
#include "experiments/report/terminal.h"
#include "experiments/report/words.h"
#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

constexpr double kRedrawEvery = 0.25;        // seconds
constexpr double kRecent = 2;                // seconds of windows that the numbers are over
constexpr std::size_t kMaxWindows = 64;      // of one probe
constexpr std::size_t kMaxServers = 12;      // with a bar of their own
constexpr std::size_t kMaxInPlace = 3;
constexpr unsigned kBarColumns = 30;

struct Piece {
  std::string text;           // printable
  const char* sgr = nullptr;  // null: as it is
};
using Line = std::vector<Piece>;

// Columns of the character that begins with these bytes, roughly: East Asian wide forms and emoji take two.
unsigned columns_of(std::string_view bytes) {
  if (bytes.size() == 4) return 2;
  if (bytes.size() != 3) return 1;
  const unsigned point = ((static_cast<unsigned char>(bytes[0]) & 0x0fu) << 12) | ((static_cast<unsigned char>(bytes[1]) & 0x3fu) << 6) | (static_cast<unsigned char>(bytes[2]) & 0x3fu);
  const bool wide = (point >= 0x1100 && point <= 0x115f) || (point >= 0x2e80 && point <= 0xa4cf) || (point >= 0xac00 && point <= 0xd7a3) || (point >= 0xf900 && point <= 0xfaff) || (point >= 0xff00 && point <= 0xff60);
  return wide ? 2 : 1;
}

std::size_t sequence_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// As much of the line as fits; `used` gets its columns.
std::string fit(const Line& line, unsigned columns, bool colour, unsigned& used) {
  std::string out;
  used = 0;
  for (const Piece& piece : line) {
    const bool paint = colour && piece.sgr != nullptr;
    if (paint) out += fmt::format("\x1b[{}m", piece.sgr);
    for (std::size_t at = 0; at < piece.text.size();) {
      const std::string_view one = std::string_view(piece.text).substr(at, sequence_length(piece.text[at]));
      if (used + columns_of(one) > columns) break;
      used += columns_of(one);
      out += one;
      at += one.size();
    }
    if (paint) out += "\x1b[0m";
  }
  return out;
}

std::string padded(std::string text, std::size_t columns) {
  if (text.size() < columns) text.append(columns - text.size(), ' ');
  return text;
}

class LiveDisplay final : public RunDisplay {
 public:
  LiveDisplay(TextSink out, TerminalStyle style) : out_(std::move(out)), style_(std::move(style)) {}

  void event(const Json& event) override {
    now_ = std::max(now_, number_of(event, "t").value_or(0));
    remembered_.add(event);
    const std::string kind = text_of(event, "event");
    if (kind == "run") probes_ = probe_windows(member(event, "playbook"), {});
    if (kind == "phase") phase_ = text_of(event, "phase"), phase_from_ = now_, phase_lasts_ = number_of(event, "lasts");
    sealed_ = sealed_ || kind == "seal";
    if (kind == "window") keep(event);
    else if (const auto words = teller_.tell(event)) line(event_line(*words, style_.colour));
    tick(now_);
  }

  void tick(double now) override {
    now_ = std::max(now_, now);
    if (finished_ || phase_.empty() || now_ < next_draw_) return;
    next_draw_ = now_ + kRedrawEvery;
    std::string text = erased();
    const TerminalSize size = style_.size ? style_.size() : TerminalSize{};
    const std::vector<Line> lines = block();
    const std::size_t count = std::min<std::size_t>(lines.size(), size.rows > 1 ? size.rows - 1 : 1);
    for (std::size_t i = 0; i < count; ++i) {
      unsigned used = 0;
      text += fit(lines[i], std::max(size.columns, 2u) - 1, style_.colour, used) + "\n";  // the last column stays free: some terminals wrap there
      drawn_.push_back(used);
    }
    out_(text);
  }

  void told(const std::vector<Json>& events) override { remembered_.replace(events); }

  void note(const std::string& text) override { line(printable(text, 400)); }

  void verdict(const Json& verdict, const std::string& folder) override {
    finished_ = true;
    out_(erased() + verdict_text(remembered_.summary(verdict), folder, style_.colour));
  }

 private:
  void line(const std::string& text) {
    out_(erased() + text + "\n");  // the block comes back with the next redraw
  }

  void keep(const Json& event) {
    const std::string name = text_of(event, "probe");
    for (ProbeWindows& probe : probes_) {
      if (probe.name != name) continue;
      auto& windows = windows_[name];
      windows.push_back(member(event, "window"));
      const double newest = number_of(windows.back(), "to").value_or(0);
      while (windows.size() > kMaxWindows || number_of(windows.front(), "to").value_or(0) < newest - kRecent) windows.pop_front();
      probe.windows.clear();
      for (const Window& window : windows) probe.windows.push_back(&window);
    }
  }

  // Takes the block away again; rows count as they are now, should the window have become narrower since.
  std::string erased() {
    const unsigned columns = std::max(1u, style_.size ? style_.size().columns : TerminalSize{}.columns);
    std::size_t rows = 0;
    for (const unsigned used : drawn_) rows += used <= columns ? 1 : (used + columns - 1) / columns;
    drawn_.clear();
    return rows == 0 ? "" : fmt::format("\x1b[{}A\r\x1b[J", rows);
  }

  std::string bar(double part, unsigned columns) const {
    const auto full = static_cast<unsigned>(std::lround(std::clamp(part, 0.0, 1.0) * columns));
    std::string out;
    for (unsigned i = 0; i < columns; ++i) out += i < full ? (style_.utf8 ? "█" : "#") : (style_.utf8 ? "░" : "-");
    return out;
  }

  Line phase_line() const {
    const double gone = std::max(0.0, now_ - phase_from_);
    Line line = {{padded(printable(phase_, 20), 10), "1"}};
    if (!phase_lasts_) {
      line.push_back({plain_seconds(std::floor(gone)), nullptr});
      return line;
    }
    const double left = std::max(0.0, *phase_lasts_ - gone);
    const double part = *phase_lasts_ > 0 ? gone / *phase_lasts_ : 1;
    line.push_back({bar(part, kBarColumns), phase_ == "fault" ? "31" : "36"});
    line.push_back({fmt::format("  {} left of {}", plain_seconds(std::ceil(left)), plain_seconds(*phase_lasts_)), nullptr});
    return line;
  }

  void add_measure(Line& line, const ProbeWindows& probe, const char* measure, const char* label, const char* kind) const {
    if (!probe.offers(measure)) return;
    const auto measured = probe.measure(measure, 0, now_ + 1);
    line.push_back({fmt::format("{} {:<9}", label, measured ? plain_value(kind, measured->value) : "-"), nullptr});
  }

  std::vector<Line> block() const {
    std::vector<Line> lines = {phase_line()};
    for (const ProbeWindows& probe : probes_) {
      if (!probe.offers("success_ratio")) continue;
      Line line = {{padded(printable(probe.name, 20), 10), "1"}};
      add_measure(line, probe, "success_ratio", "success", "ratio");
      add_measure(line, probe, "latency.p50", "median", "duration");
      add_measure(line, probe, "latency.p99", "p99", "duration");
      lines.push_back(std::move(line));
    }
    for (const ProbeWindows& probe : probes_) add_shares(lines, probe);
    const auto faults = teller_.in_place();
    lines.push_back({{padded("in place", 10), "1"}, {sealed_ ? "sealed until the end" : faults.empty() ? "nothing" : printable(faults.front(), 300), faults.empty() ? nullptr : "1;31"}});
    for (std::size_t i = 1; i < std::min(faults.size(), kMaxInPlace); ++i) lines.push_back({{padded("", 10), nullptr}, {printable(faults[i], 300), "1;31"}});
    if (faults.size() > kMaxInPlace) lines.push_back({{padded("", 10), nullptr}, {fmt::format("and {} more", faults.size() - kMaxInPlace), nullptr}});
    lines.push_back({{"Ctrl-C stops the run and undoes everything", "2"}});
    return lines;
  }

  void add_shares(std::vector<Line>& lines, const ProbeWindows& probe) const {
    if (!probe.offers("share.x")) return;
    const auto servers = probe.servers();
    for (std::size_t i = 0; i < std::min(servers.size(), kMaxServers); ++i) {
      const auto share = probe.measure("share." + servers[i], 0, now_ + 1);
      Line line = {{padded(i == 0 ? printable(probe.name, 20) : "", 10), "1"}, {padded(printable(servers[i], 24), 12) + " ", nullptr}};
      line.push_back({bar(share ? share->value : 0, kBarColumns), "36"});
      line.push_back({share ? fmt::format(" {:>7}", plain_value("ratio", share->value)) : " no sessions", nullptr});
      lines.push_back(std::move(line));
    }
    if (servers.size() > kMaxServers) lines.push_back({{padded("", 10), nullptr}, {fmt::format("and {} more servers", servers.size() - kMaxServers), nullptr}});
  }

  TextSink out_;
  TerminalStyle style_;
  Teller teller_;
  Remembered remembered_;
  std::vector<ProbeWindows> probes_;
  std::map<std::string, std::deque<Window>> windows_;
  std::string phase_;
  double phase_from_ = 0;
  std::optional<double> phase_lasts_;
  double now_ = 0;
  double next_draw_ = 0;
  std::vector<unsigned> drawn_;  // columns of each line of the block that is on the screen
  bool sealed_ = false;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<RunDisplay> live_display(TextSink out, TerminalStyle style) { return std::make_unique<LiveDisplay>(std::move(out), std::move(style)); }

}  // namespace capsize
