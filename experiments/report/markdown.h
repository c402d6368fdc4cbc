// report.md: the verdict for a chat or a ticket, short.
#pragma once
#include <string>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

std::string markdown_report(const Json& playbook, const std::vector<Json>& events, const Json& verdict);  // pure

}  // namespace capsize
