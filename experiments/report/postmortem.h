// postmortem.md: the draft that people go on from after a game day. What the run knows is written down; what only people know is a gap with
// a question in it.
#pragma once
#include <string>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

// Pure; arguments as for html_report(). Empty where the run was no game day: nothing was sealed and nobody was asked.
std::string postmortem(const Json& playbook, const std::vector<Json>& events, const Json& verdict);

}  // namespace capsize
