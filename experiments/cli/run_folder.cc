#include "experiments/cli/run_folder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <random>
#include <sstream>

#include "experiments/report/html.h"
#include "experiments/report/junit.h"
#include "experiments/report/markdown.h"
#include "experiments/report/postmortem.h"
#include "injector/base/error.h"
#include "injector/base/unique_fd.h"
#include "injector/targets/process_identity.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kPrivate = 0600;

void make_private_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder.parent_path(), error);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) throw system_error(errno, fmt::format("cannot make the folder {}", folder.string()), "choose another with --out or --state");
}

std::string slug(const std::string& file) {
  std::string out;
  for (const char c : fs::path(file).stem().string()) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) out += c;
    else if (!out.empty() && out.back() != '-') out += '-';
    if (out.size() >= 40) break;
  }
  return out.empty() ? "run" : out;
}

fs::path in_progress_folder(const fs::path& state) { return state / "in-progress"; }

}  // namespace

std::string new_run_id(WallTime now, const std::string& playbook_file) {
  const auto since = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  std::random_device random;
  return fmt::format("{:%Y%m%d-%H%M%S}-{}-{:04x}", fmt::gmtime(static_cast<std::time_t>(since)), slug(playbook_file), random() & 0xffffu);
}

fs::path make_run_folder(const fs::path& state, const std::string& run, const std::string& out) {
  const fs::path folder = out.empty() ? state / "runs" / run : fs::path(out);
  if (out.empty()) make_private_folder(state / "runs");
  make_private_folder(folder);
  if (fs::exists(folder / "timeline.jsonl")) throw Error(ErrorKind::refused, fmt::format("{} already holds a run", folder.string()), "choose another folder with --out");
  return folder;
}

fs::path find_run_folder(const fs::path& state, const std::string& run_or_folder) {
  for (const fs::path& candidate : {fs::path(run_or_folder), state / "runs" / run_or_folder}) {
    if (fs::exists(candidate / "timeline.jsonl")) return candidate;
  }
  throw Error(ErrorKind::unavailable, fmt::format("there is no run \"{}\"", printable(run_or_folder)), fmt::format("name the folder of a run, or one of {}", (state / "runs").string()));
}

void write_whole(const fs::path& file, const std::string& text, mode_t mode) {
  const fs::path temporary = fmt::format("{}.{}.new", file.string(), ::getpid());
  ::unlink(temporary.c_str());  // of a process that died
  {
    UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kPrivate));
    if (!fd || (mode != kPrivate && ::fchmod(fd.get(), mode) != 0)) throw system_error(errno, fmt::format("cannot write {}", file.string()));
    std::size_t written = 0;
    while (written < text.size()) {
      const ssize_t count = ::write(fd.get(), text.data() + written, text.size() - written);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) throw system_error(errno, fmt::format("cannot write {}", file.string()));
      written += static_cast<std::size_t>(count);
    }
  }
  if (::rename(temporary.c_str(), file.c_str()) != 0) throw system_error(errno, fmt::format("cannot write {}", file.string()));
}

Json read_json(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) throw Error(ErrorKind::unavailable, fmt::format("cannot read {}", file.string()));
  Json json = Json::parse(text.str(), nullptr, false);
  if (json.is_discarded()) throw Error(ErrorKind::unavailable, fmt::format("{} is not JSON", file.string()));
  return json;
}

void write_reports(const fs::path& folder, const Json& playbook, const std::vector<Json>& events, const Json& verdict) {
  write_whole(folder / "verdict.json", verdict.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  write_whole(folder / "report.html", html_report(playbook, events, verdict));
  write_whole(folder / "junit.xml", junit_report(verdict));
  write_whole(folder / "report.md", markdown_report(playbook, events, verdict));
  const std::string draft = postmortem(playbook, events, verdict);
  // A draft that somebody has gone on from is never written over.
  if (!draft.empty() && !fs::exists(folder / "postmortem.md")) write_whole(folder / "postmortem.md", draft);
}

RunInProgress::RunInProgress(const fs::path& state, const std::string& run, const fs::path& folder) {
  make_private_folder(in_progress_folder(state));
  file_ = in_progress_folder(state) / (run + ".json");
  const Json entry = {{"run", run}, {"folder", fs::absolute(folder).string()}, {"process", to_json(own_identity())}};
  write_whole(file_, entry.dump() + "\n");
}

RunInProgress::~RunInProgress() {
  std::error_code ignored;
  fs::remove(file_, ignored);
}

Json runs_in_progress(const fs::path& state) {
  Json out = Json::array();
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(in_progress_folder(state), none)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream in(entry.path());
    const Json json = Json::parse(in, nullptr, false);
    if (!json.is_object() || !json.contains("process")) continue;
    const ProcessIdentity identity = process_identity_from_json(json["process"]);
    if (liveness(identity) != Liveness::alive) {
      std::error_code ignored;
      fs::remove(entry.path(), ignored);  // its runner was killed
      continue;
    }
    out.push_back({{"run", json.value("run", "")}, {"folder", json.value("folder", "")}, {"pid", identity.pid}, {"process", json["process"]}});
  }
  return out;
}

void stop_run(const fs::path& state, const std::string& run) {
  for (const Json& entry : runs_in_progress(state)) {
    if (entry.value("run", "") != run) continue;
    const ProcessIdentity identity = process_identity_from_json(entry["process"]);
    if (liveness(identity) != Liveness::alive || ::kill(identity.pid, SIGTERM) != 0) break;
    return;
  }
  throw Error(ErrorKind::unavailable, fmt::format("the run \"{}\" is not in progress here", printable(run)), "see `capsize status`");
}

}  // namespace capsize
