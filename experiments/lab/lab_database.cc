#include "experiments/lab/lab_database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "experiments/lab/accounts.h"
#include "experiments/lab/lab_files.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder = "database";
constexpr const char* kMark = ".of-a-capsize-lab";  // only a folder with this in it is ever removed
constexpr const char* kCluster = "cluster";
constexpr const char* kDebianPrograms = "/usr/lib/postgresql";  // below: one folder a version
constexpr const char* kSuperuser = "capsize";                   // can't come in by the network, and has no password
constexpr int kShmIdLine = 7;                                   // of postmaster.pid: key and id of its shared memory

bool has_programs(const fs::path& folder) { return ::access((folder / "initdb").c_str(), X_OK) == 0 && ::access((folder / "postgres").c_str(), X_OK) == 0; }

std::string hex(const auto& bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

// PostgreSQL keeps a segment of 56 bytes as a lock, which one killed by SIGKILL leaves behind. Ours, by key and creator, as the identifier may
// have passed to another since. Processes of its own may still be on their way out: then the segment goes with the last of them.
void remove_shared_memory(const fs::path& cluster) {
  std::ifstream file(cluster / "postmaster.pid");
  std::string line;
  long creator = 0;
  for (int number = 1; number <= kShmIdLine && std::getline(file, line); ++number) {
    if (number == 1) creator = std::strtol(line.c_str(), nullptr, 10);
    if (number != kShmIdLine) continue;
    unsigned long key = 0;
    int id = 0;
    shmid_ds segment{};
    if (std::sscanf(line.c_str(), "%lu %d", &key, &id) != 2 || ::shmctl(id, IPC_STAT, &segment) != 0) return;
    const bool is_ours = segment.shm_cpid == creator && static_cast<unsigned>(segment.shm_perm.__key) == key;
    const bool creator_is_gone = ::kill(segment.shm_cpid, 0) != 0 && errno == ESRCH;
    if (is_ours && (creator_is_gone || segment.shm_nattch == 0)) ::shmctl(id, IPC_RMID, nullptr);
  }
}

}  // namespace

std::optional<LabUser> database_user() {
  if (::geteuid() != 0) return std::nullopt;
  for (const char* name : {"postgres", "nobody"}) {
    const passwd* entry = ::getpwnam(name);
    if (entry != nullptr && entry->pw_uid != 0) return LabUser{entry->pw_uid, entry->pw_gid};
  }
  throw Error(ErrorKind::unavailable, "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as",
              "bring the lab up as another user, or without a database (--no-database)");
}

fs::path postgresql_programs() {
  std::vector<std::pair<int, fs::path>> versions;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(kDebianPrograms, none)) {
    if (has_programs(entry.path() / "bin")) versions.emplace_back(std::atoi(entry.path().filename().c_str()), entry.path() / "bin");
  }
  if (!versions.empty()) return std::max_element(versions.begin(), versions.end())->second;
  std::string_view path = ::getenv("PATH") == nullptr ? "" : ::getenv("PATH");
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(std::min(path.size(), folder.size() + 1));
    if (!folder.empty() && has_programs(folder)) return folder;
  }
  throw Error(ErrorKind::unavailable, fmt::format("PostgreSQL is not installed: initdb is neither in {}/*/bin nor on PATH", kDebianPrograms),
              "install the package postgresql, or bring the lab up without a database: capsize lab up --no-database");
}

std::string database_contents(const std::string& password) {
  std::string text = fmt::format("CREATE ROLE {} LOGIN PASSWORD '{}'\n", kDatabaseRole, password);
  text += "CREATE TABLE account (name text PRIMARY KEY, salt bytea NOT NULL, hash bytea NOT NULL)\n";
  text += fmt::format("GRANT SELECT ON account TO {}\n", kDatabaseRole);
  text += "INSERT INTO account VALUES ";
  for (int i = 1; i <= kLabUsers; ++i) {
    const StoredPassword stored = stored_password(fmt::format("pw{}", i));
    text += fmt::format("{}('user{}', '\\x{}', '\\x{}')", i == 1 ? "" : ", ", i, hex(stored.salt), hex(stored.hash));
  }
  return text + "\n";
}

LabDatabase::LabDatabase(const fs::path& lab) : programs_(postgresql_programs()), user_(database_user()), folder_(lab / kFolder) {
  if (::mkdir(folder_.c_str(), 0700) != 0) {
    if (errno == EEXIST) throw Error(ErrorKind::refused, folder_.string() + " is in the way, and no lab made it", "choose another folder for the lab");
    throw system_error(errno, "cannot make the folder " + folder_.string());
  }
  write_file(folder_ / kMark, "");
  const fs::path cluster = folder_ / kCluster;
  if (::mkdir(cluster.c_str(), 0700) != 0) throw system_error(errno, "cannot make the folder " + cluster.string());
  cluster_.reset(::open(cluster.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!cluster_ || (user_ && ::fchown(cluster_.get(), user_->uid, user_->gid) != 0)) throw system_error(errno, "cannot give away the folder " + cluster.string());
}

LabCommand LabDatabase::command(const std::string& program, const std::vector<std::string>& options) const {
  LabCommand command;
  command.words = {(programs_ / program).string()};
  command.words.insert(command.words.end(), options.begin(), options.end());
  command.dies_with_parent = true;
  command.user = user_;
  command.passed_on = cluster_.get();
  return command;
}

LabCommand LabDatabase::make_cluster() const {
  return command("initdb", {"--pgdata", fmt::format("/proc/self/fd/{}", cluster_.get()), "--username", kSuperuser, "--auth", "reject", "--encoding", "UTF8", "--locale", "C", "--wal-segsize", "1",
                            "--no-sync", "--no-instructions"});
}

LabCommand LabDatabase::fill(int statements) const {
  LabCommand fill = command("postgres", {"--single", "-D", fmt::format("/proc/self/fd/{}", cluster_.get()), "-F", "-c", "exit_on_error=on", "-c", "log_min_messages=warning", "postgres"});
  fill.in = statements;
  return fill;
}

void LabDatabase::configure() const {
  const fs::path cluster = folder_ / kCluster;
  write_file(cluster / "pg_hba.conf", fmt::format("host postgres {} 127.0.0.1/32 scram-sha-256\n", kDatabaseRole), 0644);
  // No file, no socket and no process more than a lookup by primary key needs; nothing that works in the background.
  write_file(cluster / "postgresql.conf", R"(listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 2MB
dynamic_shared_memory_type = mmap
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_logical_replication_workers = 0
checkpoint_timeout = 1d
bgwriter_delay = 10s
wal_writer_delay = 10s
autovacuum = off
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
)", 0644);
}

LabCommand LabDatabase::serve(int port, int connections) const {
  return command("postgres", {"-D", fmt::format("/proc/self/fd/{}", cluster_.get()), "-c", fmt::format("port={}", port), "-c", fmt::format("max_connections={}", connections)});
}

void remove_lab_database(const fs::path& lab) {
  const fs::path folder = lab / kFolder;
  if (!fs::is_regular_file(fs::symlink_status(folder / kMark)) || fs::is_symlink(fs::symlink_status(folder))) return;
  remove_shared_memory(folder / kCluster);
  std::error_code ignored;
  fs::remove_all(folder / kCluster, ignored);
  fs::remove_all(folder, ignored);  // with its mark last, so that what is interrupted can be finished
}

}  // namespace capsize
