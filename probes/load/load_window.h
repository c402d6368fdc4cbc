// What the load generator hands over every 250 ms: the fate of every login that was due in that quarter second, and how well the generator
// itself kept to its schedule. As JSON:
//
//   {"from", "to"                       seconds since the start of the run, by due time
//    "scheduled"                        logins due in the window; always the sum of "counts"
//    "counts": {answer: n}              every login in exactly one: the answers of probes/login/transport.h, and "not_sent":
//                                       the tester did not send it in time (see generator.h), or lacked something
//    "wrong_password": {answer: n}      those of "counts" that were sent with a wrong password
//    "attempts"?: {answer: n}           where clients retry: how each attempt of these logins ended; without it a login is one attempt
//    "latency": [[bucket, n]]           done - due of logins with the right password that ended ok, and of those that timed out (at their
//                                       timeout). Fast failures are not in it: they must not look like fast logins.
//    "latency_from_send": [[bucket, n]] done - the moment the tester handed the login over, of the same logins: what is more in "latency" is
//                                       the tester's lateness, in which coordinated omission hides
//    "send_late": [[bucket, n]]         actual send - due, of all; a login that was not sent counts as late by its whole timeout
//    "users": {"ok": [...], "failed": [...]}   users tried with the right password: with at least one success in the window, without one
//    "tester"?: {"cpu"?: share         of a core that the load's thread used, 0 to 1, while the window was open
//                "lacked"?: n           logins not sent for want of something of this machine: file descriptors, ports, memory
//                "waited"?: n}          logins that waited, as max_in_flight were under way; sent late, or not at all
//    "problem"?                         what the tester lacked, where a login was not sent for that}
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/json.h"
#include "probes/load/histogram.h"
#include "probes/login/transport.h"
#include "probes/measure.h"

namespace capsize {

inline constexpr std::size_t kBucketCount = kAnswerNames.size() + 1;
inline constexpr std::size_t kNotSent = kAnswerNames.size();  // the tester's own failure, never the system's
constexpr std::string_view bucket_name(std::size_t bucket) { return bucket == kNotSent ? "not_sent" : kAnswerNames[bucket]; }
using BucketCounts = std::array<std::uint64_t, kBucketCount>;
constexpr std::size_t bucket_of(Answer answer) { return static_cast<std::size_t>(answer); }

struct LoadWindow {
  double from = 0;
  double to = 0;
  std::uint64_t scheduled = 0;
  std::uint64_t ended = 0;
  BucketCounts counts{};
  BucketCounts wrong_password{};
  BucketCounts attempts{};  // all zero where clients do not retry
  LatencyHistogram latency;
  LatencyHistogram latency_from_send;
  LatencyHistogram send_late;
  std::map<std::uint64_t, bool> users;  // user: had a success
  std::optional<double> cpu;
  std::uint64_t lacked = 0;
  std::uint64_t waited = 0;
  std::string problem;
};

Json to_json(const LoadWindow& window);
// What two threads made of the same window, each of its own logins, is one.
void merge(LoadWindow& into, const LoadWindow& window);

// The measures of every probe that emits such windows; each probe offers those that make sense for it. Pure.
const std::vector<MeasureInfo>& load_measures();
std::vector<MeasureInfo> load_measures(const std::vector<std::string_view>& names);
std::optional<Measured> measure_load(std::string_view name, const std::vector<const Json*>& windows);

}  // namespace capsize
