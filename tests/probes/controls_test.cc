#include "probes/login/controls.h"

#include <map>

#include "probes/login/login_params.h"
#include "tests/probes/simulated_load.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

Task<> try_all(LoginTransport& transport, SimClock& clock, int count, bool wrong) {
  for (int i = 0; i < count; ++i) {
    LoginAttempt attempt;
    attempt.user = "ann";
    attempt.password = "p";
    attempt.wrong_password = wrong;
    attempt.deadline = clock.now() + 1s;
    co_await transport.attempt(attempt);
  }
}

std::map<std::string, int> kinds_of(ControlShares shares, int count, bool wrong) {
  SimClock clock;
  asio::io_context io;
  std::map<std::string, int> out;
  const auto note = [&out](const LoginAttempt& attempt, TimePoint) {
    out[attempt.expired_token ? "expired" : attempt.user == "ann" ? "ann" : attempt.user.substr(0, 15)] += 1;
    return Reply{};
  };
  const auto transport = with_controls(std::make_unique<FakeTransport>(clock, note), shares);
  asio::co_spawn(io, try_all(*transport, clock, count, wrong), asio::detached);
  clock.run(io);
  return out;
}

}  // namespace

TEST_CASE("controls are of each kind in proportion to its share, and other logins are left alone", "[controls]") {
  const ControlShares shares{Share{0.05}, Share{0.03}, Share{0.02}};
  CHECK(kinds_of(shares, 100, true) == std::map<std::string, int>{{"ann", 50}, {"capsize-nobody-", 30}, {"expired", 20}});
  CHECK(kinds_of(shares, 100, false) == std::map<std::string, int>{{"ann", 100}});
  CHECK(kinds_of({Share{0}, Share{0.1}, Share{0}}, 7, true) == std::map<std::string, int>{{"capsize-nobody-", 7}});
  CHECK(kinds_of({Share{0.1}, Share{0}, Share{0}}, 7, true) == std::map<std::string, int>{{"ann", 7}});
}

TEST_CASE("a probe sends controls when one of the shares is above zero", "[controls]") {
  CHECK_FALSE(has_control_share(Json::object()));
  CHECK_FALSE(has_control_share({{"wrong_password_share", "0%"}}));
  CHECK(has_control_share({{"wrong_password_share", "5%"}}));
  CHECK(has_control_share({{"unknown_user_share", "1%"}}));
  CHECK(has_control_share({{"expired_token_share", "1%"}}));
}
