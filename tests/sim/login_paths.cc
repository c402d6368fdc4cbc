// The ways a client takes through the simulated world: through the balancer, past it to one server, or just to a port.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>

#include "injector/base/within.h"
#include "tests/sim/login_world.h"

namespace capsize {

Task<Answer> LoginWorld::travel(Address from, Address to, TimePoint deadline) {
  if (network.undisturbed()) co_return Answer::ok;
  auto message = network.carry(std::move(from), std::move(to));
  const auto arrived = co_await within(clock, deadline - clock.now(), std::move(message));
  if (!arrived) co_return Answer::timed_out;
  co_return *arrived ? Answer::ok : Answer::broken;
}

// The second request of a login. It takes no slot, so a busy server answers it at once; one that is paused or cut off does not.
Task<Answer> LoginWorld::use_token(TimePoint deadline) {
  std::vector<std::size_t> there;
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (haproxy.servers()[i].in_service()) there.push_back(i);
  }
  if (there.empty()) co_return Answer::denied;
  const std::size_t server = there[tokens_used_++ % there.size()];
  if (servers_[server]->paused()) {
    co_await clock.sleep_until(deadline);
    co_return Answer::timed_out;
  }
  const Address where = at_server(server);
  const Answer asked = co_await travel(client_of(where), where, deadline);
  if (asked != Answer::ok) co_return asked;
  const Answer answered = co_await travel(where, client_of(where), deadline);
  co_return answered;
}

Task<Answer> LoginWorld::login(LoginAttempt attempt) {
  if (!service_up) co_return Answer::refused;
  const Answer sent = co_await travel(client_of(kBalancer), kBalancer, attempt.deadline);
  if (sent != Answer::ok) co_return sent;
  const auto login = std::make_shared<SimLogin>(io);
  const auto server = haproxy.arrive();
  if (server) {
    dispatch(*server, login);
  } else {
    login->waiting = true;
    waiting_.push_back(login);
    asio::co_spawn(io, turn_away_later(this, login), [](std::exception_ptr) {});
  }
  const auto deadline = attempt.deadline;
  boost::system::error_code ignored;
  if (!login->served && !login->turned_away) {
    co_await within(clock, deadline - clock.now(), login->ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored)));
  }
  if (login->turned_away) co_return Answer::denied;
  if (!login->served) co_return Answer::timed_out;
  const Answer received = co_await travel(kBalancer, client_of(kBalancer), deadline);
  if (received != Answer::ok) co_return received;
  if (!attempt.wrong_password) {
    const Answer used = co_await use_token(deadline);
    co_return used;
  }
  co_return why_wrongly_accepted.empty() ? Answer::rejected_rightly : Answer::wrongly_accepted;
}

Task<Answer> LoginWorld::login_at(std::size_t server, LoginAttempt attempt) {
  if (!service_up) co_return Answer::refused;
  const auto login = std::make_shared<SimLogin>(io);
  login->direct = true;
  const auto deadline = attempt.deadline;
  dispatch(server, login);
  boost::system::error_code ignored;
  if (!login->served && !login->turned_away) {
    co_await within(clock, deadline - clock.now(), login->ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored)));
  }
  if (login->turned_away) co_return Answer::denied;
  co_return login->served ? Answer::ok : Answer::timed_out;
}

Task<Answer> LoginWorld::connect(Address where, TimePoint deadline) {
  const Duration limit = deadline - clock.now();
  const auto took = network.round_trips(client_of(where), where, 0, limit);
  co_await clock.sleep(took.value_or(limit));
  co_return took ? Answer::ok : Answer::timed_out;
}

}  // namespace capsize
