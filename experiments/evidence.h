// Reads a timeline as evidence: the spans of a run and any measure over any stretch of it. Pure; the runner and the verdict share it, so
// that what stops a run, what ends its recovery and what judges it are the same numbers.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/playbook.h"
#include "probes/measure.h"
#include "probes/probe.h"

namespace capsize {

struct Stretch {  // seconds since the start of the run
  double from = 0;
  double to = 0;
};

enum class Holds { yes, no, unknown };
std::string_view to_string(Holds holds);

// One expectation held against one stretch.
struct Finding {
  std::string expectation;  // "login.success_ratio at least 95% during fault"
  Holds holds = Holds::unknown;
  std::string because;      // a sentence with the numbers
  Json evidence = Json::object();
};
Json to_json(const Finding& finding);

class Evidence {
 public:
  explicit Evidence(const Playbook& playbook) : playbook_(playbook) {}

  void add(const Json& event);  // events in the order of the timeline

  // Where the run has been; nothing for a span not (yet) begun. An unfinished span ends at the last event.
  std::optional<Stretch> span(Span span) const;
  // Of an expectation: its phase, or while its fault was in place.
  std::optional<Stretch> span(const Expectation& expectation) const;
  std::optional<double> undone_at() const { return undone_at_; }  // when every fault was verified gone
  // When this fault (by its index), or without one the first of all, was in place; and when this one's undo was done, or all's verified.
  std::optional<double> injected_at(std::optional<std::size_t> fault) const;
  std::optional<double> undone_at(std::optional<std::size_t> fault) const;
  double last() const { return last_; }
  bool untold() const { return sealed_ && !opened_; }  // what was injected is not in it: sealed, and (so far) never told

  // The escape test, which begins when all that the verdict rests on has been seen: the spans above end with the recovery, and windows()
  // of a probe are those of the run without it. measure(), hold() and the like still take any stretch.
  struct LoadStep {
    double share = 1;  // of the load
    double at = 0;
  };
  std::optional<double> escape_began() const { return escape_began_; }
  const std::vector<LoadStep>& load_steps() const { return load_steps_; }

  // Up to where every probe that recovery is judged by (of a steady state's expectation, or with a backlog) has handed over complete windows.
  double complete_until() const;
  double complete_until(const std::string& probe) const;  // up to where this one has

  std::optional<Measured> measure(const std::string& probe, std::string_view measure, Stretch stretch) const;

  // `strict`: the whole confidence interval has to be on the right side, and there must be kFewestToClaim samples (hypotheses); else the
  // estimate alone decides (gates).
  Finding hold(const Expectation& expectation, Stretch stretch, bool strict) const;

  // Whether `expectation` is clearly missed over `stretch`: the interval lies wholly on the wrong side. False when it cannot be told.
  bool clearly_missed(const Expectation& expectation, Stretch stretch) const;

  const std::vector<const Window*>& windows(const std::string& probe) const;  // but those of the escape test
  std::vector<const Window*> windows(const std::string& probe, Stretch stretch) const;  // a window belongs where its middle is
  const Playbook& playbook() const { return playbook_; }

 private:
  const std::vector<const Window*>& all_windows(const std::string& probe) const;
  std::string why_unknown(const Expectation& expectation, Stretch stretch) const;
  struct Limit {
    double value = 0;
    Interval interval{0, 0};  // of a multiple of the baseline, which was measured too; else both ends are the value
    bool measured = false;
  };
  std::optional<Limit> limit(const Bound& bound, const Expectation& expectation) const;
  static Holds judge_bound(Comparison comparison, const Limit& limit, const Measured& measured, bool strict);

  const Playbook& playbook_;
  std::map<std::string, std::vector<std::unique_ptr<Window>>> owned_;
  std::map<std::string, std::vector<const Window*>> windows_;
  std::map<std::string, std::vector<const Window*>> before_escape_;  // of these; unused without an escape test
  std::map<std::string, double> phases_;  // name -> when it began
  std::map<std::size_t, Stretch> in_place_;  // by fault: from the end of its injection to the beginning of its undo
  std::optional<double> undone_at_;
  bool sealed_ = false;
  bool opened_ = false;
  std::optional<double> escape_began_;
  double watched_until_ = 0;  // up to where the recovery was judged, where an escape test followed
  std::vector<LoadStep> load_steps_;
  double last_ = 0;
};

// Nothing is claimed from fewer samples than this, however well they look: what an interval rests on is too thin.
inline constexpr std::uint64_t kFewestToClaim = 30;

std::string show_value(MeasureKind kind, double value);  // "95.2 %", "210 ms", "164.8/s", "3"
std::string describe(const Expectation& expectation);    // "login.success_ratio at least 95% during fault"
MeasureKind kind_of(const Playbook& playbook, const Expectation& expectation);

}  // namespace capsize
