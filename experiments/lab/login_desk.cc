#include "experiments/lab/login_desk.h"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>

namespace capsize {

LoginDesk::LoginDesk(Clock& clock, Accounts& accounts, LoginDeskOptions options)
    : clock_(clock), accounts_(accounts), options_(options) {}

Task<> LoginDesk::take_slot() {
  if (busy_ < options_.slots) {
    ++busy_;
    co_return;
  }
  const auto executor = co_await asio::this_coro::executor;
  const auto turn = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
  queue_.push_back(turn);
  max_queue_ = std::max(max_queue_, queue_.size());
  boost::system::error_code cancelled_means_called;
  co_await turn->async_wait(asio::redirect_error(asio::use_awaitable, cancelled_means_called));
}

// The slot stays busy when somebody waits: it passes straight to the first in the queue, so that a
// newcomer cannot slip in between.
void LoginDesk::release_slot() {
  if (queue_.empty()) {
    --busy_;
    return;
  }
  const auto next = queue_.front();
  queue_.pop_front();
  next->cancel();
}

void LoginDesk::count(DeskAnswer result) {
  switch (result) {
    case DeskAnswer::ok: ++ok_; break;
    case DeskAnswer::denied: ++denied_; break;
    case DeskAnswer::abandoned: ++abandoned_; break;
    case DeskAnswer::unavailable: ++unavailable_; break;
  }
}

Task<DeskAnswer> LoginDesk::serve(std::string user, std::string password, std::function<bool()> client_gone) {
  if (options_.skip_gone && client_gone()) co_return DeskAnswer::abandoned;
  const AccountLookup found = co_await accounts_.find(user);
  if (found.state == AccountLookup::State::no_answer) co_return client_gone() ? DeskAnswer::abandoned : DeskAnswer::unavailable;
  const TimePoint started = clock_.now();
  const bool same = matches(found.password, password);
  co_await clock_.sleep_until(started + options_.service_time);
  if (client_gone()) co_return DeskAnswer::abandoned;
  co_return same && found.state == AccountLookup::State::known ? DeskAnswer::ok : DeskAnswer::denied;
}

Task<DeskAnswer> LoginDesk::login(std::string user, std::string password, std::function<bool()> client_gone) {
  co_await take_slot();
  const auto result = co_await serve(std::move(user), std::move(password), std::move(client_gone));
  count(result);
  release_slot();
  co_return result;
}

Json LoginDesk::stats() const {
  return {{"busy", busy_},     {"queued", queue_.size()}, {"max_queue", max_queue_}, {"ok", ok_},
          {"denied", denied_}, {"abandoned", abandoned_}, {"unavailable", unavailable_}};
}

}  // namespace capsize
