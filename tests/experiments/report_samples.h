// Recorded runs as the reports meet them: made up, but with the figures of the outage as it was reproduced.
#pragma once
#include <string>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

struct Sample {
  Json playbook;
  std::vector<Json> events;
  Json verdict;
};

// 165 logins/s, 10 s of baseline, 12 s with 80 % of the traffic on auth1: success falls to 20 % after 2 to 3 s, stays at 67 % for
// 10 s after the undo, then 100 %.
Sample refuted_sample();
Sample held_sample();          // the same against servers with a maxconn
Sample escaped_sample();       // metastable, and then freed by a quarter of the load
Sample unrecovered_sample();   // clients retry: it never comes back
Sample invalid_sample();       // the weights were set, the traffic did not move
Sample aborted_sample();       // a guardrail stopped it
Sample residue_sample();       // somebody changed the weight meanwhile
Sample inconclusive_sample();  // the baseline was not steady: nothing injected
Sample without_faults_sample();
Sample alerts_sample();        // that one with an alert that fired, one without a rule and one that nobody answered for, and a probe left out
Sample suspects_sample();      // the refuted run with the database ruled out and auth1 named
// The refuted run as a game day, with `text` wherever a target, a playbook, an answer or a person in the room can put text of their own.
Sample hostile_sample(const std::string& text);

struct NamedSample {
  std::string name;
  Sample sample;
};
std::vector<NamedSample> all_samples();

}  // namespace capsize
