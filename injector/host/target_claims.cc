#include "injector/host/target_claims.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/targets/process.h"

namespace capsize {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxClaimFile = 1u << 20;  // bytes
constexpr std::size_t kMaxHolders = 1000;        // of one machine

std::string text_in(const Json& json, const char* key) { return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : ""; }

void add_processes(std::vector<TargetKey>& keys, const Json& look) {
  for (const Json& found : look.value("found", Json::array())) {
    const TargetProcess process = target_process_from_json(found.value("identity", Json()));
    keys.push_back({fmt::format("process {} started {} in {}", process.pid, process.start_ticks, process.pid_namespace), true});
  }
}

std::string canonical(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  return error ? path : real.string();
}

// The namespace itself, by any of its names. 0: it cannot be seen.
std::uint64_t inode_of(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

std::uint64_t network_namespace_of(const Json& params) {
  if (const std::string path = text_in(params, "network_namespace"); !path.empty()) return inode_of(path);
  if (!params.contains("namespace_of")) return inode_of("/proc/self/ns/net");
  std::string process = params["namespace_of"].is_string() ? params["namespace_of"].get<std::string>() : params["namespace_of"].dump();
  if (process.front() == '/') std::getline(std::ifstream(process), process);
  const auto pid = parse_pid(process);
  return pid ? inode_of(fmt::format("/proc/{}/ns/net", *pid)) : 0;
}

void add_network(std::vector<TargetKey>& keys, std::uint64_t inode, bool whole) {
  if (inode != 0) keys.push_back({fmt::format("network namespace {}", inode), whole});
}

void add_service(std::vector<TargetKey>& keys, const Json& params) {
  const std::uint64_t inode = network_namespace_of(params);
  const std::string protocol = text_in(params, "protocol");
  add_network(keys, inode, false);
  const std::string address = text_in(params, "address");
  // By the port alone: "0.0.0.0:80", "localhost:80" and "127.0.0.1:80" are one socket.
  if (inode != 0) keys.push_back({fmt::format("{} port {} in network namespace {}", protocol.empty() ? "tcp" : protocol, address.substr(address.rfind(':') + 1), inode), true});
}

void add_haproxy(std::vector<TargetKey>& keys, const Json& params) {
  const std::string socket = text_in(params, "socket");
  keys.push_back({fmt::format("backend {} of {}", text_in(params, "backend"), !socket.empty() && socket.front() == '/' ? canonical(socket) : socket), true});
}

void add_containers(std::vector<TargetKey>& keys, const Json& look) {
  const std::uint64_t own = inode_of("/proc/self/ns/net");
  for (const Json& one : look.value("containers", Json::array())) {
    keys.push_back({"container " + text_in(one, "id"), true});
    const auto inode = one.value("network_namespace", std::uint64_t{0});
    add_network(keys, inode, inode != own);  // one without a network of its own has only its part of the machine's
    add_processes(keys, one);
  }
}

const char* look_for(const std::string& type) {
  if (type == "process") return "process.identify";
  if (type == "container") return "container.identify";
  return nullptr;
}

Json to_json(const ClaimHolder& holder, const std::vector<TargetClaim>& claims) {
  Json json = {{"run", holder.run}, {"boot_id", holder.boot_id}, {"process", to_json(holder.process)}, {"since", holder.since}, {"targets", Json::array()}};
  for (const TargetClaim& claim : claims) {
    Json keys = Json::array();
    for (const TargetKey& key : claim.keys) keys.push_back({{"key", key.key}, {"whole", key.whole}});
    json["targets"].push_back({{"name", claim.name}, {"keys", std::move(keys)}});
  }
  return json;
}

std::vector<TargetClaim> claims_from(const Json& json) {
  std::vector<TargetClaim> claims;
  for (const Json& target : json.value("targets", Json::array())) {
    TargetClaim claim{text_in(target, "name"), {}};
    for (const Json& key : target.value("keys", Json::array())) claim.keys.push_back({text_in(key, "key"), key.value("whole", true)});
    claims.push_back(std::move(claim));
  }
  return claims;
}

// Nothing: it is no claim that anybody could still hold.
std::optional<Json> read_claim(const fs::path& file, const std::string& boot) {
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxClaimFile, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || text_in(json, "boot_id") != boot || !json.contains("process")) return std::nullopt;
  if (liveness(process_identity_from_json(json["process"])) == Liveness::gone) return std::nullopt;
  return json;
}

std::string run_of(const std::string& name) { return name.substr(0, name.find('@')); }

bool is_same(const TargetClaim& one, const TargetClaim& other) {
  for (const TargetKey& key : one.keys) {
    if (key.whole && std::find(other.keys.begin(), other.keys.end(), key) != other.keys.end()) return true;
  }
  return false;
}

Error held_error(const TargetClaim& wanted, const Json& holder, const TargetClaim& held, const fs::path& file) {
  const ProcessIdentity process = process_identity_from_json(holder["process"]);
  const std::string run = printable(run_of(text_in(holder, "run")));
  std::string fact = fmt::format("target \"{}\" ", printable(wanted.name));
  if (is_same(wanted, held)) fact += "is held";
  else fact += fmt::format("meets target \"{}\", which is held", printable(held.name));
  fact += fmt::format(" by the run {}, since {}, process {}", run, printable(text_in(holder, "since")), process.pid);
  std::string remedy = "wait for its end, or stop it where it was started: capsize stop " + run;
  if (liveness(process) == Liveness::unknown) remedy += fmt::format("; whether it lives cannot be seen from here: if it does not, remove {}", file.string());
  return Error(ErrorKind::unavailable, std::move(fact), std::move(remedy));
}

fs::path claims_folder(const StateDir& state) {
  const fs::path folder = state.path() / "targets";
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) throw system_error(errno, "the list of held targets: " + folder.string(), "make the state folder writable, or name another with CAPSIZE_STATE");
  struct stat info = {};
  if (::lstat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != ::geteuid()) {
    throw Error(ErrorKind::refused, fmt::format("{} is not a folder of ours", folder.string()), "name another state folder with CAPSIZE_STATE or --state");
  }
  return folder;
}

void write_claim(const fs::path& file, const std::string& text) {
  const fs::path temporary = file.string() + ".new";
  {
    const UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    const ssize_t written = fd ? ::write(fd.get(), text.data(), text.size()) : -1;
    if (written != static_cast<ssize_t>(text.size())) {
      const int code = written < 0 ? errno : ENOSPC;
      ::unlink(temporary.c_str());
      throw system_error(code, "the list of held targets: " + file.string(), "see whether the disk is full");
    }
  }
  if (::rename(temporary.c_str(), file.c_str()) != 0) throw system_error(errno, "the list of held targets: " + file.string());
}

}  // namespace

bool meet(const TargetClaim& one, const TargetClaim& other) {
  for (const TargetKey& a : one.keys) {
    for (const TargetKey& b : other.keys) {
      if (a.key == b.key && (a.whole || b.whole)) return true;
    }
  }
  return false;
}

Task<TargetClaim> claim_of(std::string name, std::string type, Json params, FindOp find, OpContext context) {
  TargetClaim claim{name, {}};
  claim.keys.push_back({"this machine", type == "host"});
  if (type == "host") co_return claim;
  claim.keys.push_back({type + " " + params.dump(-1, ' ', false, Json::error_handler_t::replace), true});
  if (type == "haproxy") add_haproxy(claim.keys, params);
  if (type == "network") add_network(claim.keys, network_namespace_of(params), true);
  if (type == "service") add_service(claim.keys, params);
  const char* looking = look_for(type);
  const OpType* op = looking == nullptr ? nullptr : find(looking);
  if (op == nullptr || op->look == nullptr) co_return claim;
  TargetClaim found = claim;
  try {
    const Json look = co_await op->look(params, context);
    if (type == "process") add_processes(found.keys, look);
    else add_containers(found.keys, look);
  } catch (const Error&) {
    found = claim;  // planning will say what is wrong with it
  }
  co_return found;
}

HeldTargets HeldTargets::take(const StateDir& state, const ClaimHolder& holder, const std::vector<TargetClaim>& claims) {
  const fs::path folder = claims_folder(state);
  const UniqueFd lock(::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  // Never waits: it is the only thread of an agent that asks. Who claims asks again for a second.
  if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (lock && errno == EWOULDBLOCK) throw Error(ErrorKind::unavailable, "the list of held targets is locked: " + folder.string(), "another run is looking at it: try again");
    throw system_error(errno, "the list of held targets: " + folder.string());
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::size_t holders = 0;
  for (const fs::path& file : files) {
    const auto other = read_claim(file, holder.boot_id);
    if (!other) {
      std::error_code ignored;
      fs::remove(file, ignored);  // its agent is dead: a guard, or who reverts, does not need it
      continue;
    }
    if (++holders > kMaxHolders) throw Error(ErrorKind::unavailable, fmt::format("more than {} runs hold targets here ({})", kMaxHolders, folder.string()), "see what starts so many");
    if (run_of(text_in(*other, "run")) == run_of(holder.run)) continue;
    for (const TargetClaim& held : claims_from(*other)) {
      for (const TargetClaim& wanted : claims) {
        if (meet(wanted, held)) throw held_error(wanted, *other, held, file);
      }
    }
  }
  const fs::path own = folder / (holder.run + ".json");
  write_claim(own, to_json(holder, claims).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  return HeldTargets(own);
}

HeldTargets::~HeldTargets() {
  std::error_code ignored;
  if (!file_.empty()) fs::remove(file_, ignored);
}

}  // namespace capsize
