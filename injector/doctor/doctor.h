// `capsize doctor`: what is left on this host by any tool that injects faults. It looks, and changes nothing.
#pragma once
#include <string_view>
#include <vector>

#include "injector/base/task.h"
#include "injector/doctor/surroundings.h"

namespace capsize {

// One line of the table; exactly one of look and ask is set. Both throw nothing of the world: what they cannot see goes to the
// examination as unseen.
struct DoctorCheck {
  std::string_view name;
  std::string_view doc;  // what it finds, for --help
  void (*look)(const Surroundings& here, Examination& examination) = nullptr;
  Task<> (*ask)(const Surroundings& here, Examination& examination) = nullptr;  // a conversation; both outlive it
};
const std::vector<DoctorCheck>& doctor_checks();  // THE table of checks

DoctorCheck check_journals();
DoctorCheck check_disciplines();
DoctorCheck check_rules();
DoctorCheck check_processes();
DoctorCheck check_cgroups();
DoctorCheck check_balancers();
DoctorCheck check_files();

// Throws Error when not even /proc can be read. Thread: control.
Task<Examination> examine(Clock& clock, DoctorOptions options);

}  // namespace capsize
