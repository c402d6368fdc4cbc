// The one JSON type. Objects are sorted by key, so that equal values print as equal bytes.
#pragma once
#include <nlohmann/json.hpp>

extern template class nlohmann::basic_json<>;  // compiled once, in json.cc, instead of in nearly every file

namespace capsize {

using Json = nlohmann::json;

}  // namespace capsize
