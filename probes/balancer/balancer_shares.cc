// The probe balancer.shares: who gets the traffic. Asks HAProxy for its servers' counters and hands over what they grew by.
#include <algorithm>
#include <map>
#include <set>

#include "injector/base/error.h"
#include "probes/load/wake.h"
#include "probes/probes.h"

namespace capsize {
namespace {

using Windows = std::vector<const Window*>;

struct SharesParams {
  Duration every = std::chrono::milliseconds(500);
};

const Spec<SharesParams>& shares_spec() {
  static const auto spec = Spec<SharesParams>().optional("every", &SharesParams::every, "how often HAProxy is asked", more_than_zero());
  return spec;
}

// A counter; zero where it is missing or makes no sense.
std::uint64_t number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return 0;
  return static_cast<std::uint64_t>(std::max<std::int64_t>(found->get<std::int64_t>(), 0));
}

std::uint64_t errors_of(const Json& server) { return number(server, "connect_errors") + number(server, "response_errors"); }

// Counters begin again at zero when HAProxy is reloaded, when they are cleared, and for a server that is new.
std::uint64_t grown(std::uint64_t before, std::uint64_t now) { return now >= before ? now - before : now; }

std::map<std::string, Json> by_name(const Json& answer) {
  std::map<std::string, Json> out;
  for (const Json& server : answer.at("servers")) out.emplace(server.at("name").get<std::string>(), server);
  return out;
}

Json growth(const Json& before, const Json& now) {
  const bool restarted = before.value("process", Json()) != now.value("process", Json());
  const auto earlier = restarted ? std::map<std::string, Json>() : by_name(before);
  Json out = Json::object();
  for (const auto& [name, server] : by_name(now)) {
    const auto found = earlier.find(name);
    const Json base = found == earlier.end() ? Json::object() : found->second;
    out[name] = {{"sessions", grown(number(base, "total_sessions"), number(server, "total_sessions"))},
                 {"errors", grown(errors_of(base), errors_of(server))},
                 {"queue", number(server, "queued")},
                 {"current", number(server, "current_sessions")},
                 {"weight", number(server, "weight")},
                 {"status", server.value("status", Json())}};
  }
  return out;
}

class SharesProbe final : public Probe {
 public:
  SharesProbe(ProbeContext context, SharesParams params) : context_(std::move(context)), params_(params) {}

  Task<> run() override {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    const auto executor = co_await asio::this_coro::executor;
    stopped_.emplace(executor);
    co_await look();
    TimePoint next = context_.clock->now();
    while (!stopping_) {
      next = std::max(next + params_.every, context_.clock->now());  // a slow answer is not made up for by asking faster
      co_await stopped_->wait_until(*context_.clock, next);
      co_await look();
    }
  }

  void stop() override {
    stopping_ = true;
    if (stopped_) stopped_->notify();
  }

 private:
  // Asks once and hands over what changed since the last answer. No answer is a fact to record, not the end of the probe.
  Task<> look() {
    const TimePoint from = looked_;
    Json answer;
    std::string gap;
    try {
      const Op query = {"haproxy.servers", context_.target};
      answer = co_await context_.host->inspect(query);
    } catch (const Error& error) {
      gap = error.what();
    }
    looked_ = context_.clock->now();
    if (from != TimePoint() && looked_ > from) {
      Json window = {{"from", seconds(from - context_.start)}, {"to", seconds(looked_ - context_.start)}};
      if (gap.empty() && !last_.is_null()) {
        window["servers"] = growth(last_, answer);
        window["queue"] = number(answer, "queued");
        if (last_.value("process", Json()) != answer.value("process", Json())) window["restarted"] = true;
      } else {
        window["gap"] = gap.empty() ? "the first answer after a gap: nothing to compare it with" : gap;
      }
      context_.emit(std::move(window));
    }
    last_ = gap.empty() ? std::move(answer) : Json();
  }

  ProbeContext context_;
  SharesParams params_;
  std::optional<Wake> stopped_;
  bool stopping_ = false;
  TimePoint looked_;
  Json last_;  // null: no answer to compare with
};

struct Totals {
  std::map<std::string, std::uint64_t> sessions;
  std::map<std::string, std::uint64_t> most_current;
  std::uint64_t all = 0;
  std::uint64_t errors = 0;
  std::uint64_t queue = 0;
  std::uint64_t backlog = 0;
};

Totals totals(const Windows& windows) {
  Totals out;
  for (const Window* window : windows) {
    const auto servers = window->find("servers");
    if (servers == window->end()) continue;
    std::uint64_t waiting = number(*window, "queue");
    std::uint64_t under_way = 0;
    for (const auto& [name, server] : servers->items()) {
      out.sessions[name] += number(server, "sessions");
      out.all += number(server, "sessions");
      out.errors += number(server, "errors");
      waiting += number(server, "queue");
      std::uint64_t& most = out.most_current[name];
      most = std::max(most, number(server, "current"));
      under_way += number(server, "current");
    }
    out.queue = std::max(out.queue, waiting);
    out.backlog = std::max(out.backlog, waiting + under_way);
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

double jain(const Totals& sums) {
  double squares = 0;
  for (const auto& [name, count] : sums.sessions) squares += static_cast<double>(count) * static_cast<double>(count);
  return static_cast<double>(sums.all) * static_cast<double>(sums.all) / (static_cast<double>(sums.sessions.size()) * squares);
}

std::optional<Measured> measure(std::string_view name, const Windows& windows) {
  constexpr std::string_view kShare = "share.";
  constexpr std::string_view kCurrent = "current.";
  const Totals sums = totals(windows);
  if (sums.sessions.empty()) return std::nullopt;
  if (name == "errors") return counted(MeasureKind::count, static_cast<double>(sums.errors), sums.all);
  if (name == "queue") return counted(MeasureKind::number, static_cast<double>(sums.queue), windows.size());
  if (name == "backlog") return counted(MeasureKind::number, static_cast<double>(sums.backlog), windows.size());
  if (name.starts_with(kCurrent)) {
    const auto found = sums.most_current.find(std::string(name.substr(kCurrent.size())));
    if (found == sums.most_current.end()) return std::nullopt;
    return counted(MeasureKind::number, static_cast<double>(found->second), windows.size());
  }
  if (sums.all == 0) return std::nullopt;  // no traffic: nobody has a share of it
  if (name == "jain") return counted(MeasureKind::number, jain(sums), sums.all);
  if (name == "max_share") {
    const auto most = std::max_element(sums.sessions.begin(), sums.sessions.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return ratio(most->second, sums.all);
  }
  if (!name.starts_with(kShare)) return std::nullopt;
  const auto found = sums.sessions.find(std::string(name.substr(kShare.size())));
  if (found == sums.sessions.end()) return std::nullopt;
  return ratio(found->second, sums.all);
}

const std::vector<MeasureInfo>& measures() {
  static const std::vector<MeasureInfo> infos = {
      {"share.<server>", MeasureKind::ratio, "sessions that went to this server, of all of the backend's"},
      {"max_share", MeasureKind::ratio, "the share of the server that got most"},
      {"jain", MeasureKind::number, "Jain's fairness index of the servers' sessions: 1 when all got the same, 1/n when one of n got everything"},
      {"queue", MeasureKind::number, "the most requests that waited at any look, in the backend's queue and its servers' together"},
      {"current.<server>", MeasureKind::number, "the most sessions this server had under way at any look"},
      {"backlog", MeasureKind::number, "the most sessions under way and requests waiting at any look: back to its baseline is a part of recovered"},
      {"errors", MeasureKind::count, "failed connections and broken or missing answers, of all servers"},
  };
  return infos;
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const SharesParams params = shares_spec().parse_or_throw(context.params);
  CAPSIZE_CHECK(context.host != nullptr);
  return std::make_unique<SharesProbe>(std::move(context), params);
}

}  // namespace

const ProbeType& balancer_shares() {
  static const ProbeType type = {
      .name = "balancer.shares",
      .doc = "Watches which server of a backend gets the traffic, from HAProxy's own counters",
      .target_type = "haproxy",
      .spec = []() -> const AnySpec& { return shares_spec(); },
      .example = {{"probe", "balancer.shares"}, {"target", "balancer"}},
      .measures = measures,
      .make = make,
      .measure = measure,
  };
  return type;
}

}  // namespace capsize
