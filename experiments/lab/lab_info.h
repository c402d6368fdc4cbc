// What lab.json says: every address, socket and process of a running lab, and the variables that playbooks use.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/lab/lab_files.h"
#include "injector/base/json.h"

namespace capsize {

struct LabFacts {
  std::string profile;
  std::filesystem::path dir;
  std::string started;  // ISO 8601
  LabProcess supervisor;
  std::vector<LabPart> parts;  // the database, if any, the authentication servers, then the balancer
};

Json lab_info(const LabFacts& facts);

}  // namespace capsize
