// Two runs never meet on one target: what a run is aimed at on this machine, and the list in the state folder of who holds what.
// A target is known by what it is here, not by how a playbook names it: the process behind a pid, a pid file or an address is one target,
// and so is a socket behind two links. A whole (a machine, a network namespace) meets everything that is within it.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/targets/process_identity.h"
#include "injector/undo/reverter.h"
#include "injector/undo/state_dir.h"

namespace capsize {

struct TargetKey {
  std::string key;    // "process 123 started 4567", "network namespace 4026531840"
  bool whole = true;  // false: something within it
  friend bool operator==(const TargetKey&, const TargetKey&) = default;
};

struct TargetClaim {
  std::string name;  // in the playbook
  std::vector<TargetKey> keys;
};

bool meet(const TargetClaim& one, const TargetClaim& other);  // pure

// What a target of this type with these parameters is here. Looks only; what cannot be found now is known by its parameters: planning says
// what is wrong with it. Thread: control.
Task<TargetClaim> claim_of(std::string name, std::string type, Json params, FindOp find, OpContext context);

struct ClaimHolder {
  std::string run;  // "RUN", or "RUN@HOST" where several agents of one run share a state folder: these never keep each other out
  std::string boot_id;
  ProcessIdentity process;  // who undoes what the run does here
  std::string since;        // ISO 8601
};

// Holds targets of this machine for as long as the object lives. When its process dies, they are free.
class HeldTargets {
 public:
  // All of them or none. Throws Error::unavailable, naming the run that holds one of them.
  static HeldTargets take(const StateDir& state, const ClaimHolder& holder, const std::vector<TargetClaim>& claims);
  ~HeldTargets();
  HeldTargets(HeldTargets&& other) noexcept : file_(std::exchange(other.file_, {})) {}
  HeldTargets& operator=(HeldTargets&&) = delete;
  void hold_until_death() { file_.clear(); }  // what is left of them is free when this process is dead

 private:
  explicit HeldTargets(std::filesystem::path file) : file_(std::move(file)) {}
  std::filesystem::path file_;
};

}  // namespace capsize
