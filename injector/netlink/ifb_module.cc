#include "injector/netlink/ifb_module.h"

#include <unistd.h>

#include "injector/netlink/traffic_control.h"

namespace capsize {
namespace {

// In a container it is the container's own, which gets no gifts, and nothing is to be done.
const NetworkNamespace& first_namespace() {
  static const NetworkNamespace place{"/proc/1/ns/net", 0};
  return place;
}

bool is_loaded() { return ::access("/sys/module/ifb", F_OK) == 0; }

}  // namespace

IfbModuleGifts::IfbModuleGifts() {
  if (is_loaded()) return;
  try {
    for (const Link& link : TrafficControl(first_namespace()).links()) before_.insert(link.name);
    may_come_ = true;
  } catch (const Error&) {
    // It cannot be seen from here: then they stay, idle.
  }
}

IfbModuleGifts::~IfbModuleGifts() {
  if (!may_come_ || !is_loaded()) return;
  try {
    TrafficControl control(first_namespace());
    for (const Link& link : control.links()) {
      const bool named_so = link.name == "ifb0" || link.name == "ifb1";
      if (named_so && link.kind == "ifb" && !link.up && link.alias.empty() && before_.count(link.name) == 0) control.remove_link(link.index);
    }
  } catch (const std::exception&) {
  }
}

}  // namespace capsize
