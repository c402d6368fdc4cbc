// host.clock: a command that capsize starts sees a wrong time of day.
#include <fmt/format.h>

#include <cmath>

#include "injector/base/error.h"
#include "injector/faults/host_faults.h"

namespace capsize {
namespace {

constexpr double kTolerance = 0.5;  // seconds, beside what the measurement itself may be off by
constexpr Duration kMost = std::chrono::hours(24) * 3650;

struct ClockParams {
  std::vector<std::string> command;
  std::optional<Duration> ahead;
  std::optional<Duration> behind;
};

Rule<Duration> a_shift() {
  return {[](const Duration& shift) -> std::optional<Mistake> {
            if (shift >= std::chrono::seconds(1) && shift <= kMost) return std::nullopt;
            return Mistake{"a clock that is wrong by less than 1s, or by more than ten years", "write a duration, as \"5m\""};
          },
          nullptr};
}

const Spec<ClockParams>& clock_params() {
  static const auto spec = Spec<ClockParams>()
                               .required("command", &ClockParams::command, "what capsize starts and ends: a program by its absolute path, and its words",
                                         Rule<std::vector<std::string>>{[](const std::vector<std::string>& words) -> std::optional<Mistake> {
                                                                          if (!words.empty() && !words.front().empty() && words.front().front() == '/' && words.size() <= 256) return std::nullopt;
                                                                          return Mistake{"a command whose program is not an absolute path", "write it as [\"/usr/bin/my-server\", \"--port\", \"8090\"]"};
                                                                        },
                                                                        nullptr})
                               .optional("ahead", &ClockParams::ahead, "how far ahead its clock is", if_given(a_shift()))
                               .optional("behind", &ClockParams::behind, "or how far behind", if_given(a_shift()))
                               .exactly_one_of({"ahead", "behind"});
  return spec;
}

const AnySpec& clock_spec() { return clock_params(); }

FaultPlan decide(const ClockParams& params, const Json& look) {
  const auto library = look.at("library").get<std::string>();
  if (library.empty()) {
    throw Error(ErrorKind::unavailable, "libfaketime is not installed there: the kernel has one time of day for everybody, and cannot show one command another", "apt-get install libfaketime");
  }
  if (!look.value("may_unshare", true)) {
    throw Error(ErrorKind::privilege, "the command cannot have a pid namespace of its own: what it starts could outlive capsize", "run capsize there with CAP_SYS_ADMIN (as root)");
  }
  const double shift = params.ahead ? seconds(*params.ahead) : -seconds(*params.behind);
  const auto id = look.at("new_id").get<std::string>();
  FaultPlan plan;
  plan.steps.push_back(burden_step(id, {{"burden", "clock"}, {"command", params.command}, {"shift", shift}, {"library", library}}));
  plan.summary = fmt::format("capsize starts {} with a clock that is {} {}: it ends with the fault, and with the agent", params.command.front(), show(params.ahead ? *params.ahead : *params.behind), params.ahead ? "ahead" : "behind");
  plan.intended = {{"shift", shift}};
  plan.observe = {"host.clock_use", {{"id", id}, {"library", library}, {"shift", shift}}};
  return plan;
}

Task<FaultPlan> plan_clock(FaultRequest request, HostView& host) {
  const ClockParams params = clock_params().parse_or_throw(request.params);
  Op query;
  query.type = "host.clock_use";
  const Json look = co_await host.inspect(query);
  co_return decide(params, look);
}

Effect clock_effect(const FaultPlan& plan, const Json&, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"shift", after.value("shift", Json())}, {"loaded", after.value("loaded", false)}};
  effect.because = no_bearer(after);
  if (!effect.because.empty()) return effect;
  const int command = after.value("command", 0);
  const Json shift = after.value("shift", Json());
  if (command == 0) {
    effect.because = "the command has ended";
  } else if (!after.value("loaded", false)) {
    effect.because = fmt::format("process {} did not take up libfaketime: it is linked statically, does not use the C library, or has more privilege than who started it", command);
  } else if (!shift.is_number()) {
    effect.because = "what time it is for that command could not be told";
  } else {
    const double intended = plan.intended.at("shift").get<double>();
    effect.bites = std::abs(shift.get<double>() - intended) <= kTolerance + after.value("error", 0.0);
    effect.because = fmt::format("the clock of process {} is {:+.2f} s off (give or take {:.2f} s), {:+.2f} s were intended", command, shift.get<double>(), after.value("error", 0.0), intended);
  }
  return effect;
}

}  // namespace

FaultType host_clock() {
  FaultType type;
  type.name = "host.clock";
  type.doc = "A command that capsize starts sees a wrong time of day.";
  type.target_types = {"host"};
  type.spec = clock_spec;
  type.example = {{"fault", "host.clock"}, {"target", "machine"}, {"command", {"/usr/sbin/auth-server", "--port", "8090"}}, {"ahead", "5m"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_clock;
  type.effect = clock_effect;
  type.undo_doc = "ends the command and all that it started; by itself the kernel does so as soon as the agent is gone, however it dies";
  type.stacks = true;
  return type;
}

}  // namespace capsize
