// A word about a run to a chat or another program, as one HTTP POST of JSON: {"text": ..., "capsize": {...}}. Slack, Mattermost and Rocket.Chat
// show `text`; programs read the rest. A webhook's URL is a secret (who has it can post): nothing here ever prints more of it than its host.
#pragma once
#include <string>

#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "injector/base/task.h"
#include "probes/http/connection.h"

namespace capsize {

inline constexpr Duration kWebhookLimit = std::chrono::seconds(5);  // of the whole exchange; a name service that hangs can take longer

// Pure. `folder`: of the run's files.
Json webhook_message(const Json& verdict, const std::string& playbook_name, const std::string& folder);
Json webhook_of_no_run(const std::string& playbook_name, int code, const std::string& because);

// Throws Error: unavailable (no connection, no answer in time, an answer that is no 2xx), refused (not a URL).
Url webhook_url(const std::string& text);
Task<> post_webhook(Clock& clock, Url url, Json message, TlsOptions tls, Duration limit = kWebhookLimit);

}  // namespace capsize
