#include "injector/undo/reverter.h"

#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"
#include "injector/base/param_types.h"
#include "injector/base/settle.h"
#include "injector/base/within.h"

namespace capsize {
namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(100);
constexpr Duration kLongestPause = std::chrono::seconds(2);

UndoResult failed(std::string because, std::string remedy) {
  UndoResult result;
  result.because = std::move(because);
  result.remedy = std::move(remedy);
  return result;
}

UndoResult failed_with(const std::string& op, const std::exception_ptr& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (const Error& error) {
    return failed(fmt::format("{}: {}", op, error.fact()), error.remedy());
  } catch (const std::exception& error) {
    return failed(fmt::format("{}: {}", op, error.what()), "look at what is there, and run capsize revert again");
  }
}

Task<UndoResult> attempt(const OpType* type, Op undo, Duration limit, OpContext& context) {
  auto work = within<UndoResult>(context.clock, limit, type->undo(undo.args, context));
  const auto settled = co_await settle(std::move(work));
  if (settled->error) co_return failed_with(undo.type, settled->error);
  if (!*settled->value) {
    co_return failed(fmt::format("{}: no answer within {}", undo.type, show(limit)), "see whether what it talks to is alive, and run capsize revert again");
  }
  co_return **settled->value;
}

bool died_with_the_boot(const JournalContents& contents, const JournalStep& step, const std::string& boot) {
  return contents.run && !boot.empty() && contents.run->boot_id != boot && step.lasts != Lasts::persistent;
}

UndoResult restarted(Lasts lasts) {
  UndoResult result;
  result.state = UndoState::nothing_to_undo;
  result.because = fmt::format("the machine was restarted, and this lasts {}", to_string(lasts));
  return result;
}

UndoReport unknown_rest(const Journal& journal) {
  UndoReport report;
  report.step = "journal";
  report.result = failed(fmt::format("the undo journal of run {} is damaged ({}): what could be read was undone, what could not be read is unknown",
                                     journal.run(), journal.contents().damage),
                         fmt::format("read the journal, look at the targets it names, then: capsize revert {} --accept", journal.run()));
  return report;
}

}  // namespace

Task<UndoResult> undo_op(Op undo, RevertOptions options, OpContext context) {
  const OpType* type = options.find(undo.type);
  if (type == nullptr || type->undo == nullptr) {
    co_return failed(fmt::format("this capsize ({}) does not know the undo {}", CAPSIZE_VERSION, undo.type), "run capsize revert with the version that injected it");
  }
  Duration pause = kFirstPause;
  UndoResult result;
  for (int left = options.attempts; left > 0; --left) {
    result = co_await attempt(type, undo, options.limit, context);
    if (result.state != UndoState::failed || left == 1) break;
    co_await context.clock.sleep(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
  co_return result;
}

Task<std::vector<UndoReport>> revert_journal(Journal& journal, Clock& clock, RevertOptions options) {
  std::map<StepId, UndoReport> reports;
  const TimePoint end = clock.now() + options.persist;
  for (bool first = true;; first = false) {
    bool retry = false;
    std::vector<JournalStep> steps = journal.contents().steps;
    std::reverse(steps.begin(), steps.end());
    for (const JournalStep& step : steps) {
      const bool again = options.again && first && step.accepted.empty();
      if (!step.outstanding() && !again) continue;
      UndoReport report;
      report.step = step.id;
      if (died_with_the_boot(journal.contents(), step, options.boot_id)) {
        report.result = restarted(step.lasts);
      } else {
        const OpContext context = {clock, {}, {}};
        report.result = co_await undo_op(step.undo, options, context);
      }
      // A second look that finds nothing does not take back that something was undone.
      if (again && !step.outstanding() && report.result.state == UndoState::nothing_to_undo) continue;
      journal.record_result(step.id, report.result, iso8601(clock.wall()));
      if (report.result.state == UndoState::failed) retry = true;
      reports[step.id] = report;
    }
    if (!retry || clock.now() >= end) break;
    co_await clock.sleep(kLongestPause);
  }
  std::vector<UndoReport> answer;
  const std::vector<JournalStep>& steps = journal.contents().steps;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const auto report = reports.find(step->id);
    if (report != reports.end()) answer.push_back(report->second);
  }
  if (journal.contents().damaged()) answer.push_back(unknown_rest(journal));
  co_return answer;
}

std::vector<UndoReport> reports_of(const JournalContents& contents) {
  std::vector<UndoReport> reports;
  for (const JournalStep& step : contents.steps) {
    UndoReport report;
    report.step = step.id;
    if (!step.accepted.empty()) {
      report.result.state = UndoState::nothing_to_undo;
      report.result.because = "an operator accepted what is there: " + step.accepted;
    } else if (step.result) {
      report.result = *step.result;
    } else {
      report.result.because = "it has not been undone yet";
      report.result.remedy = "run capsize revert";
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

bool any_left(const std::vector<UndoReport>& reports) {
  return std::any_of(reports.begin(), reports.end(), [](const UndoReport& report) {
    return report.result.state == UndoState::refused || report.result.state == UndoState::failed;
  });
}

}  // namespace capsize
