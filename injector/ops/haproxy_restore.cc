// Restoring servers: wait until the dead writer's commands are executed, compare, restore, read back, look again, prove by traffic.
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "injector/ops/haproxy_change.h"

namespace capsize {
namespace {

// Measured on 2.6 with a stalled HAProxy: a command of a closed connection was executed at most 7.4 ms after three looks in a row
// had shown no other connection (1,200 stalls, 1 to 8 threads; always before, with one thread).
constexpr int kClearLooks = 3;
constexpr Duration kBarrierLimit = std::chrono::seconds(1);          // an operator's open prompt must not hold the undo up
constexpr Duration kSettle = std::chrono::milliseconds(150);         // looked at again after the last restore
constexpr Duration kSettleUnclear = std::chrono::seconds(3);         // the same, when other connections stayed
constexpr Duration kTrafficLimit = std::chrono::seconds(1);  // waited for a proof by traffic, and once more after a cure
constexpr Duration kLookEvery = std::chrono::milliseconds(50);
constexpr Duration kPatience = std::chrono::seconds(6);  // with an HAProxy that does not answer
constexpr Duration kGoneAfter = std::chrono::seconds(2); // nobody listens and the process is no more
constexpr int kMaxRestores = 20;                         // rounds; more is a fight with someone

std::string list_of(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

class Restorer {
 public:
  Restorer(const ServerProperty& property, HaproxyPlace place, std::vector<ServerChange> changes, Clock& clock)
      : property_(property), place_(std::move(place)), changes_(std::move(changes)), clock_(clock), client_(clock, place_.socket) {}

  // May be called again after it threw: what was restored before is remembered.
  Task<UndoResult> run() {
    co_await wait_for_writers();
    BackendState state = co_await client_.backend(place_.backend);
    BackendState first = state;
    const Duration settle = others_ > 0 ? kSettleUnclear : kSettle;
    TimePoint settled = clock_.now() + settle;
    TimePoint proved_by = clock_.now() + kTrafficLimit;
    while (true) {
      comparison_ = compare_servers(property_, state, changes_);
      if (!comparison_.to_restore.empty() && restores_ < kMaxRestores) {
        first = co_await restore(state);
        state = first;
        settled = clock_.now() + settle;
        proved_by = clock_.now() + kTrafficLimit;
        continue;
      }
      proof_ = prove_by_traffic(first, state);
      const bool waiting = !restored_.empty() && proof_.state != TrafficProof::State::proved && clock_.now() < proved_by;
      if (proof_.state == TrafficProof::State::starved && cured_.empty() && !restored_.empty()) {
        first = co_await cure(state);
        state = first;
        proved_by = clock_.now() + kTrafficLimit;
        continue;
      }
      if (clock_.now() >= settled && !waiting) break;
      co_await clock_.sleep(kLookEvery);
      state = co_await client_.backend(place_.backend);
    }
    co_return result(state);
  }

  UndoResult unreachable(const Error& trouble) const {
    UndoResult out;
    out.state = UndoState::failed;
    out.because = "cannot tell what HAProxy's servers are set to: " + trouble.fact();
    out.remedy = "when it answers again, run `capsize revert`, or by hand on " + place_.socket + ": " + commands_by_hand();
    return out;
  }

  // The process that held the values is no more, so they are not either.
  bool process_is_gone() const { return place_.socket.starts_with('/') && ::kill(static_cast<pid_t>(place_.process.pid), 0) != 0 && errno == ESRCH; }
  UndoResult gone() const {
    UndoResult out;
    out.state = restored_.empty() ? UndoState::nothing_to_undo : UndoState::undone;
    out.because = fmt::format("HAProxy (pid {}) ended and nobody listens at {}: what was set at runtime went with it", place_.process.pid, place_.socket);
    return out;
  }

 private:
  // The barrier: a command written by a process that has died may still wait to be executed. Its connection is then still listed.
  Task<> wait_for_writers() {
    const TimePoint limit = clock_.now() + kBarrierLimit;
    int clear = 0;
    while (clear < kClearLooks) {
      others_ = co_await client_.other_cli_sessions();
      clear = others_ == 0 ? clear + 1 : 0;
      if (others_ == 0) continue;
      if (clock_.now() >= limit) co_return;
      co_await clock_.sleep(std::chrono::milliseconds(10));
    }
  }

  Task<BackendState> restore(const BackendState state) {
    ++restores_;
    std::vector<std::string> commands = change_commands(property_, state, comparison_.to_restore);
    for (const ServerValue& one : comparison_.to_restore) restored_[one.server] = true;
    co_await client_.change(std::move(commands));
    BackendState now = co_await client_.backend(place_.backend);
    co_return now;
  }

  // Every server of the backend: an exiled one waits for the others to end their cycle.
  Task<BackendState> cure(const BackendState state) {
    cured_ = proof_.starved;
    std::vector<std::string> names;
    for (const ServerState& server : state.servers) names.push_back(server.name);
    std::vector<std::string> commands = requeue_commands(state, names);
    co_await client_.change(std::move(commands));
    BackendState now = co_await client_.backend(place_.backend);
    co_return now;
  }

  std::string commands_by_hand() const {
    std::string out;
    for (const ServerChange& change : changes_) out += (out.empty() ? "" : "; ") + property_.command(place_.backend, change.server, change.before);
    return out;
  }

  std::string traffic_in_words() const {
    const bool starved = proof_.state == TrafficProof::State::starved;
    if (restored_.empty()) return "not looked at: nothing was restored";
    if (starved) return "starved: no sessions for " + list_of(proof_.starved);
    if (!cured_.empty()) return "cured: no sessions for " + list_of(cured_) + " until requeued" + (proof_.state == TrafficProof::State::proved ? "" : "; then too little traffic to tell");
    return proof_.state == TrafficProof::State::proved ? "verified" : "no traffic to verify by";
  }

  Json detail(const BackendState& state, bool same_process) const {
    Json servers = Json::object();
    for (const ServerChange& change : changes_) {
      const ServerState* server = state.find(change.server);
      servers[change.server] = {{"expect", change.mine},
                                {"restore", change.before},
                                {"now", server == nullptr ? Json(nullptr) : property_.read(*server)},
                                {"restored", restored_.contains(change.server)}};
    }
    const std::string barrier = others_ == 0 ? "clear" : fmt::format("{} other connections to the runtime API stayed open", others_);
    return {{"process", to_json(state.process)}, {"same_process", same_process}, {"servers", std::move(servers)},
            {"barrier", barrier},                {"traffic", traffic_in_words()}, {"sessions", proof_.sessions}};
  }

  std::string foreign_in_words() const {
    std::string out;
    for (const ServerValue& one : comparison_.foreign) {
      const auto mine = std::find_if(changes_.begin(), changes_.end(), [&](const ServerChange& change) { return change.server == one.server; });
      out += fmt::format("{}{}/{} has {} {}, neither {} as injected nor {} as before", out.empty() ? "" : "; ", place_.backend, one.server, property_.noun, one.value.dump(),
                         mine->mine.dump(), mine->before.dump());
    }
    return out;
  }

  UndoResult result(const BackendState& state) const {
    const bool same_process = state.process.same_as(place_.process);
    std::vector<std::string> names;
    for (const auto& [name, ignored] : restored_) names.push_back(name);
    const std::string restored = names.empty() ? "" : fmt::format("{} of {} put back", property_.noun, list_of(names));
    const std::string reloaded = same_process ? "" : fmt::format("HAProxy was reloaded (pid {} -> {})", place_.process.pid, state.process.pid);

    UndoResult out;
    out.detail = detail(state, same_process);
    if (!comparison_.to_restore.empty()) {
      out.state = UndoState::failed;
      out.because = fmt::format("someone sets the injected {} again and again: put back {} times", property_.noun, restores_);
      out.remedy = "find who writes to " + place_.socket + ", then: " + commands_by_hand();
    } else if (!comparison_.foreign.empty() && same_process) {
      out.state = UndoState::refused;
      out.because = foreign_in_words() + ": someone else set it, left alone" + (restored.empty() ? "" : "; " + restored);
      out.remedy = "where the value of before is wanted, on " + place_.socket + ": " + commands_by_hand();
    } else if (!restored.empty() && proof_.state == TrafficProof::State::starved) {
      out.state = UndoState::failed;
      out.because = restored + fmt::format(", but {} got none of {} sessions, also after a requeue", list_of(proof_.starved), proof_.sessions);
      out.remedy = "reload HAProxy, or set the server to maint and then ready";
    } else if (!restored.empty()) {
      out.state = UndoState::undone;
      out.because = restored + (reloaded.empty() ? "" : "; " + reloaded + " and the new process had the injected values");
    } else {
      out.state = UndoState::nothing_to_undo;
      out.because = reloaded.empty() ? fmt::format("every {} is as before", property_.noun) : reloaded + ": what was set in the old process went with it";
      if (reloaded.empty() && !comparison_.gone.empty()) out.because = "no longer there: " + list_of(comparison_.gone);
    }
    return out;
  }

  const ServerProperty& property_;
  const HaproxyPlace place_;
  const std::vector<ServerChange> changes_;
  Clock& clock_;
  HaproxyClient client_;
  std::int64_t others_ = 0;
  int restores_ = 0;
  std::map<std::string, bool> restored_;
  ServerComparison comparison_;
  std::vector<std::string> cured_;
  TrafficProof proof_;
};

}  // namespace

Task<UndoResult> restore_servers(const ServerProperty& property, HaproxyPlace place, std::vector<ServerChange> changes, OpContext& context) {
  Restorer restorer(property, std::move(place), std::move(changes), context.clock);
  const TimePoint limit = context.clock.now() + kPatience;
  std::optional<TimePoint> nobody_since;
  while (true) {
    std::optional<Error> trouble;
    bool nobody = false;
    try {
      UndoResult result = co_await restorer.run();
      co_return result;
    } catch (const NobodyListens& error) {
      trouble = error;
      nobody = true;
    } catch (const Error& error) {
      trouble = error;
    }
    const TimePoint now = context.clock.now();
    if (!nobody) nobody_since.reset();
    if (nobody && !nobody_since) nobody_since = now;
    if (nobody && now - *nobody_since >= kGoneAfter && restorer.process_is_gone()) co_return restorer.gone();
    if (now >= limit || trouble->kind() == ErrorKind::privilege) co_return restorer.unreachable(*trouble);
    co_await context.clock.sleep(kLookEvery);
  }
}

}  // namespace capsize
