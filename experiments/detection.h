// How long the people's alerts took to notice the fault, and to notice its end. Pure: reads what the probe alert.fired recorded. That nobody
// answered is never good news: what was not seen is not known, and a rule that is not there was not silent. Nor is it bad news where nobody looked
// often enough: an alert that fired in time may have been gone again by the next look.
#pragma once
#include <optional>
#include <string>

#include "experiments/evidence.h"

namespace capsize {

struct AlertTime {
  std::optional<double> moment;   // of the fault, or of its undo: seconds since the start of the run
  std::optional<double> seconds;  // from then until a look saw it firing, or gone for good
  double not_before = 0;          // so long after the moment looks had seen that it was not so yet, without a gap in which it may have been
  double watched = 0;             // so long after the moment somebody looked
  bool always = false;            // it fired in the baseline: it detects nothing
  std::optional<bool> silent_before;  // of time_to_detect
  std::string doubt;              // why `seconds`, or that there is none, is not known; empty: no doubt
  std::string gap;                // why some look before it had no answer; empty: all had
  double unseen = 0;              // of time_to_detect: the first stretch after the moment that is too long to go without a look; 0: none
  std::string seen;               // what it was instead, as "there is no alert rule of this name"; may be empty
};

// `fault`: since this one (its undo); else since the first (the verified undo of all). `in_time`: seconds that it may take, where that is said.
AlertTime time_to_detect(const Evidence& evidence, const std::string& probe, std::optional<std::size_t> fault = {}, std::optional<double> in_time = {});
AlertTime time_to_clear(const Evidence& evidence, const std::string& probe, std::optional<std::size_t> fault = {});

// An expectation whose measure is a time since the fault or its end. Without faults it holds where the alert was silent all the time.
Finding hold_since(const Evidence& evidence, const Expectation& expectation, bool without_faults);

// Whether it is worth watching on: an expectation is open whose time is not over.
bool still_open(const Evidence& evidence);

// A line for each probe of an alert: {"probe","alert","server","silent_before","detected","time_to_detect","time_to_clear","because"}.
Json alerts_json(const Evidence& evidence);

}  // namespace capsize
