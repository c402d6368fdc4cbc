// A sealed run: one of the playbook's causes is chosen by the seed, a hash of the choice is shown at the start, and which it was is told at
// the end. Nobody can tell it before, and nobody can change it after.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/playbook.h"
#include "injector/base/json.h"

namespace capsize {

struct Seal {
  std::size_t choice = 0;  // index in Playbook::sealed
  std::string opening;     // the salt, a space, and the chosen cause as JSON: told at the end
  std::string commitment;  // SHA-256 of `opening` in lower-case hex: shown at the start
};

// `salt` is what keeps the hash from being tried out: fresh chance, nothing that follows from the seed. The playbook has sealed causes.
Seal seal_choice(const Playbook& playbook, std::uint64_t seed, const std::string& salt);

std::string commitment_of(const std::string& opening);

// The playbook as it is run: the faults of the chosen cause after its own, in as_run, too.
Playbook open_sealed(const Playbook& playbook, std::size_t choice);

// What of an event may be seen before the end, by whom the cause is hidden from; nothing: none of it. Whatever is not known to tell nothing
// is held back. `closed`: the playbook as run, before it was opened.
std::optional<Json> seen_meanwhile(const Json& event, const Json& closed);

// Which of the sealed causes an answer names, by their "known_by": words are compared without regard to case and order.
std::vector<std::size_t> causes_named(const std::vector<SealedCause>& causes, std::string_view answer);
// Whether every answer that holds all words of `longer` holds those of `shorter`, too.
bool phrase_within(std::string_view shorter, std::string_view longer);

}  // namespace capsize
