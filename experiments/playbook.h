// A playbook: what to watch, what to tip over, what is expected, and when to stop. Read once; everything wrong is said at once.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "experiments/catalogs.h"
#include "injector/base/clock.h"
#include "injector/base/diagnostics.h"
#include "injector/base/json.h"
#include "injector/base/param_types.h"

namespace capsize {

enum class Comparison { at_least, at_most, below, above };
enum class Span { baseline, fault, recovery, run };
std::string_view to_string(Comparison comparison);
std::string_view to_string(Span span);

struct Bound {
  Comparison comparison = Comparison::at_least;
  double value = 0;                  // ratio 0 to 1, duration in seconds, rate per second, count or number; or the factor of the baseline
  bool relative_to_baseline = false;  // "2x baseline"
  std::string written;               // as in the playbook: "95%", "2x baseline"
};

struct Expectation {
  std::string probe;    // empty for measures of the run ("recovery_time")
  std::string measure;  // "success_ratio"
  MeasureOf of = MeasureOf::span;  // else it is a time since the fault, or its undo: see detection.h
  Span during = Span::fault;
  std::optional<std::size_t> during_fault;  // index in Playbook::faults: only while this one was in place
  std::string during_name;    // as the playbook calls that fault
  std::vector<Bound> bounds;  // all must hold
  std::string name() const;   // "login.success_ratio", "recovery_time"
  std::string over() const;   // "fault", "run", "fault slow-link"
};

struct Guardrail {
  Expectation breach;   // the bounds say when it is breached
  Duration lasting{};   // for this long without a break
};

struct PlannedFault {
  std::string fault;    // name in the table
  std::string name;     // that the playbook gives it, for "during"; may be empty
  std::string target;   // name in the playbook
  Duration at{};        // from the start of the fault phase
  Duration lasting{};   // "for"
  std::set<std::string> allow;
  std::string reason;   // why `allow` is allowed
  Json params = Json::object();
};

// What a step's answers are scored as.
enum class Scores { detected, hypothesis, mitigation };
std::string_view to_string(Scores scores);

// Something said to the people in the room, or asked of them. It runs beside the phases and never holds one up.
struct RoomStep {
  std::string ask;      // the question; empty: a note
  std::string note;
  std::string name;     // of a question: answers are for it by this name
  Span during = Span::fault;
  Duration at{};        // from the start of that phase
  Duration within{};    // how long answers are taken
  std::optional<Scores> scores;  // such a question takes every answer until its time is over; any other is closed by the first
};

// One of the causes that a sealed run chooses from.
struct SealedCause {
  std::string name;
  std::string cause;    // for the postmortem: what is wrong, in a sentence
  std::vector<std::string> known_by;  // phrases: an answer that holds all words of one names this cause
  std::vector<PlannedFault> faults;
};

struct TargetUse {
  std::string type;
  std::string host;     // empty: this machine
  Json params = Json::object();
};

struct ProbeUse {
  std::string probe;    // name in the table
  std::string suspect;  // what it asks, where that may be blamed for what the logins suffer: "database"; empty: no suspect
  std::string target;   // empty: none
  Json params = Json::object();
};

struct Timing {
  Duration baseline = std::chrono::seconds(10);
  Duration recovery = std::chrono::seconds(40);
  Duration settle = std::chrono::seconds(10);
};

// After a recovery that ends metastable: the login load is lowered step by step until the steady state is met again.
struct EscapeTest {
  std::vector<Share> steps;  // of the load, falling
  Duration hold{};           // how long each is held, at most
};

struct Playbook {
  std::string title;
  std::string description;
  std::vector<std::string> tags;
  std::map<std::string, std::vector<std::string>> hosts;  // name -> the command whose stdin and stdout reach an agent
  std::map<std::string, TargetUse> targets;
  std::map<std::string, ProbeUse> probes;
  Timing timing;
  std::optional<EscapeTest> escape;
  std::vector<Expectation> steady_state;
  std::vector<PlannedFault> faults;
  std::vector<RoomStep> steps;
  std::vector<SealedCause> sealed;
  std::optional<std::size_t> opened;  // index in `sealed`: its faults are the last of `faults` (game/sealed.h); nothing: none was chosen
  std::vector<Expectation> hypothesis;
  std::vector<Guardrail> abort_when;
  Json as_run;                        // variables filled in, secrets replaced by ***
  std::map<std::string, std::size_t> left_out;  // probes whose "only_if" is empty, and how many expectations and guardrails went with them
  std::vector<std::string> secrets;   // their values: never shown

  // Until the last fault ends, whichever of the sealed causes is chosen, so that its length tells nothing; zero without faults.
  Duration fault_phase() const;
  Duration escape_time() const;       // of all its steps; zero without the test
  bool asks() const;                  // anything of the people in the room
  std::string redact(std::string text) const;  // every secret's value replaced by ***
};

struct PlaybookOptions {
  std::map<std::string, Json> set;    // --set name=value: the playbook must know the name; a text becomes the type of the variable
  std::map<std::string, Json> offer;  // for variables of these names that `set` leaves alone; others are ignored (what a lab knows)
  std::function<std::optional<std::string>(const std::string& name)> environment;  // for ${env:NAME}; empty: nothing is set
  std::function<std::optional<std::string>(const std::string& name)> secret;       // for ${secret:NAME}; empty: `environment`
  Catalogs catalogs;
};

inline constexpr std::size_t kMaxDiagnostics = 100;  // shown of one playbook

struct PlaybookResult {
  std::optional<Playbook> playbook;   // when there are no errors
  Diagnostics diagnostics;            // located, in the order of the file; no secret in them
};

// Pure.
PlaybookResult read_playbook(const std::string& text, const PlaybookOptions& options);
// Throws Error when the file cannot be read.
PlaybookResult read_playbook_file(const std::filesystem::path& file, const PlaybookOptions& options);

// For PlaybookOptions::environment: of this process.
std::optional<std::string> from_environment(const std::string& name);

}  // namespace capsize
