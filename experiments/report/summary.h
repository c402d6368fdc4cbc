// A run told in plain words, once, for every kind of report: what was done, what failed and by how much, how long the recovery took,
// whether everything was undone. Nothing in it is escaped: that is the writer's work.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "experiments/report/series.h"
#include "injector/base/json.h"

namespace capsize {

inline constexpr std::size_t kMaxFaults = 1000;  // of one run that a report tells apart

struct Phase {
  std::string name;  // "baseline", "fault", "revert", "recovering", "recovered", "not recovered", "after", "escape"
  double from = 0;
  double to = 0;
};

struct FindingWords {
  std::string holds;        // "yes", "no", "unknown"
  std::string expectation;  // as the playbook has it: "login.success_ratio at least 95% during fault"
  std::string sentence;     // "login success ratio was 25.6 % during the fault; at least 95 % was expected"
  std::string measure;      // "login success ratio"
  std::string during;       // "during the fault"
  std::string value, limit, interval, samples;  // empty where there is none; limit: "at least 95 %"
  std::string because;      // the judge's own sentence
  bool recovery = false;    // of recovery_time: told by Summary::recovery, too
};

struct FaultWords {
  std::string fault, target, summary;
  std::string when;         // "for 12 s, starting 4 s into the fault phase"; or that it never came into place
  std::string bites;        // "yes", "no", "unknown"
  std::string intended, measured, because;
  std::string undo;         // "undone", "nothing_to_undo", "refused", "failed", "unknown": the record ends before it
  std::string undo_because;
  std::vector<std::string> allowed;
  std::string reason;
};

struct SuspectWords {
  std::string suspect, probe;
  std::string word;     // "ruled out", "moved", "cannot tell"
  std::string tone;     // "bad" for what moved, "good" for what is ruled out, "unsure"
  std::string because;  // what moved and by how much
};

struct AlertWords {
  std::string alert, probe;
  std::string word;     // "detected", "not detected", "cannot tell"
  std::string tone;     // "good", "bad", "unsure"
  std::string because;  // when it fired and when it was gone
};

struct ResidueWords {
  std::string what;     // "balancer.skew, step f0.s0: refused"
  std::string because;
  std::string remedy;   // the command, or what a person does now
};

// What a game day came to (game_words.cc).
struct ScoreWords {
  std::string what;     // "time to detect"
  std::string value;    // "4.2 s", or "never"
  std::string because;
  bool known = false;
};
struct GameWords {
  std::string cause;    // "favourite: one balancer setting ..."; empty: not sealed, or not told
  std::string commitment, opening;
  bool matches = false;
  bool untold = false;  // sealed, and the record ends before it was told
  bool began = false;   // something to be found out was in place
  std::vector<ScoreWords> score;
  struct Hypothesis {
    std::string when, text, judged;  // "4.2 s", "the database", "right"
  };
  std::vector<Hypothesis> hypotheses;
  bool any() const { return !score.empty() || !commitment.empty(); }
};

struct KeyNumber {
  std::string label, value, note;
  std::string tone;  // "good", "bad", "unsure", ""
};

struct EventWords {
  double t = 0;
  std::string kind;  // "fault", "undo", "stop", "notice", "phase"
  std::string text;
};

struct Summary {
  std::string run, title, description, outcome, because, started, version, seed;
  int exit_code = 70;
  double seconds = 0;  // length of the run
  std::vector<std::string> done;      // sentences: what was done
  std::vector<FindingWords> findings; // of the hypothesis: missed first, then unknown, then held
  std::vector<FindingWords> gate;     // of the steady state over the baseline
  std::vector<FaultWords> faults;
  std::vector<SuspectWords> suspects;  // what moved first, then what cannot be told, then what is ruled out
  std::vector<AlertWords> alerts;
  std::optional<bool> recovered;
  std::optional<double> recovery_seconds;
  std::string recovery;               // a sentence
  std::string rebalance;              // a sentence about the balancer's shares after the undo; may be empty
  std::string retries;                // a sentence about clients that try again; may be empty
  std::string escape;                 // a sentence about the escape test; may be empty
  bool recovery_missed = false;       // it came back later than expected, or not at all
  std::string undo;                   // a sentence; `residue` says what to do
  bool all_undone = true;             // as far as is known
  bool undo_known = true;             // false: the record ends before everything was undone
  std::vector<ResidueWords> residue;
  std::vector<Phase> phases;
  std::vector<KeyNumber> key_numbers;
  std::vector<EventWords> events;
  GameWords game;
  std::vector<std::pair<std::string, std::string>> generator;  // "login: attempts due" -> "10 230"
};

// `playbook` and `events` may be empty: then it is told with what the verdict alone knows.
Summary summarize(const Json& playbook, const std::vector<Json>& events, const Json& verdict);

std::vector<Phase> phases_of(const std::vector<Json>& events, std::optional<double> recovery_seconds);
FindingWords finding_words(const Json& finding);
GameWords game_words(const Json& verdict);
// Whether something was, or may have been, injected that the record does not tell: it was sealed.
bool never_told(const Json& verdict);
// Parts of summarize(): the numbers of the first screen (numbers.cc).
void add_key_numbers(Summary& out, const std::vector<ProbeWindows>& probes, const Json& verdict);
void add_generator(Summary& out, const Json& playbook, const std::vector<ProbeWindows>& probes, const std::vector<Json>& events);

// Tells a timeline as lines for people, event by event, in order; says nothing of those that are not worth a line (windows, an effect
// measured again with the same answer).
class Teller {
 public:
  std::optional<EventWords> tell(const Json& event);

  // What is in place now, as its plan describes it.
  std::vector<std::string> in_place() const;

 private:
  struct Told {
    std::string name, summary;
    std::optional<bool> bites;
    bool injected = false;
  };
  Told& fault(const Json& event);
  std::string name(const Json& event);

  Json playbook_;
  std::vector<Told> faults_;
};

}  // namespace capsize
