// Who is to blame: each probe marked "suspect" over the fault against the baseline. In an outage of logins the database is blamed first;
// here is what it did meanwhile. Pure, from the evidence alone.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "experiments/evidence.h"

namespace capsize {

enum class SuspectWord { ruled_out, moved, cannot_tell };
std::string_view to_string(SuspectWord word);  // "ruled out", "moved", "cannot tell"

// What counts as a move: so much more fails, or the median answer takes so much longer, by both of its bounds.
inline constexpr double kMovedFailures = 0.05;
inline constexpr double kMovedFactor = 1.5;
inline constexpr double kMovedSeconds = 0.005;
// Ruled out: at the far end of a joint 95 % interval less than this much more failed or came late (after kRuledOutFactor of the baseline's
// p90 and kRuledOutSeconds), and the median took at most this much longer.
inline constexpr double kRuledOutFailures = 0.2;
inline constexpr double kRuledOutFactor = 2;
inline constexpr double kRuledOutSeconds = 0.01;
inline constexpr double kSuspectLevel = 0.05;  // of the whole table, by Holm's correction over its two tests a line

struct SuspectLine {
  std::string suspect;  // "database"
  std::string probe;
  SuspectWord word = SuspectWord::cannot_tell;
  double p = 1;          // that no more failed and that it answered no later: the smaller of the two, each corrected for all tests of the table
  double p_failures = 1;
  double p_latency = 1;
  std::string because;  // what moved and by how much
  Json evidence = Json::object();
};

// In the order of the playbook's probes; empty without suspects or without a fault phase.
std::vector<SuspectLine> suspects(const Evidence& evidence);
Json to_json(const SuspectLine& line);

// P(so many failures or more after, if nothing changed): Fisher's exact test, one-sided.
double fisher_more(std::uint64_t failed_before, std::uint64_t before, std::uint64_t failed_after, std::uint64_t after);

struct Counted {
  double value = 0;
  double count = 0;
};
// P(so much larger after, if nothing changed): Mann and Whitney's rank test, one-sided, by the normal approximation with ties.
double rank_sum_larger(const std::vector<Counted>& before, const std::vector<Counted>& after);

// Holm's step-down correction: each of `p` for all of them.
std::vector<double> holm(const std::vector<double>& p);

}  // namespace capsize
