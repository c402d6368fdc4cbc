// The escape test: how far the login load has to fall before a metastable system lets logins in again. The runner lowers the load; what came of
// it is read from the evidence alone, and changes no verdict. Pure.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "experiments/evidence.h"

namespace capsize {

// Whether the test lowers it: a "login." probe that asks no suspect.
bool is_login_load(const ProbeUse& use);
// What the steady state says that a smaller load can meet: all but a least rate or count.
std::vector<Expectation> steady_at_any_load(const Playbook& playbook);

struct EscapeStep {
  double share = 0;                // of the load
  double load = 0;                 // logins per second, as they were due
  Stretch held;
  std::optional<bool> steady;      // whether the steady state came back; nothing: it cannot be told
  std::string because;
  std::optional<double> retry_amplification;  // attempts per login, where clients try again
};

struct Escape {
  std::optional<bool> escaped;     // nothing: not told, by any step that should have been
  std::optional<std::size_t> step; // at which it escaped
  double full_load = 0;            // logins per second in the baseline
  double seconds = 0;              // from the beginning of the test to the first moment of the steady state that lasted; not escaped: of the test
  std::string because;
  std::vector<EscapeStep> steps;
};

// Nothing without an escape test. `stopped`: why it ended early, empty where it did not.
std::optional<Escape> find_escape(const Evidence& evidence, const std::string& stopped = {});
Json to_json(const Escape& escape);

}  // namespace capsize
