#include "experiments/cli/run_outputs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "experiments/cli/control.h"
#include "experiments/cli/run_folder.h"
#include "experiments/history/history.h"
#include "experiments/report/junit.h"
#include "experiments/report/metrics.h"
#include "experiments/report/webhook.h"
#include "injector/base/diagnostics.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kForAll = 0644;  // who reads these files runs as somebody else

// The verdict stands and everything is undone: what fails from here on is only told.
void try_to(const std::string& what, const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& problem) {
    warn(what, problem.what());
  }
}

void check_writable(const char* flag, const std::string& file) {
  if (file.empty()) return;
  const fs::path path = fs::absolute(file);
  const fs::path folder = path.parent_path();
  const fs::file_status there = fs::symlink_status(path);
  if (fs::is_directory(there)) throw Error(ErrorKind::unavailable, fmt::format("{}: {} is a folder", flag, file), "name a file in it");
  if (fs::exists(there) && !fs::is_regular_file(there)) throw Error(ErrorKind::unavailable, fmt::format("{}: {} is there and is no regular file", flag, file), "name a file: it is replaced");
  if (!fs::is_directory(folder)) throw Error(ErrorKind::unavailable, fmt::format("{}: there is no folder {}", flag, folder.string()), "make it, or name another");
  if (::access(folder.c_str(), W_OK) != 0) throw Error(ErrorKind::privilege, fmt::format("{}: the folder {} may not be written to", flag, folder.string()), "name another, or run as who may");
}

double now_in_seconds() { return static_cast<double>(SystemClock().wall().time_since_epoch().count()) / 1000; }

void post(const RunOutputs& outputs, const Json& message) {
  try_to("--webhook", [&] {
    SystemClock clock;
    StopSource stop;
    const Url url = webhook_url(outputs.webhook);
    TlsOptions tls;
    tls.ca_file = outputs.webhook_ca;
    const auto work = [&]() -> Task<> {
      co_await post_webhook(clock, url, message, tls);
    };
    run_control(stop, work);
  });
}

}  // namespace

void warn(const std::string& what, const std::string& problem) {
  std::fputs(fmt::format("capsize: warning: {}: {}\n", what, printable(problem, 1000)).c_str(), stderr);
}

void RunOutputs::add_to(CLI::App& command) {
  command.add_option("--junit", junit, "also write junit.xml to this file, for a CI server; also when the run ends without a verdict");
  command.add_option("--metrics", metrics, "write outcome, recovery time, success ratio, residue and end of the run to this file (FILE.prom), for the node exporter's textfile collector");
  command.add_option("--webhook", webhook, "POST the outcome to this URL as JSON that Slack takes, too; CAPSIZE_WEBHOOK keeps it out of the list of processes")->envname("CAPSIZE_WEBHOOK");
  command.add_option("--webhook-ca", webhook_ca, "PEM file of the authorities that the webhook's server is proved by, instead of the system's")->check(CLI::ExistingFile);
}

void RunOutputs::check() const {
  check_writable("--junit", junit);
  check_writable("--metrics", metrics);
  if (!webhook.empty()) webhook_url(webhook);
}

void RunOutputs::write(const CliContext& context, const std::string& playbook_file, const FinishedRun& run) const {
  try_to("the run is missing in the history", [&] {
    auto history = History::open_or_make(history_file(context.state_dir()));
    history.add(record_of(playbook_file, run.playbook, run.verdict, fs::absolute(run.folder).string()));
  });
  const std::string name = playbook_key(playbook_file);
  if (!junit.empty()) try_to("--junit", [&] { write_whole(junit, junit_report(run.verdict), kForAll); });
  if (!metrics.empty()) try_to("--metrics", [&] { write_whole(metrics, metrics_report(name, run.playbook, run.events, run.verdict, now_in_seconds()), kForAll); });
  if (!webhook.empty()) post(*this, webhook_message(run.verdict, name, fs::absolute(run.folder).string()));
}

void RunOutputs::write_no_run(const std::string& playbook_file, int code, const std::string& because) const {
  const std::string name = playbook_key(playbook_file);
  if (!junit.empty()) try_to("--junit", [&] { write_whole(junit, junit_of_no_run(name, code, because), kForAll); });
  if (!metrics.empty()) try_to("--metrics", [&] { write_whole(metrics, metrics_of_no_run(name, code, now_in_seconds()), kForAll); });
  if (!webhook.empty()) post(*this, webhook_of_no_run(name, code, because));
}

}  // namespace capsize
