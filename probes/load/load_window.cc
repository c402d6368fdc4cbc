#include "probes/load/load_window.h"

#include <algorithm>
#include <functional>

#include "injector/base/error.h"

namespace capsize {
namespace {

using Windows = std::vector<const Json*>;

Json counts_json(const std::array<std::uint64_t, kBucketCount>& counts) {
  Json out = Json::object();
  for (std::size_t bucket = 0; bucket < kBucketCount; ++bucket) {
    if (counts[bucket] > 0) out[std::string(bucket_name(bucket))] = counts[bucket];
  }
  return out;
}

std::uint64_t sum(const Windows& windows, const char* group, std::string_view answer) {
  std::uint64_t total = 0;
  for (const Json* window : windows) {
    const auto found = window->find(group);
    if (found != window->end()) total += found->value(std::string(answer), std::uint64_t{0});
  }
  return total;
}

std::uint64_t scheduled_in(const Windows& windows) {
  std::uint64_t total = 0;
  for (const Json* window : windows) total += window->value("scheduled", std::uint64_t{0});
  return total;
}

LatencyHistogram merged(const Windows& windows, const char* which) {
  LatencyHistogram out;
  for (const Json* window : windows) {
    const auto found = window->find(which);
    if (found != window->end()) out.merge(LatencyHistogram::from_json(*found));
  }
  return out;
}

Measured counted(MeasureKind kind, double value, std::uint64_t samples) {
  Measured out;
  out.kind = kind;
  out.value = out.low = out.high = value;
  out.samples = samples;
  return out;
}

std::uint64_t sent_rightly(const Windows& windows) {
  std::uint64_t sent = 0;
  for (const std::string_view answer : kAnswerNames) sent += sum(windows, "counts", answer) - sum(windows, "wrong_password", answer);
  return sent;
}

std::optional<Measured> success_ratio(const Windows& windows) {
  const std::uint64_t sent = sent_rightly(windows);
  if (sent == 0) return std::nullopt;
  return ratio(sum(windows, "counts", "ok"), sent);
}

// The schedule is fixed, so what is by chance in this rate is the share of it that succeeded.
std::optional<Measured> success_rate(const Windows& windows) {
  double span = 0;
  for (const Json* window : windows) span += window->value("to", 0.0) - window->value("from", 0.0);
  if (span <= 0) return std::nullopt;
  const std::uint64_t sent = sent_rightly(windows);
  const std::uint64_t ok = sum(windows, "counts", "ok");
  if (sent == 0) return std::nullopt;
  const double per_second = static_cast<double>(sent) / span;
  const Measured share = ratio(ok, sent);
  Measured out = counted(MeasureKind::rate, share.value * per_second, sent);
  out.low = share.low * per_second;
  out.high = share.high * per_second;
  out.interval = [share, per_second](double each_side) {
    const Interval of_share = share.interval(each_side);
    return Interval{of_share.low * per_second, of_share.high * per_second};
  };
  return out;
}

std::optional<Measured> users_affected(const Windows& windows) {
  std::map<std::uint64_t, bool> users;
  for (const Json* window : windows) {
    const auto found = window->find("users");
    if (found == window->end()) continue;
    for (const Json& id : found->at("ok")) users[id.get<std::uint64_t>()] = true;
    for (const Json& id : found->at("failed")) users.emplace(id.get<std::uint64_t>(), false);
  }
  if (users.empty()) return std::nullopt;
  const auto affected = std::count_if(users.begin(), users.end(), [](const auto& user) { return !user.second; });
  return ratio(static_cast<std::uint64_t>(affected), users.size());
}

std::optional<Measured> quantile_of(const Windows& windows, const char* which, double q) {
  const LatencyHistogram histogram = merged(windows, which);
  if (histogram.count() == 0) return std::nullopt;
  return q == 1 ? largest(histogram) : quantile(histogram, q);
}

// How many attempts were made, and for how many logins. A login without an attempt of its own on record was one attempt.
struct Attempts {
  std::uint64_t made = 0;
  std::uint64_t logins = 0;
};

Attempts attempts_in(const Windows& windows) {
  Attempts out;
  for (const Json* window : windows) {
    const Windows one = {window};
    const std::uint64_t sent = scheduled_in(one) - sum(one, "counts", "not_sent");
    out.logins += sent;
    const auto found = window->find("attempts");
    if (found == window->end()) out.made += sent;
    else for (const auto& [answer, count] : found->items()) out.made += count.get<std::uint64_t>();
  }
  return out;
}

std::optional<Measured> attempts(const Windows& windows) {
  if (scheduled_in(windows) == 0) return std::nullopt;
  const Attempts seen = attempts_in(windows);
  return counted(MeasureKind::count, static_cast<double>(seen.made), seen.logins);
}

std::optional<Measured> retry_amplification(const Windows& windows) {
  const Attempts seen = attempts_in(windows);
  if (seen.logins == 0) return std::nullopt;
  return counted(MeasureKind::number, static_cast<double>(seen.made) / static_cast<double>(seen.logins), seen.logins);
}

std::optional<Measured> count_of(const Windows& windows, std::string_view answer) {
  const std::uint64_t scheduled = scheduled_in(windows);
  if (scheduled == 0) return std::nullopt;
  return counted(MeasureKind::count, static_cast<double>(sum(windows, "counts", answer)), scheduled);
}

struct Line {
  MeasureInfo info;
  std::function<std::optional<Measured>(const Windows&)> measure;
};

Line counting(std::string name, std::string doc) {
  return {{name, MeasureKind::count, std::move(doc)}, [name](const Windows& windows) { return count_of(windows, name); }};
}

Line timed(std::string name, const char* which, double q, std::string doc) {
  return {{std::move(name), MeasureKind::duration, std::move(doc)}, [which, q](const Windows& windows) { return quantile_of(windows, which, q); }};
}

Line latency(std::string name, double q, std::string doc) { return timed(std::move(name), "latency", q, std::move(doc)); }

Line from_send(std::string name, double q, std::string doc) { return timed(std::move(name), "latency_from_send", q, std::move(doc)); }

const std::vector<Line>& lines() {
  static const std::vector<Line> table = {
      {{"success_ratio", MeasureKind::ratio, "logins that succeeded, of those sent with the right password"}, success_ratio},
      {{"rate", MeasureKind::rate, "successful logins per second"}, success_rate},
      latency("latency.p50", 0.5, "half of the logins took at most this long, from due time to done; timed-out ones count at their timeout"),
      latency("latency.p90", 0.9, "90 % of the logins took at most this long, from due time to done"),
      latency("latency.p99", 0.99, "99 % of the logins took at most this long, from due time to done"),
      latency("latency.p999", 0.999, "99.9 % of the logins took at most this long, from due time to done"),
      latency("latency.max", 1, "the longest login, from due time to done"),
      from_send("latency_from_send.p50", 0.5, "half of the logins took at most this long, from the moment they were sent: without the tester's own delay, for comparison"),
      from_send("latency_from_send.p90", 0.9, "90 % of the logins took at most this long, from the moment they were sent"),
      from_send("latency_from_send.p99", 0.99, "99 % of the logins took at most this long, from the moment they were sent"),
      from_send("latency_from_send.p999", 0.999, "99.9 % of the logins took at most this long, from the moment they were sent"),
      from_send("latency_from_send.max", 1, "the longest login, from the moment it was sent"),
      counting("denied", "logins with the right password that the service answered with a no: a status 4xx or 5xx, or what the protocol has for it"),
      counting("refused", "logins that got no connection"),
      counting("timed_out", "logins without a usable answer by their timeout"),
      counting("broken", "logins whose connection broke, whose answer made no sense or whose token did not work; and those that must be refused, where nobody answered whether they are"),
      counting("wrongly_accepted", "logins that must be refused (wrong password, unknown user, expired token) and got in: what they were given, or the expired token, works"),
      counting("rejected_rightly", "logins that must be refused and that the service answered with a no, or gave nothing that works; never one that it did not answer"),
      {{"attempts", MeasureKind::count, "attempts that the logins took, retries included"}, attempts},
      {{"retry_amplification", MeasureKind::number, "attempts per login: 1 where nobody tries again, 3 where everyone takes two retries"}, retry_amplification},
      counting("not_sent", "logins the tester itself could not send in time; never the system's failure"),
      {{"users_affected", MeasureKind::ratio, "distinct users without one successful login in the span, of those who tried"}, users_affected},
      timed("send_late.p99", "send_late", 0.99, "99 % of the logins were sent at most this long after they were due: the tester's own delay"),
  };
  return table;
}

}  // namespace

Json to_json(const LoadWindow& window) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : window.counts) total += count;
  CAPSIZE_CHECK(total == window.scheduled);
  Json ok = Json::array();
  Json failed = Json::array();
  for (const auto& [user, succeeded] : window.users) (succeeded ? ok : failed).push_back(user);
  Json out = {{"from", window.from}, {"to", window.to}, {"scheduled", window.scheduled}, {"counts", counts_json(window.counts)}};
  out["wrong_password"] = counts_json(window.wrong_password);
  Json attempts = counts_json(window.attempts);
  if (!attempts.empty()) out["attempts"] = std::move(attempts);
  out["latency"] = window.latency.to_json();
  out["latency_from_send"] = window.latency_from_send.to_json();
  out["send_late"] = window.send_late.to_json();
  out["users"] = {{"ok", std::move(ok)}, {"failed", std::move(failed)}};
  if (window.cpu) out["tester"]["cpu"] = *window.cpu;
  if (window.lacked > 0) out["tester"]["lacked"] = window.lacked;
  if (window.waited > 0) out["tester"]["waited"] = window.waited;
  if (!window.problem.empty()) out["problem"] = window.problem;
  return out;
}

const std::vector<MeasureInfo>& load_measures() {
  static const std::vector<MeasureInfo> infos = [] {
    std::vector<MeasureInfo> out;
    for (const Line& line : lines()) out.push_back(line.info);
    return out;
  }();
  return infos;
}

void merge(LoadWindow& into, const LoadWindow& window) {
  into.to = std::max(into.to, window.to);
  into.scheduled += window.scheduled;
  into.ended += window.ended;
  for (std::size_t bucket = 0; bucket < kBucketCount; ++bucket) {
    into.counts[bucket] += window.counts[bucket];
    into.wrong_password[bucket] += window.wrong_password[bucket];
    into.attempts[bucket] += window.attempts[bucket];
  }
  into.latency.merge(window.latency);
  into.latency_from_send.merge(window.latency_from_send);
  into.send_late.merge(window.send_late);
  for (const auto& [user, had_success] : window.users) {
    bool& known = into.users[user];
    known = known || had_success;
  }
  if (window.cpu) into.cpu = std::max(into.cpu.value_or(0), *window.cpu);  // the busiest thread is the one that may be late
  into.lacked += window.lacked;
  into.waited += window.waited;
  if (into.problem.empty()) into.problem = window.problem;
}

std::vector<MeasureInfo> load_measures(const std::vector<std::string_view>& names) {
  std::vector<MeasureInfo> out;
  for (const MeasureInfo& info : load_measures()) {
    if (std::find(names.begin(), names.end(), info.name) != names.end()) out.push_back(info);
  }
  CAPSIZE_CHECK(out.size() == names.size());
  return out;
}

std::optional<Measured> measure_load(std::string_view name, const Windows& windows) {
  for (const Line& line : lines()) {
    if (line.info.name == name) return line.measure(windows);
  }
  return std::nullopt;
}

}  // namespace capsize
