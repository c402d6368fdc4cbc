// The files of a lab's folder: which there are, how lab.json is written and read, which are left over.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/lab/child_process.h"
#include "injector/base/json.h"

namespace capsize {

inline constexpr const char* kLabFile = "lab.json";
inline constexpr const char* kDatabasePart = "database";
inline constexpr const char* kSupervisorLog = "supervisor.log";

// One process of the lab as lab.json tells of it.
struct LabPart {
  std::string name;     // "auth1", "haproxy", kDatabasePart
  std::string address;  // where it listens
  LabProcess process;
};

// Writes the whole file or none of it: to a temporary name first. Throws Error (unavailable, privilege).
void write_file(const std::filesystem::path& file, const std::string& text, unsigned mode = 0600);

std::optional<Json> read_lab_file(const std::filesystem::path& dir);  // nothing when there is none or it is not ours

std::optional<LabProcess> lab_supervisor(const Json& info);
std::vector<LabProcess> lab_processes(const Json& info);  // the supervisor first

std::string log_tail(const std::filesystem::path& file);  // its last lines, fit for a message

// Removes what a lab writes (with `logs` the logs too, and the folder when nothing else is in it), nothing else.
void remove_lab_files(const std::filesystem::path& dir, bool logs);

}  // namespace capsize
