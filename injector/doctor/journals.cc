// The undo journals of capsize: what its runs still owe on this host.
#include <fmt/format.h>

#include <algorithm>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"
#include "injector/targets/process_identity.h"

namespace capsize {
namespace {

void look(const Surroundings& here, Examination& examination) {
  try {
    const auto state = StateDir::open_existing(here.options.state);
    if (!state) return;
    const auto journals = list_journals(*state, boot_id());
    for (const JournalStatus& journal : journals) {
      auto found = judge_journal(journal);
      std::move(found.begin(), found.end(), std::back_inserter(examination.findings));
    }
    examination.looked_at.push_back(fmt::format("{} undo journals", journals.size()));
  } catch (const Error& error) {
    examination.unseen.push_back({"the undo journals in " + here.options.state.string(), error.fact(), error.remedy()});
  }
}

}  // namespace

std::vector<Symptom> judge_journal(const JournalStatus& journal) {
  if (!journal.contents.outstanding()) return {};
  const auto owed = std::count_if(journal.contents.steps.begin(), journal.contents.steps.end(), [](const JournalStep& step) { return step.outstanding(); });
  const std::string run = printable(journal.run, 100);
  Symptom out;
  out.kind = "journal";
  out.where = printable(journal.path, 400);
  out.from = "capsize, run " + run;
  if (journal.holder == Holder::nobody) {
    out.severity = Gravity::harm;
    out.what = fmt::format("run {} is dead, and owes the undo of {} steps", run, owed);
    out.undo = "capsize revert " + shell_word(journal.run);
    if (journal.contents.damaged()) {
      out.what = fmt::format("the journal of run {} is damaged: what it owes is not fully known", run);
      out.advice = printable(journal.contents.damage, 400);
    }
  } else {
    out.severity = Gravity::held;
    out.what = fmt::format("run {} {} {} steps now", run, journal.holder == Holder::in_progress ? "is in progress and holds" : "is being reverted and owes", owed);
    if (is_sealed(journal)) out.what = fmt::format("run {} is in progress and holds something that is sealed until its end", run);
    if (journal.holder == Holder::in_progress) out.undo = "capsize stop " + shell_word(journal.run);
    else out.advice = "its guard, or a `capsize revert`, is at work: look again in some seconds";
  }
  return {out};
}

DoctorCheck check_journals() { return {"journals", "what runs of capsize still owe, dead or in progress", look, nullptr}; }

}  // namespace capsize
