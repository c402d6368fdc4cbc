// The probe exec: a command of the playbook's own, run now and then; exit code 0 is a success. For what no other probe knows how to ask.
#include <vector>

#include "injector/base/command_line.h"
#include "injector/base/error.h"
#include "injector/base/spawn.h"
#include "probes/load/load_probe.h"
#include "probes/probes.h"

namespace capsize {
namespace {

struct ExecParams {
  std::vector<std::string> command;
  Rate rate{1};
  Duration timeout = std::chrono::seconds(5);
};

const Spec<ExecParams>& exec_spec() {
  static const auto spec = Spec<ExecParams>()
                               .required("command", &ExecParams::command, "the program and its words, executed as they stand: no shell reads them", command_line())
                               .optional("rate", &ExecParams::rate, "how often it is run")
                               .optional("timeout", &ExecParams::timeout, "how long it may take, from the moment it was due; then it and its process group are killed", more_than_zero());
  return spec;
}

class ExecTransport final : public LoginTransport {
 public:
  explicit ExecTransport(std::vector<std::string> command) : command_(std::move(command)) {}
  ~ExecTransport() override { reap_killed(); }

  Task<> open() override {
    require_program(command_.front());
    co_return;
  }

  Task<Answer> attempt(LoginAttempt) override {
    reap_killed();
    SpawnRequest request;
    request.command = command_;
    request.from_root = true;
    const Run run(spawn(request), killed_);
    auto end = wait_for_end(run.child.pidfd.get());
    co_await std::move(end);
    co_return run.answer();
  }

 private:
  // A run of the command: whatever becomes of the attempt, at its end its process group is killed.
  struct Run {
    Run(Child started, std::vector<Child>& killed) : child(std::move(started)), killed_(killed) {}
    ~Run() {
      kill_group(child);
      killed_.push_back(std::move(child));
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    // Of one that has ended. Not reaped yet: until its group is killed, its number must stay its own.
    Answer answer() const {
      const Ended ended = how_it_ended(child);
      if (ended.by != Ended::By::exit) return Answer::broken;
      return ended.number == 0 ? Answer::ok : Answer::denied;
    }

    Child child;

   private:
    std::vector<Child>& killed_;
  };

  // One that the kernel cannot end yet (waiting for a disk) is not waited for: it is looked at again next time.
  void reap_killed() {
    std::erase_if(killed_, [](const Child& child) { return reap(child).has_value(); });
  }

  const std::vector<std::string> command_;
  std::vector<Child> killed_;
};

std::unique_ptr<Probe> make(ProbeContext context) {
  const ExecParams params = exec_spec().parse_or_throw(context.params);
  const LoadPlan plan{Schedule(params.rate, 1, Share{}, context.rng.stream("schedule")), Credentials{}, params.timeout, enough_in_flight(params.rate, params.timeout)};
  return make_load_probe(std::move(context), plan, [command = params.command](Clock&, std::uint64_t) { return std::make_unique<ExecTransport>(command); });
}

const std::vector<MeasureInfo>& measures() {
  static const std::vector<MeasureInfo> infos =
      load_measures({"success_ratio", "latency.p50", "latency.p90", "latency.p99", "latency.max", "latency_from_send.p50", "latency_from_send.p90", "latency_from_send.p99", "latency_from_send.max", "denied", "timed_out", "broken", "not_sent", "send_late.p99"});
  return infos;
}

}  // namespace

const ProbeType& exec_probe() {
  static const ProbeType type = {
      .name = "exec",
      .doc = "Runs a command now and then: exit code 0 is a success",
      .target_type = "",
      .spec = []() -> const AnySpec& { return exec_spec(); },
      .example = {{"probe", "exec"}, {"command", {"/usr/lib/nagios/plugins/check_ldap", "-H", "directory.staging", "-b", "dc=staging"}}},
      .measures = measures,
      .make = make,
      .measure = measure_load,
  };
  return type;
}

}  // namespace capsize
