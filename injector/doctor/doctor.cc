// THE table of checks. Adding one is one file here, one test, one line.
#include "injector/doctor/doctor.h"

#include "injector/base/error.h"

namespace capsize {

const std::vector<DoctorCheck>& doctor_checks() {
  static const std::vector<DoctorCheck> table = {
      check_journals(), check_disciplines(), check_rules(), check_processes(), check_cgroups(), check_files(), check_balancers(),
  };
  return table;
}

Task<Examination> examine(Clock& clock, DoctorOptions options) {
  Examination out;
  const Surroundings here = look_around(clock, std::move(options), out);
  for (const DoctorCheck& check : doctor_checks()) {
    std::string problem;
    try {
      if (check.look != nullptr) {
        check.look(here, out);
      } else {
        co_await check.ask(here, out);
      }
    } catch (const Error& error) {
      problem = error.what();
    }
    if (!problem.empty()) out.unseen.push_back({std::string(check.name), problem, ""});
  }
  mark_held(out.findings);
  sort_by_severity(out.findings);
  co_return out;
}

}  // namespace capsize
