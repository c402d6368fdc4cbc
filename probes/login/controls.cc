#include "probes/login/controls.h"

#include <algorithm>
#include <string>

namespace capsize {
namespace {

class ControlledTransport final : public LoginTransport {
 public:
  ControlledTransport(std::unique_ptr<LoginTransport> inner, ControlShares shares) : inner_(std::move(inner)), picker_(shares) {}

  Task<> open() override { return inner_->open(); }
  Task<> close() override { return inner_->close(); }
  Task<Answer> attempt(LoginAttempt attempt) override {
    if (!attempt.wrong_password) return inner_->attempt(std::move(attempt));
    switch (picker_.next()) {
      case ControlPicker::Kind::wrong_password: break;
      case ControlPicker::Kind::unknown_user: attempt.user = "capsize-nobody-" + std::to_string(++nobodies_); break;
      case ControlPicker::Kind::expired_token: attempt.expired_token = true; break;
    }
    return inner_->attempt(std::move(attempt));
  }

 private:
  const std::unique_ptr<LoginTransport> inner_;
  ControlPicker picker_;
  std::uint64_t nobodies_ = 0;
};

}  // namespace

ControlPicker::ControlPicker(ControlShares shares) {
  const double all = shares.all().value;
  if (all <= 0) {
    parts_[0] = 1;
    return;
  }
  parts_ = {shares.wrong_password.value / all, shares.unknown_user.value / all, shares.expired_token.value / all};
}

ControlPicker::Kind ControlPicker::next() {
  for (std::size_t i = 0; i < parts_.size(); ++i) owed_[i] += parts_[i];
  const auto most = std::max_element(owed_.begin(), owed_.end());
  *most -= 1;
  return static_cast<Kind>(most - owed_.begin());
}

std::unique_ptr<LoginTransport> with_controls(std::unique_ptr<LoginTransport> inner, ControlShares shares) {
  if (shares.unknown_user.value <= 0 && shares.expired_token.value <= 0) return inner;
  return std::make_unique<ControlledTransport>(std::move(inner), shares);
}

}  // namespace capsize
