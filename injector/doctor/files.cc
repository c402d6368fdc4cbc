// What chaos tools leave in files and mounts: false names, file systems laid over a directory, network namespaces of our own.
#include <fmt/format.h>

#include "injector/base/diagnostics.h"
#include "injector/doctor/doctor.h"
#include "injector/doctor/judge.h"

namespace capsize {
namespace {

constexpr const char* kHosts = "/etc/hosts";
constexpr const char* kPreload = "/etc/ld.so.preload";

bool names_chaos(const std::string& text) {
  for (const char* word : {"chaos", "toda", "charybde", "capsize"}) {
    if (text.find(word) != std::string::npos) return true;
  }
  return false;
}

std::optional<Symptom> judge_preload(const std::string& text) {
  if (text.find("faketime") == std::string::npos) return std::nullopt;
  Symptom out;
  out.kind = "file.preload";
  out.severity = Gravity::harm;
  out.what = "every program that is started here is started with libfaketime, which may tell it a wrong time";
  out.where = kPreload;
  out.from = "libfaketime";
  out.undo = fmt::format("sed -i /faketime/d {}", kPreload);
  return out;
}

void look(const Surroundings&, Examination& examination) {
  const auto take = [&examination](std::vector<Symptom> found) { std::move(found.begin(), found.end(), std::back_inserter(examination.findings)); };
  take(judge_mounts(read_mounts()));
  const auto hosts = read_file(kHosts, kLongList);
  if (hosts) take(judge_hosts_file(*hosts, kHosts));
  if (const auto finding = judge_preload(read_file(kPreload).value_or(""))) take({*finding});
}

}  // namespace

std::vector<Symptom> judge_mounts(const std::vector<MountLine>& mounts) {
  std::vector<Symptom> out;
  for (const MountLine& mount : mounts) {
    const std::string name = mount.path.substr(mount.path.rfind('/') + 1);
    Symptom finding;
    finding.where = printable(mount.path, 400);
    finding.undo = "umount " + shell_word(mount.path);
    if (mount.type.starts_with("fuse") && (names_chaos(mount.type) || names_chaos(mount.source))) {
      finding.kind = "mount.faults";
      finding.severity = Gravity::harm;
      finding.what = fmt::format("a file system of a chaos tool ({}) is laid over a directory: it may delay or fail what is read and written there", printable(mount.type, 64));
      finding.from = printable(mount.source, 64);
      finding.undo = "umount -l " + shell_word(mount.path);
    } else if (mount.type == "nsfs" && (name.starts_with("capsize_") || name.starts_with("cpz"))) {
      finding.kind = "network.left";
      finding.severity = Gravity::leftover;
      finding.what = "a network namespace was left";
      finding.from = "capsize, by its name";
      finding.undo = mount.path.starts_with("/run/netns/") ? "ip netns del " + shell_word(name) : finding.undo;
    } else {
      continue;
    }
    out.push_back(std::move(finding));
  }
  return out;
}

std::vector<Symptom> judge_hosts_file(std::string_view text, const std::string& path) {
  constexpr std::string_view kMark = "#chaosblade";
  if (text.find(kMark) == std::string_view::npos) return {};
  Symptom out;
  out.kind = "file.hosts";
  out.severity = Gravity::harm;
  out.what = "names are given false addresses";
  out.where = path;
  out.from = "ChaosBlade, by its mark";
  out.undo = fmt::format("sed -i {} {}", shell_word(fmt::format("/{}/d", kMark)), shell_word(path));
  return {out};
}

DoctorCheck check_files() {
  return {"files and mounts", "false names in /etc/hosts, libfaketime in /etc/ld.so.preload, FUSE file systems of chaos tools, network namespaces that capsize left", look, nullptr};
}

}  // namespace capsize
