// The one JSON type. Objects are sorted by key, so that equal values print as equal bytes.
#pragma once
#include <nlohmann/json.hpp>

namespace capsize {

using Json = nlohmann::json;

}  // namespace capsize
