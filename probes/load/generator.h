// The open-loop load generator: sends each login at its due time whatever the others do, and accounts for every one of them. It knows
// neither sockets nor threads: a LoginTransport answers, a Clock paces, so it runs in virtual time as it does for real.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/task.h"
#include "probes/http/parking.h"
#include "probes/load/deadlines.h"
#include "probes/load/cpu_share.h"
#include "probes/load/load_window.h"
#include "probes/load/retries.h"
#include "probes/load/schedule.h"
#include "probes/load/wake.h"
#include "probes/login/transport.h"

namespace capsize {

inline constexpr Duration kWindowLength = std::chrono::milliseconds(250);
// A login that times out after the tester took more than this part of its timeout to send it counts as not sent.
inline constexpr int kLatestPart = 4;

// Who user N is.
struct Credentials {
  std::string user_prefix = "user";        // user7 ...
  std::string password_prefix = "pw";      // ... logs in with pw7
  std::optional<std::string> user;         // instead of both prefixes: everyone is this one
  std::optional<std::string> password;
};

// Immutable: all that a load is, before it starts.
struct LoadPlan {
  Schedule schedule;
  Credentials credentials;
  Duration timeout;             // of a login, from its due time
  std::uint64_t max_in_flight;  // logins under way at once; those beyond wait, and count as not sent when that costs them their time
  Retries retries = {};
  std::uint64_t workers = 1;    // threads that share the logins: of N, each sends every Nth, and has its part of max_in_flight
  std::uint64_t worker = 0;     // which of them

  LoginAttempt attempt(std::uint64_t login, TimePoint load_start) const;
};

// Enough that no login ever waits for another: each ends by its timeout (Little's law), plus a tenth for the tester's own delay; of Poisson
// arrivals there are more by chance, hardly ever by six standard deviations.
std::uint64_t enough_in_flight(Rate rate, Duration timeout, Arrivals arrivals = Arrivals::constant);

// Where a load starts that is ready at `now`: windows begin at multiples of their length since `origin`.
TimePoint next_window(TimePoint now, TimePoint origin);

// Thread: all calls on the executor that run() runs on. The transport and what `emit` needs outlive run().
class Generator {
 public:
  // `origin` is the zero of the windows' times. `emit` gets the windows in order, each complete. `pace`: what the logins are sent by, where
  // that is another clock than the one that everything else is timed by. `cpu_used`: of the thread that runs it, where that can be known.
  Generator(Clock& clock, LoadPlan plan, LoginTransport& transport, TimePoint origin, std::function<void(LoadWindow)> emit, Clock* pace = nullptr, std::function<Duration()> cpu_used = {});

  // Starts at `start`, by default the next beginning of a window. Works until stop(), then waits for what is under way (at most the timeout).
  // Not cancellable. Throws only what is a bug: the service's failures are counted, and so are the tester's.
  Task<> run(std::optional<TimePoint> start = std::nullopt);
  void stop() { stop(clock_.now()); }
  void stop(TimePoint at);  // logins due later are not part of the load, but for those that are under way
  // Above 0, at most 1: from now on, so much of the schedule is the load, spread evenly. The rest is skipped: it is not part of the load, and
  // nothing that is moves.
  void set_load(double share);

 private:
  struct OpenWindow {
    TimePoint to;
    LoadWindow data;
  };
  // Sends one login after the other, as long as any is due, and rests between: what a login needs is made once, not anew for each.
  struct Client {
    explicit Client(std::size_t& at_rest) : rest(at_rest) {}
    std::uint64_t login = 0;  // the next; while it rests: none
    Parking rest;
    asio::cancellation_signal stop;
  };
  Task<> work(Client& client);
  Task<> one(Client& client);
  Task<Answer> asked(Client& client, LoginAttempt attempt);
  Task<Answer> tried(Client& client, LoginAttempt attempt, BucketCounts& ended);  // `ended`: what its attempts ended as
  void launch(std::uint64_t login);
  void dismiss();
  // The next login where it is due, there is still time to send it, and the load is not at its end. What there was no time for is recorded.
  std::optional<std::uint64_t> take_due();
  bool at_end(TimePoint due) const { return bug_ || (stop_at_ && due >= *stop_at_); }
  bool in_load(std::uint64_t login) const;
  OpenWindow& window_of(TimePoint due);
  void close_windows(TimePoint next_due);
  void emit_complete();
  void record(const LoginAttempt& attempt, std::uint64_t user, std::size_t bucket, Duration latency, Duration send_late);

  Clock& clock_;
  Clock& pace_;
  const LoadPlan plan_;
  LoginTransport& transport_;
  const TimePoint origin_;
  const std::function<void(LoadWindow)> emit_;
  CpuShare cpu_;
  TimePoint start_;
  std::deque<OpenWindow> windows_;  // from the oldest not yet handed over; the last is the current one
  TimePoint closed_up_to_;          // every login due before this has been launched
  std::optional<TimePoint> stop_at_;
  double load_ = 1;
  std::uint64_t next_ = 0;          // the next login of the schedule
  std::optional<Deadlines> deadlines_;
  std::size_t at_rest_ = 0;
  std::deque<Client> clients_;      // ever made
  std::vector<Client*> resting_;    // the last that worked is the first to work again
  std::uint64_t in_flight_ = 0;
  std::size_t at_work_ = 0;         // clients that have not left for good
  std::exception_ptr bug_;
  std::optional<Wake> wake_;        // of run(): a slot is free, stop was called, the last login has ended
};

}  // namespace capsize
