#include "injector/host/remote_host.h"

#include <fmt/format.h>

#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/host/agent_link.h"

namespace capsize {
namespace {

constexpr Duration kEndLimit = std::chrono::seconds(5);       // for the agent to end when its run is over
constexpr Duration kConfirmMargin = std::chrono::seconds(15);  // beyond the lease, for a far agent to notice, and a guard to finish
constexpr Duration kConfirmPause = std::chrono::milliseconds(300);

Json request(const char* what) { return {{"do", what}}; }

std::vector<UndoReport> reports_from(const Json& json) {
  std::vector<UndoReport> reports;
  if (!json.is_array()) throw Error(ErrorKind::bug, "the agent's reports are not a list");
  for (const Json& report : json) reports.push_back(undo_report_from_json(report));
  return reports;
}

UndoReport report_of(const StepId& step, UndoState state, std::string because, std::string remedy) {
  UndoReport report;
  report.step = step;
  report.result.state = state;
  report.result.because = std::move(because);
  report.result.remedy = std::move(remedy);
  return report;
}

}  // namespace

std::vector<std::string> agent_command(const std::vector<std::string>& via, const std::string& state) {
  std::vector<std::string> command = via;
  command.push_back(via.empty() ? "/proc/self/exe" : "capsize");
  command.push_back("agent");
  if (!state.empty()) {
    command.push_back("--state");
    command.push_back(state);
  }
  return command;
}

struct RemoteHost::Impl {
  Impl(Clock& clock_, RemoteHostOptions options_, std::unique_ptr<AgentLink> link_)
      : clock(clock_), options(std::move(options_)), link(std::move(link_)) {}

  Clock& clock;
  RemoteHostOptions options;
  std::unique_ptr<AgentLink> link;
  std::vector<StepId> owed;  // oldest first: asked to be injected, and not known to be undone
  std::map<StepId, UndoReport> told;  // what the agent undid by itself, from its notices

  void settle_step(const UndoReport& report) {
    if (report.result.state == UndoState::undone || report.result.state == UndoState::nothing_to_undo) std::erase(owed, report.step);
  }

  void remember(const Json& notice) {
    Json reports = notice.value("reports", Json::array());
    if (notice.contains("report")) reports.push_back(notice["report"]);
    for (UndoReport& report : reports_from(reports)) told[report.step] = std::move(report);
  }

  static Task<UndoReport> undo(std::shared_ptr<Impl> self, StepId id);
  static Task<std::vector<UndoReport>> undo_all(std::shared_ptr<Impl> self);
  static Task<std::vector<UndoReport>> confirm(std::shared_ptr<Impl> self);
  static Task<> close(std::shared_ptr<Impl> self);
};

// What became of the run's journal, from an agent started to ask. Reports by step of what this host still owes, newest first.
Task<std::vector<UndoReport>> RemoteHost::Impl::confirm(std::shared_ptr<Impl> self) {
  const TimePoint end = self->clock.now() + self->options.lease + kConfirmMargin;
  std::string problem;
  std::map<StepId, UndoReport> known = self->told;
  bool answered = false;
  while (!answered && self->clock.now() < end) {
    Json question = request("revert");
    question["run"] = self->options.run;
    auto asking = ask_agent(self->clock, self->options.command, question, self->options.hello_limit, self->options.request_limit);
    const auto answer = co_await settle(std::move(asking));
    if (answer->value) {
      for (UndoReport& report : reports_from(*answer->value)) known[report.step] = std::move(report);
      answered = true;
      break;
    }
    try {
      std::rethrow_exception(answer->error);
    } catch (const std::exception& error) {
      problem = error.what();
    }
    co_await self->clock.sleep(kConfirmPause);
  }
  std::vector<UndoReport> reports;
  const std::string how = "run there: capsize revert " + self->options.run;
  const std::vector<StepId> owed = self->owed;
  for (auto step = owed.rbegin(); step != owed.rend(); ++step) {
    if (known.contains(*step)) {
      reports.push_back(known[*step]);
    } else if (answered) {
      reports.push_back(report_of(*step, UndoState::nothing_to_undo, "the agent is gone, and no journal there owes it: it was undone, or never injected", ""));
    } else {
      reports.push_back(report_of(*step, UndoState::failed, "the agent is gone; its guard undoes this, but nobody could confirm it: " + problem, how));
    }
    self->settle_step(reports.back());
  }
  if (known.contains("journal")) reports.push_back(known["journal"]);
  co_return reports;
}

Task<std::vector<UndoReport>> RemoteHost::Impl::undo_all(std::shared_ptr<Impl> self) {
  if (!self->link->lost()) {
    auto asking = self->link->ask(request("undo_all"), Duration{});
    const auto answer = co_await settle(std::move(asking));
    if (answer->value) {
      const std::vector<UndoReport> reports = reports_from(*answer->value);
      self->owed.clear();
      for (const UndoReport& report : reports) self->owed.insert(self->owed.begin(), report.step);
      for (const UndoReport& report : reports) self->settle_step(report);
      co_return reports;
    }
    if (!self->link->lost()) std::rethrow_exception(answer->error);
  }
  if (self->owed.empty()) co_return std::vector<UndoReport>();
  const auto reports = co_await confirm(self);
  co_return reports;
}

Task<UndoReport> RemoteHost::Impl::undo(std::shared_ptr<Impl> self, StepId id) {
  if (!self->link->lost()) {
    Json question = request("undo");
    question["step"] = id;
    auto asking = self->link->ask(question, Duration{});
    const auto answer = co_await settle(std::move(asking));
    if (answer->value) {
      const UndoReport report = undo_report_from_json(*answer->value);
      self->settle_step(report);
      co_return report;
    }
    if (!self->link->lost()) std::rethrow_exception(answer->error);
  }
  const auto reports = co_await confirm(self);
  for (const UndoReport& report : reports) {
    if (report.step == id) co_return report;
  }
  co_return report_of(id, UndoState::nothing_to_undo, "it was undone before, or never injected here", "");
}

Task<> RemoteHost::Impl::close(std::shared_ptr<Impl> self) {
  if (self->link->lost()) co_return;
  auto asking = self->link->ask(request("close"), self->options.request_limit);
  const auto answer = co_await settle(std::move(asking));
  co_await self->link->end(kEndLimit);
  if (answer->error) std::rethrow_exception(answer->error);
}

RemoteHost::RemoteHost(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {
  impl_->link->on_notice([this](Json notice) {
    impl_->remember(notice);
    if (on_notice) on_notice(std::move(notice));
  });
  impl_->link->on_lost([this](const std::string& because) {
    Json notice = {{"what", "agent_lost"}, {"because", because}};
    if (on_notice) on_notice(std::move(notice));
  });
}

RemoteHost::~RemoteHost() {
  impl_->link->on_notice(nullptr);
  impl_->link->on_lost(nullptr);
}

Task<std::unique_ptr<RemoteHost>> RemoteHost::start(Clock& clock, RemoteHostOptions options) {
  auto link = co_await AgentLink::start(clock, options.command, options.hello_limit);
  Json begin = request("begin");
  begin["run"] = options.run;
  begin["lease_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(options.lease).count();
  auto asking = link->ask(begin, options.request_limit);
  const auto begun = co_await settle(std::move(asking));
  if (begun->error) {
    co_await link->end(kEndLimit);
    std::rethrow_exception(begun->error);
  }
  link->keep_alive(options.lease);
  const auto impl = std::make_shared<Impl>(clock, std::move(options), std::move(link));
  co_return std::unique_ptr<RemoteHost>(new RemoteHost(impl));
}

Task<> RemoteHost::claim(std::vector<TargetHere> targets) {
  const auto impl = impl_;
  Json question = request("claim");
  question["targets"] = Json::array();
  for (const TargetHere& target : targets) question["targets"].push_back({{"name", target.name}, {"type", target.type}, {"params", target.params}});
  co_await impl->link->ask(question, impl->options.request_limit);
}

Task<Json> RemoteHost::inspect(Op query) {
  const auto impl = impl_;
  Json question = request("inspect");
  question["op"] = to_json(query);
  auto answer = co_await impl->link->ask(question, impl->options.request_limit);
  co_return answer;
}

Task<Json> RemoteHost::apply(StepId id, Step step, Duration lifetime) {
  const auto impl = impl_;
  Json question = request("apply");
  question["step"] = id;
  question["plan"] = to_json(step);
  question["lifetime_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(lifetime).count();
  impl->owed.push_back(id);
  auto answer = co_await impl->link->ask(question, impl->options.request_limit);
  co_return answer;
}

Task<UndoReport> RemoteHost::undo(StepId id) { return uncancelled(Impl::undo(impl_, std::move(id))); }

Task<std::vector<UndoReport>> RemoteHost::undo_all() { return uncancelled(Impl::undo_all(impl_)); }

Task<> RemoteHost::close() { return uncancelled(Impl::close(impl_)); }

const Json& RemoteHost::hello() const { return impl_->link->hello(); }

Task<Json> ask_agent(Clock& clock, std::vector<std::string> command, Json request, Duration hello_limit, Duration limit) {
  auto link = co_await AgentLink::start(clock, std::move(command), hello_limit);
  auto asking = link->ask(std::move(request), limit);
  const auto answer = co_await settle(std::move(asking));
  co_await link->end(kEndLimit);
  if (answer->error) std::rethrow_exception(answer->error);
  co_return std::move(*answer->value);
}

}  // namespace capsize
