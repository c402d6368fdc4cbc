// Processes that stand still, that somebody interferes with, or that interfere with others for a living.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"
#include "injector/targets/process_identity.h"

namespace capsize {
namespace {

// Programs that inject faults, by the name of their file.
const std::set<std::string>& chaos_programs() {
  static const std::set<std::string> names = {"toxiproxy-server", "toxiproxy", "pumba",  "chaosd",      "chaos-daemon", "chaos_os", "chaos_burncpu", "chaos_burnmem", "chaos_fillmem",
                                              "chaos_burnio",     "blade",     "toda",   "stress-ng",   "stress",       "gremlind", "comcast",       "charybdefs",    "blockade",
                                              "chaos-injector",   "memStress", "muxy",   "xk6-disruptor-agent"};
  return names;
}

bool is_debugger(const SeenProcess& process) {
  static const std::set<std::string> names = {"gdb", "gdbserver", "strace", "ltrace", "lldb", "lldb-server", "rr", "dlv", "perf"};
  return names.count(process.program) > 0 || names.count(process.name) > 0;
}

std::string place_of(const SeenProcess& process) {
  const std::string container = container_of(process.cgroup);
  return container.empty() ? process.cgroup : "container " + container;
}

std::string program_of(const SeenProcess& process) {
  if (chaos_programs().count(process.program) > 0) return process.program;
  if (process.words.empty()) return "";
  const std::string& first = process.words.front();
  const std::string name = first.substr(first.rfind('/') + 1);
  return process.program.empty() && chaos_programs().count(name) > 0 ? name : "";
}

Symptom stopped(const SeenProcess& process, bool by_capsize) {
  Symptom out;
  out.kind = "process.stopped";
  out.severity = process.has_terminal && !by_capsize ? Gravity::suspect : Gravity::harm;
  out.what = describe(process) + " is stopped by a signal and does not run";
  out.where = place_of(process);
  if (by_capsize) out.from = "capsize (process.pause with method sigstop)";
  out.undo = fmt::format("kill -CONT {}", process.pid);
  if (out.severity == Gravity::suspect) out.advice = "it has a terminal: somebody may have suspended it there (Ctrl-Z)";
  return out;
}

Symptom traced(const SeenProcess& process, const SeenProcess* tracer) {
  Symptom out;
  out.kind = "process.traced";
  out.where = place_of(process);
  const bool by_capsize = tracer != nullptr && tracer->program == "capsize";
  out.severity = by_capsize ? Gravity::held : Gravity::suspect;
  out.what = describe(process) + " stands still, held by " +
             (tracer != nullptr ? describe(*tracer) : process.tracer != 0 ? fmt::format("process {}", process.tracer) : std::string("a process that cannot be seen from here"));
  if (by_capsize) out.from = "capsize (process.pause)";
  if (process.tracer != 0) out.undo = fmt::format("kill {}", process.tracer);
  if (by_capsize) out.advice = "a run in progress lets it go by itself; to end it now rather use `capsize status` and `capsize stop RUN`";
  else if (tracer != nullptr && is_debugger(*tracer)) out.advice = "somebody may be debugging it";
  return out;
}

std::optional<Symptom> tampered(const SeenProcess& process, const SeenProcess* tracer) {
  if (tracer == nullptr || tracer->program != "strace") return std::nullopt;
  const auto injects = [](const std::string& word) { return word.find("inject=") != std::string::npos || word.starts_with("fault="); };
  if (std::none_of(tracer->words.begin(), tracer->words.end(), injects)) return std::nullopt;
  Symptom out;
  out.kind = "process.tampered";
  out.severity = Gravity::harm;
  out.what = fmt::format("system calls of {} are tampered with by {}", describe(process), describe(*tracer));
  out.where = place_of(process);
  out.from = "strace with -e inject";
  out.undo = fmt::format("kill {}", tracer->pid);
  return out;
}

Symptom preloaded(const SeenProcess& process) {
  Symptom out;
  out.kind = "process.faketime";
  out.severity = Gravity::harm;
  out.what = fmt::format("{} was started with libfaketime: it may be told a wrong time", describe(process));
  out.where = place_of(process);
  out.from = "libfaketime";
  out.advice = fmt::format("restart it without LD_PRELOAD={}", printable(process.preload, 200));
  return out;
}

Symptom chaos_tool(const SeenProcess& process, const std::string& program) {
  Symptom out;
  out.kind = "process.tool";
  out.severity = Gravity::suspect;
  out.what = fmt::format("{} is a tool that injects faults, and runs", describe(process));
  out.where = place_of(process);
  out.from = printable(program, 64);
  out.undo = fmt::format("kill {}", process.pid);
  out.advice = program.starts_with("toxiproxy") ? "what goes through it is broken off: its toxics alone end with POST /reset to its API (127.0.0.1:8474 by default)" : "ask it to undo what it did first: what it injected may stay when it is killed";
  return out;
}

// The processes that process.stop has marked as stopped by it, as (pid, start).
std::set<std::pair<int, std::uint64_t>> stopped_by_capsize(const std::filesystem::path& state) {
  std::set<std::pair<int, std::uint64_t>> out;
  std::string begin;
  try {
    begin = "stopped-" + boot_id() + "-";
  } catch (const Error&) {
    return out;
  }
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(state / "marks", problem)) {
    const std::string name = entry.path().filename().string();
    int pid = 0;
    unsigned long long start = 0;
    if (name.starts_with(begin) && std::sscanf(name.c_str() + begin.size(), "%d-%llu-", &pid, &start) == 2) out.emplace(pid, start);
  }
  return out;
}

void look(const Surroundings& here, Examination& examination) {
  const auto marked = stopped_by_capsize(here.options.state);
  for (const SeenProcess& process : here.processes) {
    auto found = judge_process(process, here.process(process.tracer), marked.count({process.pid, process.start_ticks}) > 0);
    std::move(found.begin(), found.end(), std::back_inserter(examination.findings));
  }
}

}  // namespace

std::vector<Symptom> judge_process(const SeenProcess& process, const SeenProcess* tracer, bool by_capsize) {
  std::vector<Symptom> out;
  if (process.kernel_thread || process.state == 'Z' || process.state == 'X') return out;
  if (process.state == 'T') out.push_back(stopped(process, by_capsize));
  if (auto finding = tampered(process, tracer)) out.push_back(std::move(*finding));
  else if (process.state == 't') out.push_back(traced(process, tracer));
  if (process.preload.find("faketime") != std::string::npos) out.push_back(preloaded(process));
  if (const std::string program = program_of(process); !program.empty()) out.push_back(chaos_tool(process, program));
  return out;
}

DoctorCheck check_processes() {
  return {"processes", "stopped and traced processes with who holds them, false clocks (libfaketime), injected system call errors, chaos tools that run", look, nullptr};
}

}  // namespace capsize
