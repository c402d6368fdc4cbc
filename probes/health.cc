#include "probes/health.h"

#include <fmt/format.h>

namespace capsize {
namespace {

constexpr double kMostNotSent = 0.01;  // of the schedule

}  // namespace

std::optional<std::string> generator_problem(const std::vector<const Window*>& windows) {
  double scheduled = 0;
  double not_sent = 0;
  for (const Window* window : windows) {
    if (!window->contains("counts")) continue;
    scheduled += window->value("scheduled", 0.0);
    not_sent += window->at("counts").value("not_sent", 0.0);
  }
  if (scheduled > 0 && not_sent / scheduled > kMostNotSent) {
    return fmt::format("{:.0f} of {:.0f} scheduled were not sent in time", not_sent, scheduled);
  }
  return std::nullopt;
}

}  // namespace capsize
