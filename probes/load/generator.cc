#include "probes/load/generator.h"

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <utility>

#include "injector/base/error.h"

namespace capsize {

std::uint64_t enough_in_flight(Rate rate, Duration timeout, Arrivals arrivals) {
  const double mean = rate.per_second * seconds(timeout);
  return static_cast<std::uint64_t>(std::ceil((mean + (arrivals == Arrivals::poisson ? 6 * std::sqrt(mean) : 0)) * 1.1)) + 1;
}

LoginAttempt LoadPlan::attempt(std::uint64_t login, TimePoint load_start) const {
  LoginAttempt out;
  const std::string id = std::to_string(schedule.user(login));
  out.user = credentials.user.value_or(credentials.user_prefix + id);
  out.wrong_password = schedule.wrong_password(login);
  // Nothing of the right password is in the wrong one: it may end up in the service's logs.
  out.password = out.wrong_password ? "wrong-" + std::to_string(login) : credentials.password.value_or(credentials.password_prefix + id);
  out.due = load_start + schedule.due(login);
  out.deadline = out.due + timeout;
  return out;
}

TimePoint next_window(TimePoint now, TimePoint origin) {
  const Duration since = std::max(now - origin, Duration::zero());
  return origin + (since + kWindowLength - Duration(1)) / kWindowLength * kWindowLength;
}

Generator::Generator(Clock& clock, LoadPlan plan, LoginTransport& transport, TimePoint origin, std::function<void(LoadWindow)> emit, Clock* pace, std::function<Duration()> cpu_used)
    : clock_(clock), pace_(pace == nullptr ? clock : *pace), plan_(std::move(plan)), transport_(transport), origin_(origin), emit_(std::move(emit)), cpu_(clock, std::move(cpu_used), kWindowLength / 2) {
  CAPSIZE_CHECK(plan_.max_in_flight > 0);
  CAPSIZE_CHECK(plan_.timeout > Duration::zero());
}

Task<> Generator::run(std::optional<TimePoint> start) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  const auto executor = co_await asio::this_coro::executor;
  wake_.emplace(executor);
  deadlines_.emplace(clock_, executor);
  start_ = start ? *start : next_window(clock_.now(), origin_);
  next_ = plan_.worker;
  closed_up_to_ = start_;
  cpu_.now();
  for (;;) {
    const TimePoint due = start_ + plan_.schedule.due(next_);
    if (at_end(due)) break;
    if (clock_.now() < due) {
      // A window ends on time, and stop() is seen, even when nothing is due for long.
      const TimePoint next = std::min(due, closed_up_to_ + kWindowLength);
      co_await pace_.sleep_until(next);
      close_windows(std::min(due, clock_.now()));
    } else if (in_flight_ >= plan_.max_in_flight) {
      co_await wake_->wait();  // whoever has ended a login takes what is due by then; those under way end by their deadlines
    } else if (const auto login = take_due()) {
      launch(*login);
    }
  }
  while (in_flight_ > 0) {
    co_await wake_->wait();
  }
  dismiss();
  deadlines_->rest();
  while (at_work_ > 0) {
    co_await wake_->wait();
  }
  if (bug_) std::rethrow_exception(bug_);
  close_windows(*stop_at_);
  if (*stop_at_ > closed_up_to_) {  // the last window ends early
    window_of(closed_up_to_).to = *stop_at_;
    closed_up_to_ = *stop_at_;
  }
  emit_complete();
}

void Generator::stop(TimePoint at) {
  if (stop_at_) return;
  const bool any = next_ > plan_.worker;
  stop_at_ = any ? std::max(at, start_ + plan_.schedule.due(next_ - plan_.workers) + Duration(1)) : at;
  if (wake_) wake_->notify();
}

void Generator::set_load(double share) {
  CAPSIZE_CHECK(share > 0 && share <= 1);
  load_ = share;
}

// Multiples of the golden ratio, modulo 1, are spread as evenly as can be, at any share, and keep step with nothing else in the schedule that
// is spread evenly, such as the wrong passwords.
bool Generator::in_load(std::uint64_t login) const {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;  // of 2^64
  return load_ >= 1 || static_cast<double>(login * kGolden) < load_ * 0x1.0p64;
}

std::optional<std::uint64_t> Generator::take_due() {
  for (;; next_ += plan_.workers) {
    const TimePoint due = start_ + plan_.schedule.due(next_);
    const TimePoint now = clock_.now();
    if (at_end(due) || now < due) return std::nullopt;
    close_windows(due);
    if (!in_load(next_)) continue;
    LoadWindow& window = window_of(due).data;
    window.scheduled += 1;
    window.waited += in_flight_ >= plan_.max_in_flight ? 1 : 0;  // for whoever asks to be done with another
    if (now < due + plan_.timeout) return std::exchange(next_, next_ + plan_.workers);
    record(plan_.attempt(next_, start_), plan_.schedule.user(next_), kNotSent, plan_.timeout, plan_.timeout);
  }
}

void Generator::launch(std::uint64_t login) {
  ++in_flight_;
  if (!resting_.empty()) {
    Client& client = *resting_.back();
    resting_.pop_back();
    client.login = login;
    return client.rest.go_on();
  }
  Client& client = clients_.emplace_back(at_rest_);
  client.login = login;
  ++at_work_;
  const auto executor = asio::any_io_executor(wake_->executor());
  asio::co_spawn(executor, work(client), asio::bind_cancellation_slot(client.stop.slot(), [this](std::exception_ptr bug) {
    if (bug && !bug_) bug_ = bug;
    if (bug) --in_flight_;
    --at_work_;
    wake_->notify();
  }));
}

// Those that rest leave.
void Generator::dismiss() {
  for (Client* client : std::exchange(resting_, {})) client->rest.go_on();
}

Task<> Generator::work(Client& client) {
  for (;;) {
    co_await one(client);
    const auto next = take_due();
    emit_complete();
    if (next) {
      client.login = *next;
      continue;
    }
    const bool was_full = in_flight_-- == plan_.max_in_flight;
    if (was_full || in_flight_ == 0) wake_->notify();
    resting_.push_back(&client);
    co_await client.rest.async_wait(asio::use_awaitable);
    if (in_flight_ == 0) co_return;  // dismissed
  }
}

Task<> Generator::one(Client& client) {
  const std::uint64_t login = client.login;
  const LoginAttempt attempt = plan_.attempt(login, start_);
  const std::uint64_t user = plan_.schedule.user(login);
  const Duration send_late = clock_.now() - attempt.due;
  if (send_late >= plan_.timeout) {
    record(attempt, user, kNotSent, plan_.timeout, plan_.timeout);
    co_return;
  }
  std::size_t bucket = kNotSent;
  BucketCounts ended{};
  try {
    auto trying = plan_.retries.policy == RetryPolicy::none ? asked(client, attempt) : tried(client, attempt, ended);
    const Answer answer = co_await std::move(trying);
    bucket = bucket_of(answer);
  } catch (const Error& lacking) {  // the tester's own trouble
    LoadWindow& window = window_of(attempt.due).data;
    window.lacked += 1;
    if (window.problem.empty()) window.problem = lacking.what();
  }
  const TimePoint ended_at = clock_.now();
  const Duration latency = std::min(ended_at - attempt.due, plan_.timeout);
  // An answer that is seen only after the deadline came too late, whoever was slow.
  if (bucket == bucket_of(Answer::ok) && ended_at > attempt.deadline) bucket = bucket_of(Answer::timed_out);
  // Sent so late, and out of time: nobody can tell whether the system would have made it. It counts as not sent.
  if (bucket == bucket_of(Answer::timed_out) && send_late > plan_.timeout / kLatestPart) bucket = kNotSent;
  if (bucket != kNotSent) {
    LoadWindow& window = window_of(attempt.due).data;
    for (std::size_t i = 0; i < ended.size(); ++i) window.attempts[i] += ended[i];
  }
  record(attempt, user, bucket, bucket == bucket_of(Answer::timed_out) ? plan_.timeout : latency, bucket == kNotSent ? plan_.timeout : send_late);
}

// An answer at the deadline is in time. Whoever has none by then is cancelled.
Task<Answer> Generator::asked(Client& client, LoginAttempt attempt) {
  if (attempt.deadline <= clock_.now()) co_return Answer::timed_out;
  Deadlines::Watch watch(*deadlines_, attempt.deadline + Duration(1), client.stop);
  co_await asio::this_coro::throw_if_cancelled(true);  // a limit within an attempt before this may have left it otherwise
  std::optional<Answer> answer;
  try {
    answer = co_await transport_.attempt(std::move(attempt));
  } catch (const boost::system::system_error& error) {
    if (!watch.passed() || error.code() != asio::error::operation_aborted) throw;
  }
  if (!watch.passed()) co_return *answer;
  co_await asio::this_coro::reset_cancellation_state();
  co_return Answer::timed_out;
}

// Attempts until one succeeds, the client has had enough, or the login is out of time. The answer is that of the last.
Task<Answer> Generator::tried(Client& client, LoginAttempt attempt, BucketCounts& ended) {
  const TimePoint deadline = attempt.deadline;
  const std::uint64_t login = client.login;
  for (std::uint64_t made = 1;; ++made) {
    attempt.deadline = plan_.retries.attempt_deadline(clock_.now(), deadline);
    auto trying = asked(client, attempt);
    const Answer answer = co_await std::move(trying);
    ended[bucket_of(answer)] += 1;
    if (!plan_.retries.again(answer, made)) co_return answer;
    const TimePoint next = clock_.now() + plan_.retries.pause_after(made, login);
    if (next >= deadline) co_return answer;
    co_await clock_.sleep_until(next);
  }
}

void Generator::record(const LoginAttempt& attempt, std::uint64_t user, std::size_t bucket, Duration latency, Duration send_late) {
  LoadWindow& window = window_of(attempt.due).data;
  window.counts[bucket] += 1;
  if (attempt.wrong_password) window.wrong_password[bucket] += 1;
  window.ended += 1;
  window.send_late.record(send_late);
  if (bucket == kNotSent || attempt.wrong_password) return;
  const bool succeeded = bucket == bucket_of(Answer::ok);
  if (succeeded || bucket == bucket_of(Answer::timed_out)) {
    window.latency.record(latency);
    window.latency_from_send.record(latency - send_late);
  }
  bool& had_success = window.users[user];
  had_success = had_success || succeeded;
}

// The window a due time falls in, made when it is the first of it.
Generator::OpenWindow& Generator::window_of(TimePoint due) {
  for (;;) {
    if (windows_.empty() || due >= windows_.back().to) {
      const TimePoint from = windows_.empty() ? closed_up_to_ : windows_.back().to;
      OpenWindow& fresh = windows_.emplace_back();
      fresh.to = from + kWindowLength;
      fresh.data.from = seconds(from - origin_);
      continue;
    }
    const auto found = std::upper_bound(windows_.begin(), windows_.end(), due, [](TimePoint when, const OpenWindow& window) { return when < window.to; });
    return *found;
  }
}

// All logins due before `next_due` have been launched: windows that end by then get no more.
void Generator::close_windows(TimePoint next_due) {
  const auto cpu = closed_up_to_ + kWindowLength <= next_due ? cpu_.now() : std::nullopt;
  while (closed_up_to_ + kWindowLength <= next_due) {
    window_of(closed_up_to_).data.cpu = cpu;
    closed_up_to_ += kWindowLength;
  }
  emit_complete();
}

void Generator::emit_complete() {
  while (!windows_.empty() && windows_.front().to <= closed_up_to_ && windows_.front().data.ended == windows_.front().data.scheduled) {
    OpenWindow done = std::move(windows_.front());
    windows_.pop_front();
    done.data.to = seconds(done.to - origin_);
    emit_(std::move(done.data));
  }
}

}  // namespace capsize
