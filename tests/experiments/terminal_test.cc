#include "experiments/report/terminal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <map>
#include <regex>
#include <sstream>
#include <thread>

#include "injector/base/unique_fd.h"
#include "report_checks.h"
#include "report_samples.h"

namespace capsize {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A terminal as far as the live block uses one: lines, cursor up, clear to the end of the screen. Colours are dropped.
class Screen {
 public:
  void show(const std::string& text) {
    static const std::regex sequence("^\x1b\\[([0-9;]*)([AJm])");
    for (std::size_t at = 0; at < text.size();) {
      if (text[at] != '\x1b') {
        put(text[at++]);
        continue;
      }
      std::smatch match;
      const std::string rest = text.substr(at, 16);
      REQUIRE(std::regex_search(rest, match, sequence));
      if (match[2] == "A") {
        const auto up = static_cast<std::size_t>(std::stoul(match[1]));
        REQUIRE(up <= row_);
        row_ -= up;
      } else if (match[2] == "J") {
        lines_.resize(row_ + 1);
        lines_[row_].clear();
      }
      at += static_cast<std::size_t>(match.length());
    }
  }
  const std::vector<std::string>& lines() const { return lines_; }
  std::string text() const {
    std::string out;
    for (const std::string& line : lines_) out += line + "\n";
    return out;
  }

 private:
  void put(char c) {
    if (c == '\r') return;
    if (c == '\n') ++row_;
    if (lines_.size() <= row_) lines_.resize(row_ + 1);
    if (c != '\n') lines_[row_] += c;
  }

  std::vector<std::string> lines_{1};
  std::size_t row_ = 0;
};

TerminalStyle style_of(unsigned columns, bool colour) {
  TerminalStyle style;
  style.live = true;
  style.colour = colour;
  style.utf8 = true;
  style.size = [columns] { return TerminalSize{columns, 40}; };
  return style;
}

TextSink into(std::string& out) {
  return [&out](std::string_view text) { out += text; };
}

// Plays the run up to `until` seconds, with a tick after each event.
void play(RunDisplay& view, const Sample& sample, double until) {
  for (const Json& event : sample.events) {
    if (event["t"].get<double>() > until) break;
    view.event(event);
    view.tick(event["t"].get<double>());
  }
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

std::size_t columns_of(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

}  // namespace

TEST_CASE("without a terminal a run is told as plain lines, one an event that matters", "[report]") {
  const Sample sample = refuted_sample();
  std::string out;
  const auto view = plain_display(into(out), {});
  play(*view, sample, 100);
  const std::string text = out;
  CHECK(text.substr(0, text.find('\n')) == "   0.0 s  run 20261122-220003-7f3a: The balancer plays favourites");
  CHECK(has(text, "  10.0 s  balancer.skew injected: auth1 gets 80 % of backend auth (weights auth1 10 -> 80)\n"));
  CHECK(has(text, "  11.2 s  balancer.skew bites: auth1 got 79.8 % of 1979 new sessions; 80 % was intended\n"));
  CHECK(has(text, "  22.1 s  balancer.skew undone: auth1 has weight 10 again, read back, and gets traffic\n"));
  CHECK(has(text, "  22.3 s  every fault is gone and read back: the recovery clock starts\n"));
  CHECK(!has(text, "\x1b"));
  CHECK(count_of(text, "\n") < 20);
}

TEST_CASE("the verdict is printed for people: outcome, why, findings, recovery, where the report is", "[report]") {
  const Sample sample = refuted_sample();
  const std::string text = verdict_text(summarize(sample.playbook, sample.events, sample.verdict), "runs/x", false);
  CHECK(has(text, "\nRefuted: the degradation was not graceful\n"));
  CHECK(has(text, "  MISSED   login success ratio was 35.9 % during the fault; at least 95 % was expected (59.1 points short)\n"));
  CHECK(has(text, "  held     login wrong passwords accepted was 0 over the whole run; at most 0 was expected\n"));
  CHECK(has(text, "  recovery: Back to the steady state 9.8 s after the fault was gone; at most 15 s was expected.\n"));
  CHECK(has(text, "  report: runs/x/report.html\n"));
}

TEST_CASE("the verdict on the terminal names who moved and who is ruled out, and how long the shares took", "[report]") {
  const Sample sample = suspects_sample();
  const std::string text = verdict_text(summarize(sample.playbook, sample.events, sample.verdict), "", false);
  CHECK(has(text, "  suspect auth1: moved: 31 failed of 36, and 0 of 24 in the baseline\n  suspect auth2: cannot tell: "));
  CHECK(has(text, "  suspect the database: ruled out: 0 failed of 120, and 0 of 80 in the baseline\n"));
  CHECK(has(text, "  shares: 4.5 s after the undo the shares of shares were at most half as far"));
}

TEST_CASE("the verdict on the terminal says how often clients tried again, and at which load the system escaped", "[report]") {
  const Sample sample = escaped_sample();
  const std::string text = verdict_text(summarize(sample.playbook, sample.events, sample.verdict), "", false);
  CHECK(has(text, "\n  retries: Clients of login made 1 attempts per login in the baseline, 2.4 in the fault, 3 after it; in the escape test 3 at 50 %, 1.25 at 25 %.\n"));
  CHECK(has(text, "\n  escape: Escaped: logins succeeded again at 51.2 logins/s.\n"));
  CHECK(!has(verdict_text(summarize(Json(), {}, unrecovered_sample().verdict), "", false), "escape: "));
}

TEST_CASE("residue is printed with the command to run", "[report]") {
  const Sample sample = residue_sample();
  const std::string text = verdict_text(summarize(sample.playbook, sample.events, sample.verdict), "", false);
  CHECK(has(text, "  LEFT BEHIND balancer.skew, step f0.s0: refused: auth1 of backend auth has weight 60"));
  CHECK(has(text, "  do now: look at it, then run: capsize revert 20261122-220003-7f3a --accept f0.s0\n"));
}

TEST_CASE("on a terminal one block shows phase, time left, success, p99, shares and what is in place", "[report]") {
  std::string out;
  const auto view = live_display(into(out), style_of(100, true));
  play(*view, refuted_sample(), 18.0);
  Screen screen;
  screen.show(out);
  const std::string text = screen.text();
  CHECK(has(text, "  4 s left of 12 s"));
  CHECK(count_of(text, " left of ") == 1);
  CHECK(has(text, "login     success 20"));
  CHECK(has(text, "p99 1 s"));
  CHECK(std::regex_search(text, std::regex("shares    auth1        (█)+(░)+  ?80")));
  CHECK(has(text, "in place  balancer.skew: auth1 gets 80 % of backend auth"));
  CHECK(count_of(text, "balancer.skew injected") == 1);
}

TEST_CASE("after the undo nothing is in place, and the verdict takes the block's place", "[report]") {
  const Sample sample = refuted_sample();
  std::string out;
  const auto view = live_display(into(out), style_of(100, false));
  play(*view, sample, 30);
  Screen during;
  during.show(out);
  CHECK(has(during.text(), "in place  nothing"));
  view->verdict(sample.verdict, "runs/x");
  view->tick(99);
  Screen after;
  after.show(out);
  CHECK(!has(after.text(), "in place"));
  CHECK(has(after.text(), "Refuted: the degradation was not graceful"));
}

TEST_CASE("the block is redrawn at most four times a second, however often it is ticked", "[report]") {
  std::string out;
  const auto view = live_display(into(out), style_of(80, false));
  play(*view, refuted_sample(), 1);
  const std::size_t before = count_of(out, "Ctrl-C");
  for (int i = 0; i < 1000; ++i) view->tick(2 + i / 1000.0);
  const std::size_t redraws = count_of(out, "Ctrl-C") - before;
  CHECK(redraws >= 3);
  CHECK(redraws <= 4);
}

TEST_CASE("no line of the block is wider than the terminal, not even in 20 columns", "[report]") {
  for (const unsigned columns : {20u, 40u, 80u, 200u}) {
    std::string out;
    const auto view = live_display(into(out), style_of(columns, true));
    view->event(refuted_sample().events.front());
    for (const Json& event : refuted_sample().events) {
      if (event["event"] == "window" || event["event"] == "phase") view->event(event);
    }
    view->tick(60);
    Screen screen;
    screen.show(out);
    bool block = false;
    for (const std::string& line : screen.lines()) {
      block = block || line.rfind("login", 0) == 0;
      if (block) CHECK(columns_of(line) < columns);
    }
    CHECK(block);
  }
}

TEST_CASE("when the window has become narrower the wrapped block is taken away whole", "[report]") {
  auto columns = std::make_shared<unsigned>(100);
  TerminalStyle style = style_of(0, false);
  style.size = [columns] { return TerminalSize{*columns, 40}; };
  std::string out;
  const auto view = live_display(into(out), style);
  play(*view, refuted_sample(), 12);
  const auto up = [&] {
    out.clear();
    view->tick(50);
    std::smatch match;
    REQUIRE(std::regex_search(out, match, std::regex("\x1b\\[(\\d+)A")));
    return std::stoi(match[1]);
  };
  view->tick(40);
  *columns = 30;
  CHECK(up() > 7);  // seven lines, some of them now two or three rows
}

// Without the sequences of our own: cursor up, clear below, colours.
std::string without_our_sequences(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t end = text.compare(i, 2, "\x1b[") == 0 ? text.find_first_not_of("0123456789;", i + 2) : std::string::npos;
    if (end != std::string::npos && std::string_view("AJm").find(text[end]) != std::string_view::npos) i = end;
    else out += text[i];
  }
  return out;
}

TEST_CASE("what a target sends never reaches the terminal as a control character", "[report]") {
  for (const std::string& text : hostile_texts()) {
    INFO(text);
    const Sample sample = hostile_sample(text);
    for (const std::string kind : {"json", "live", "plain"}) {
      std::string out;
      TerminalStyle style = style_of(120, kind == "live");
      style.live = kind == "live";
      const auto view = kind == "json" ? json_display(into(out)) : kind == "live" ? live_display(into(out), style) : plain_display(into(out), style);
      std::size_t windows = 0;
      for (const Json& event : sample.events) {
        const bool is_window = event["event"] == "window";
        if (is_window && ++windows % 20 != 0) continue;  // one says what all do
        view->event(event);
        if (is_window) view->tick(event["t"].get<double>());
      }
      view->note(text);
      view->verdict(sample.verdict, "runs/x" + text);
      const std::string shown = without_our_sequences(out);
      CHECK(std::all_of(shown.begin(), shown.end(), [](char c) { return c == '\n' || c == '\r' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f); }));
      CHECK(!has(shown, "\xe2\x80\xae"));
      CHECK(!has(shown, "\xc2\x9b"));
    }
  }
}

TEST_CASE("with --json every event is a line of JSON, and the verdict is the last", "[report]") {
  const Sample sample = held_sample();
  std::string out;
  const auto view = json_display(into(out));
  for (const Json& event : sample.events) view->event(event);
  view->verdict(sample.verdict, "runs/x");
  std::istringstream in(out);
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  REQUIRE(lines.size() == sample.events.size() + 1);
  CHECK(std::equal(sample.events.begin(), sample.events.end(), lines.begin()));
  CHECK(lines.back() == Json{{"event", "verdict"}, {"verdict", sample.verdict}, {"folder", "runs/x"}});
}

TEST_CASE("a pipe that nobody reads holds up no run, and gets the rest when it is read", "[report]") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd read_end(ends[0]), write_end(ends[1]);
  const auto display = make_run_display(write_end.get(), DisplayMode::json);
  const Sample sample = refuted_sample();
  std::size_t written = 0;
  for (int times = 0; times < 5; ++times) {  // more than a pipe holds, with no reader: would block for ever
    for (const Json& event : sample.events) display->event(event), written += event.dump().size() + 1;
  }
  REQUIRE(written > 65536);
  std::string got;
  std::thread reader([&] {
    char buffer[4096];
    for (ssize_t count; (count = ::read(read_end.get(), buffer, sizeof buffer)) > 0;) {
      got.append(buffer, static_cast<std::size_t>(count));
      if (has(got, "\"event\":\"verdict\"") && got.back() == '\n') break;
    }
  });
  display->verdict(sample.verdict, "");
  reader.join();
  CHECK(std::count(got.begin(), got.end(), '\n') == static_cast<std::ptrdiff_t>(5 * sample.events.size() + 1));
}

TEST_CASE("a verdict can be printed without its timeline", "[report]") {
  std::string out;
  plain_display(into(out), {})->verdict(refuted_sample().verdict, "runs/x");
  CHECK(has(out, "  done: auth1 gets 80 % of backend auth (weights auth1 10 -> 80), for 12 s.\n"));
  CHECK(has(out, "  recovery: Back to the steady state 9.8 s after the fault was gone; at most 15 s was expected.\n"));
  CHECK(has(out, "  undo: Everything was undone, and read back to make sure.\n"));
}

TEST_CASE("live block and colours only on a terminal, TERM=dumb and NO_COLOR are respected", "[report]") {
  const auto environment = [](std::map<std::string, std::string> values) {
    return [values = std::move(values)](const char* name) { return values.count(name) > 0 ? values.at(name).c_str() : nullptr; };
  };
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd read_end(ends[0]), write_end(ends[1]);
  const TerminalStyle piped = terminal_style(write_end.get(), environment({{"TERM", "xterm"}}));
  CHECK_FALSE(piped.live);
  CHECK_FALSE(piped.colour);

  const UniqueFd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(terminal);
  const TerminalStyle full = terminal_style(terminal.get(), environment({{"TERM", "xterm"}, {"LANG", "C.UTF-8"}}));
  CHECK(full.live);
  CHECK(full.colour);
  CHECK(full.utf8);
  CHECK(full.size().columns == 80);  // a terminal that does not know its size
  const TerminalStyle plain = terminal_style(terminal.get(), environment({{"TERM", "xterm"}, {"NO_COLOR", "1"}, {"LC_ALL", "C"}, {"LANG", "C.UTF-8"}}));
  CHECK(plain.live);
  CHECK_FALSE(plain.colour);
  CHECK_FALSE(plain.utf8);
  const TerminalStyle dumb = terminal_style(terminal.get(), environment({{"TERM", "dumb"}}));
  CHECK_FALSE(dumb.live);
  CHECK_FALSE(dumb.colour);
}

}  // namespace capsize
