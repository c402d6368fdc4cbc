// capsize doctor [--haproxy SOCKET]...
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "experiments/cli/commands.h"
#include "experiments/cli/control.h"
#include "injector/base/diagnostics.h"
#include "injector/doctor/doctor.h"

namespace capsize {
namespace {

constexpr int kExitFound = 1;

constexpr const char* kBrief = "what any chaos tool has left on this host, and the command that undoes each; changes nothing";

std::string teaching() {
  std::string out =
      "It looks at what any tool that injects faults may have left on this host, capsize or another, and prints for each finding what it is, where,\n"
      "whose it seems to be, and the command that undoes it. It changes nothing and runs no command: read a command, then run it yourself.\n"
      "\n"
      "What it looks for:\n";
  for (const DoctorCheck& check : doctor_checks()) out += fmt::format("  {:<18} {}\n", check.name, check.doc);
  out +=
      "\n"
      "Findings come worst first:\n"
      "  harm       disturbs now, and looks like a fault\n"
      "  suspect    disturbs now, but may be on purpose: ask who runs this host\n"
      "  leftover   disturbs nothing any more\n"
      "  held       a run of capsize in progress holds it, and takes it away itself\n"
      "\n"
      "Root sees everything; what could not be looked at is listed as not seen. Exit code 0: nothing found; 1: something was.\n"
      "  capsize doctor --haproxy /run/haproxy/admin.sock    also asks this HAProxy for servers that were set aside\n"
      "  capsize --json doctor                               {\"clean\", \"complete\", \"findings\", \"not_seen\", \"looked_at\"}";
  return out;
}

// Colours only where a person reads them.
class Ink {
 public:
  Ink() : on_(::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr) {}
  std::string severity(Gravity severity) const {
    const std::string word = fmt::format("{:<9}", to_string(severity));
    if (!on_) return word;
    const char* colour = severity == Gravity::harm ? "31;1" : severity == Gravity::suspect ? "33;1" : severity == Gravity::held ? "36" : "34";
    return fmt::format("\x1b[{}m{}\x1b[0m", colour, word);
  }
  std::string command(const std::string& text) const { return on_ ? "\x1b[1m" + text + "\x1b[0m" : text; }

 private:
  bool on_;
};

void print_finding(const Symptom& finding, const Ink& ink) {
  const auto line = [](const char* name, const std::string& text) {
    if (!text.empty()) fmt::print("          {:<5} {}\n", name, text);
  };
  fmt::print("{} {}\n", ink.severity(finding.severity), printable(finding.what, 600));
  line("where", printable(finding.where, 600));
  line("from", printable(finding.from, 400));
  if (!finding.undo.empty()) line("undo", ink.command(printable(finding.undo, 4000)));
  line("note", printable(finding.advice, 600));
}

void print(const Examination& examination) {
  const Ink ink;
  if (examination.clean()) {
    fmt::print("{}\n", examination.unseen.empty() ? "Nothing found: no fault of any known tool is on this host." : "Nothing found in what could be looked at.");
  } else {
    fmt::print("{} on this host. Nothing was changed: read a command before you run it.\n\n",
               examination.findings.size() == 1 ? "1 finding" : fmt::format("{} findings", examination.findings.size()));
  }
  for (const Symptom& finding : examination.findings) print_finding(finding, ink);
  if (!examination.unseen.empty()) fmt::print("\nNot seen:\n");
  for (const Unseen& item : examination.unseen) {
    fmt::print("  {}: {}{}\n", printable(item.what, 300), printable(item.why, 600), item.remedy.empty() ? "" : "; " + printable(item.remedy, 300));
  }
  std::string looked_at;
  for (const std::string& item : examination.looked_at) looked_at += (looked_at.empty() ? "" : ", ") + printable(item, 200);
  fmt::print("\nLooked at {}.\n", looked_at);
}

int doctor(const std::vector<std::string>& haproxy_sockets, const CliContext& context) {
  SystemClock clock;
  StopSource stop;
  DoctorOptions options;
  options.haproxy_sockets = haproxy_sockets;
  options.state = context.state_dir();
  Examination examination;
  const auto work = [&]() -> Task<> {
    examination = co_await examine(clock, options);
  };
  run_control(stop, work);
  if (context.json) fmt::print("{}\n", to_json(examination).dump(-1, ' ', false, Json::error_handler_t::replace));
  else print(examination);
  return examination.clean() ? 0 : kExitFound;
}

}  // namespace

void add_doctor(CLI::App& app, CliContext& context) {
  auto sockets = std::make_shared<std::vector<std::string>>();
  auto* command = app.add_subcommand("doctor", kBrief);
  command->add_option("--haproxy", *sockets, "runtime API of an HAProxy to ask too: a path or host:port; may be repeated")->expected(1)->take_all();
  command->footer(teaching);
  command->callback([sockets, &context] { context.exit_code = doctor(*sockets, context); });
}

}  // namespace capsize
