#include "injector/net/held_impairments.h"

#include <map>

namespace capsize {
namespace {

struct Noted {
  std::weak_ptr<HeldImpairment> held;
  TimePoint since;
};

std::map<std::string, Noted>& noted() {
  static std::map<std::string, Noted> table;
  return table;
}

}  // namespace

void note_held(const std::string& name, std::weak_ptr<HeldImpairment> held, TimePoint since) {
  std::erase_if(noted(), [](const auto& entry) { return entry.second.held.expired(); });
  noted()[name] = {std::move(held), since};
}

std::optional<HeldNow> find_held(const std::string& name) {
  const auto found = noted().find(name);
  if (found == noted().end()) return std::nullopt;
  auto held = found->second.held.lock();
  if (!held) return std::nullopt;
  return HeldNow{std::move(held), found->second.since};
}

}  // namespace capsize
