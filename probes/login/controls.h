// Negative controls: logins that must not succeed. The schedule says which logins they are (LoginAttempt::wrong_password); here is decided
// which kind each is, in proportion to the kinds' shares.
#pragma once
#include <array>
#include <cstdint>
#include <memory>

#include "injector/base/param_types.h"
#include "probes/login/transport.h"

namespace capsize {

struct ControlShares {
  Share wrong_password;  // the user's name, another password
  Share unknown_user;    // a user that nobody is
  Share expired_token;   // no login at all: a token that was good once
  Share all() const { return Share{wrong_password.value + unknown_user.value + expired_token.value}; }
};

// Spreads the kinds evenly: of any n controls in a row each kind has its part, within one.
class ControlPicker {
 public:
  enum class Kind { wrong_password, unknown_user, expired_token };
  explicit ControlPicker(ControlShares shares);
  Kind next();

 private:
  std::array<double, 3> parts_{};  // add up to one
  std::array<double, 3> owed_{};
};

// Makes some of the wrong passwords of `inner` another kind of control.
std::unique_ptr<LoginTransport> with_controls(std::unique_ptr<LoginTransport> inner, ControlShares shares);

}  // namespace capsize
