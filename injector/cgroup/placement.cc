#include "injector/cgroup/placement.h"

#include <fmt/format.h>

#include "injector/base/error.h"

namespace capsize {
namespace {

struct Ancestor {
  CgroupRef ref;
  bool has = false;      // the controller, to pass on
  bool enabled = false;  // it passes it on
};

Ancestor ancestor_from(const Json& json) { return {cgroup_ref_from_json(json), json.at("has").get<bool>(), json.at("enabled").get<bool>()}; }

// Version 2, topmost first: where the controller must be switched on so that the children of the last one have it.
std::vector<CgroupRef> to_enable(const Json& lineage, Controller controller, const std::string& who) {
  std::vector<CgroupRef> out;
  for (const Json& json : lineage) {
    const Ancestor one = ancestor_from(json);
    if (!one.enabled) out.push_back(one.ref);
    else if (!out.empty()) throw Error(ErrorKind::bug, "a cgroup passes on a controller that it does not have");
    if (out.size() == 1 && !one.has) {
      throw Error(ErrorKind::unavailable, fmt::format("{}: the {} controller does not reach {}", who, to_string(controller), one.ref.folder),
                  fmt::format("as root, from the top down: echo +{} > .../cgroup.subtree_control", to_string(controller)));
    }
  }
  return out;
}

std::string enabling_words(const std::vector<CgroupRef>& enable, Controller controller) {
  return enable.empty() ? "" : fmt::format(" (the {} controller is switched on below {} meanwhile)", to_string(controller), enable.front().folder);
}

void place_in_own(const Json& look, Placement& out) {
  out.step.cgroup = {look.at("folder").get<std::string>(), look.at("inode").get<std::uint64_t>()};
  out.fresh = out.values.empty();
  const auto members = look.at("members").get<std::size_t>();
  out.words = fmt::format("by its own cgroup {}", look.at("path").get<std::string>());
  if (members > out.step.processes.size()) out.words += fmt::format(", in which are {} processes", members);
}

// Version 1: below the cgroup they are in, so that its present limits hold as well. Version 2 allows no processes between the cgroups:
// beside the one they are in.
void place_in_ours(const Json& look, const std::string& nonce, std::size_t index, Placement& out) {
  CgroupMove move;
  move.from = {look.at("folder").get<std::string>(), look.at("inode").get<std::uint64_t>()};
  move.name = index == 0 ? fmt::format("{}{}", kOurCgroup, nonce) : fmt::format("{}{}-{}", kOurCgroup, nonce, index);
  move.parent = move.from;
  if (out.version == 2) move.parent = ancestor_from(look.at("lineage").back()).ref;
  out.words = fmt::format("moved from cgroup {} to {}", look.at("path").get<std::string>(), move.ours().folder);
  out.step.move = std::move(move);
  out.fresh = true;
}

}  // namespace

Placement place_limits(const Json& look, Controller controller, const std::string& nonce, std::size_t index) {
  try {
    Placement out;
    for (const Json& identity : look.at("identities")) out.step.processes.push_back(target_process_from_json(identity));
    out.step.controller = controller;
    const std::string who = describe(out.step.processes);
    const auto missing = look.at("missing").get<std::string>();
    if (!missing.empty()) throw Error(ErrorKind::unavailable, fmt::format("{} cannot be limited: {}", who, missing),
                                      "run capsize where it is in one cgroup that is in sight: on the host, as root; or choose another target");
    const auto obstacle = look.at("not_writable").get<std::string>();
    if (!obstacle.empty()) throw Error(ErrorKind::privilege, fmt::format("{} cannot be limited: {}", who, obstacle), "run capsize there as root (CAP_DAC_OVERRIDE), or give its user that cgroup (delegation)");
    out.version = look.at("version").get<int>();
    out.values = look.at("values").get<std::map<std::string, std::string>>();
    const bool own = !look.at("topmost").get<bool>() && look.at("stranger_count").get<int>() == 0;
    if (own) place_in_own(look, out);
    else place_in_ours(look, nonce, index, out);
    if (out.version == 2 && (!own || out.values.empty())) out.step.enable = to_enable(look.at("lineage"), controller, who);
    out.words += enabling_words(out.step.enable, controller);
    return out;
  } catch (const Json::exception& problem) {
    throw Error(ErrorKind::bug, std::string("not what cgroup.look says: ") + problem.what());
  }
}

}  // namespace capsize
