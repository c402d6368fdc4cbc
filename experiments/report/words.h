// Outcomes, numbers and measures as a person reads them who was not there.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "injector/base/json.h"

namespace capsize {

struct OutcomeWords {
  std::string_view badge;    // "Refuted"
  std::string_view meaning;  // "the degradation was not graceful"
  std::string_view tone;     // "good", "bad" or "unsure": never the only sign, the words say it too
};
OutcomeWords outcome_words(std::string_view outcome);

// "20.1 %", "118 ms", "1.02 s", "165/s", "3". `kind` as in evidence. With a limit, as many digits as it takes to see the two apart.
std::string plain_value(std::string_view kind, double value, std::optional<double> limit = std::nullopt);
std::string plain_seconds(double seconds);  // "9.8 s", "2 min 5 s"
std::string plain_count(double count);      // "10 230"

// "login success ratio", "login p99 latency", "shares: share of auth1", "recovery time".
std::string measure_words(std::string_view name);
std::string during_words(std::string_view during);  // "during the fault"

// Members of a JSON object of which a reader cannot be sure: absent or of another type gives the empty answer.
std::string text_of(const Json& json, const char* key);
std::optional<double> number_of(const Json& json, const char* key);
const Json& member(const Json& json, const char* key);  // null when absent
const Json& list_of(const Json& json, const char* key); // an empty array when absent
std::string flat(const Json& json);                     // {"share":{"auth1":0.8}} as "share.auth1 80 %"

}  // namespace capsize
