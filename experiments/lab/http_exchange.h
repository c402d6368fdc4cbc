// One HTTP request and its answer, for the lab to ask its own parts whether they work. Blocks.
#pragma once

#include <optional>
#include <string>

#include "injector/base/clock.h"

namespace capsize {

struct LabRequest {
  std::string address;  // "127.0.0.1:20001"
  std::string method = "GET";
  std::string path = "/";
  std::string form;           // body, application/x-www-form-urlencoded
  std::string authorization;  // header, when not empty
};

struct LabReply {
  unsigned status = 0;
  std::string body;
};

// On a connection of its own. Nothing when there is no whole answer within `limit`.
std::optional<LabReply> http_exchange(const LabRequest& request, Duration limit);

}  // namespace capsize
