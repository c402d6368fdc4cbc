// The impairments in force in this process, by name: `net.impair` notes them down, looks count what they have done. Thread: control.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "injector/base/clock.h"
#include "injector/net/backends.h"

namespace capsize {

struct HeldNow {
  std::shared_ptr<HeldImpairment> held;
  TimePoint since;
};

// It is forgotten by itself when it ends.
void note_held(const std::string& name, std::weak_ptr<HeldImpairment> held, TimePoint since);
std::optional<HeldNow> find_held(const std::string& name);  // nothing: not in force here

}  // namespace capsize
