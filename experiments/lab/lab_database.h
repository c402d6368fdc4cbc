// The lab's database: a PostgreSQL cluster of its own in the lab's folder, on loopback, with the users of the lab in it. It lives and dies
// with the lab, so nothing of it is ever synced to disk.
//
// PostgreSQL refuses to run as root. A lab of root's runs it as the user `postgres`, who may not enter the lab's folder (0700, as may be
// those above): the programs are handed the cluster's folder as an open descriptor and called with /proc/self/fd/N.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "experiments/lab/child_process.h"
#include "injector/base/unique_fd.h"

namespace capsize {

inline constexpr const char* kDatabaseRole = "auth";

// Whom the database runs as: nobody else, unless we are root. Throws Error (unavailable) when root finds no user for it.
std::optional<LabUser> database_user();

// Throws Error (unavailable) naming the package when PostgreSQL is not installed.
std::filesystem::path postgresql_programs();

// The statements that fill the database, one a line: the users of the lab, and the role that reads them. Takes about half a second of CPU.
std::string database_contents(const std::string& password);

class LabDatabase {
 public:
  // Makes the folders. Throws Error: refused when something that is not ours is in the way.
  explicit LabDatabase(const std::filesystem::path& lab);

  // In this order: the first two run to their end, the third stays.
  LabCommand make_cluster() const;
  LabCommand fill(int statements) const;  // a descriptor to read them from
  void configure() const;                 // who may come, and what a database of a lab can do without
  LabCommand serve(int port, int connections) const;

 private:
  LabCommand command(const std::string& program, const std::vector<std::string>& options) const;

  std::filesystem::path programs_;
  std::optional<LabUser> user_;
  std::filesystem::path folder_;
  UniqueFd cluster_;
};

// Removes the database of this lab, if it is one of ours, with the shared memory that one killed left behind. It must have ended.
void remove_lab_database(const std::filesystem::path& lab);

}  // namespace capsize
