// What a person sees while a run goes on and when it is over: lines on a pipe, one live block on a terminal, JSON lines with --json.
// Fed by Timeline::on_event; has no clock of its own: the events' times and the caller's ticks move it. Text from outside never reaches
// the terminal as control characters.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/report/summary.h"
#include "injector/base/json.h"

namespace capsize {

enum class DisplayMode { automatic, plain, json };  // automatic: live on a terminal, else plain

struct TerminalSize {
  unsigned columns = 80;
  unsigned rows = 24;
};

struct TerminalStyle {
  bool live = false;    // a block that is redrawn
  bool colour = false;
  bool utf8 = false;    // else plain ASCII bars
  std::function<TerminalSize()> size;  // now: a window can be resized; empty: 80 by 24
};

// What `fd` and the environment allow: live and colours on a terminal only, no live block with TERM=dumb, no colours with NO_COLOR.
TerminalStyle terminal_style(int fd, const std::function<const char*(const char* name)>& environment);

// Takes text to where it is shown. Must not block and must not throw: a run never waits for its audience.
using TextSink = std::function<void(std::string_view text)>;

// Thread: control.
class RunDisplay {
 public:
  virtual ~RunDisplay() = default;
  virtual void event(const Json& event) = 0;
  virtual void tick(double now) = 0;  // seconds since the start of the run, as often as the caller likes; optional, windows tick too
  virtual void note(const std::string& text) = 0;
  // All of a run of which parts were sealed: what the verdict is told from, in place of what was shown.
  virtual void told(const std::vector<Json>& events) = 0;
  virtual void verdict(const Json& verdict, const std::string& folder) = 0;  // `folder` of the run's files; may be empty
};

// Writes to `fd`, which must outlive it. A terminal that is stopped (Ctrl-S) or a pipe that nobody reads never holds up the run: text waits,
// up to a limit, and is written out by verdict().
std::unique_ptr<RunDisplay> make_run_display(int fd, DisplayMode mode);

std::unique_ptr<RunDisplay> plain_display(TextSink out, TerminalStyle style);
std::unique_ptr<RunDisplay> live_display(TextSink out, TerminalStyle style);  // live.cc; redraws at most 4 times a second
std::unique_ptr<RunDisplay> json_display(TextSink out);

// The verdict for people: outcome, why, findings, recovery, residue with its commands, where the report is.
std::string verdict_text(const Summary& summary, const std::string& folder, bool colour);
std::string event_line(const EventWords& event, bool colour);  // "  10.0 s  text"

// What the verdict is told from: every event but the windows. For displays.
class Remembered {
 public:
  void add(const Json& event);
  void replace(const std::vector<Json>& events);
  Summary summary(const Json& verdict) const;

 private:
  std::vector<Json> events_;
};

}  // namespace capsize
