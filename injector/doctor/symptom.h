// What a doctor finds on a host: something that disturbs it, or is left of what did, whoever put it there, with the command that undoes it.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

enum class Gravity {  // worst first
  harm,      // disturbs now, and looks like a fault: nobody sets a host up like this
  suspect,   // disturbs now, but may be on purpose
  leftover,  // disturbs nothing any more
  held,      // a run of capsize that is in progress holds it, and will take it away itself
};
std::string_view to_string(Gravity severity);

struct Symptom {
  std::string kind;    // "qdisc.netem", "process.stopped"
  Gravity severity = Gravity::harm;
  std::string what;    // a sentence: "netem delays packets that leave eth0 (delay 100ms)"
  std::string where;   // "network namespace /run/netns/blue"; empty: nowhere in particular
  std::string from;    // whose it is, as far as it can be told; empty: unknown
  std::string undo;    // the command that undoes it, for a shell of root; empty: no single command does
  std::string advice;  // what to know before, or to do instead
  std::string impairment;  // of a network fault of capsize: the 12 digits that its table and its device have in common; else empty
  friend bool operator==(const Symptom&, const Symptom&) = default;
};

// What could not be looked at: a host is called clean only as far as it was seen.
struct Unseen {
  std::string what;    // "the packet rules of network namespace /run/netns/blue"
  std::string why;
  std::string remedy;
  friend bool operator==(const Unseen&, const Unseen&) = default;
};

struct Examination {
  std::vector<Symptom> findings;
  std::vector<Unseen> unseen;
  std::vector<std::string> looked_at;  // "3 network namespaces", "181 processes": what a clean bill covers

  bool clean() const { return findings.empty(); }
};
// A device of ours is idle only when nobody holds its table: those whose table is held are held too.
void mark_held(std::vector<Symptom>& findings);
void sort_by_severity(std::vector<Symptom>& findings);  // stable
Json to_json(const Symptom& finding);
Json to_json(const Examination& examination);

// One word for a shell, quoted when it has to be.
std::string shell_word(std::string_view text);

}  // namespace capsize
