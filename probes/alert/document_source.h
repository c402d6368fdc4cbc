// Asks one HTTP server for documents, each over a connection of its own: what the probes of monitoring stand on. Nothing here throws for
// what the other side does: that there was no answer is an answer. The seam where tests put a script.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "injector/base/clock.h"
#include "injector/base/task.h"
#include "probes/http/connection.h"
#include "probes/http/url.h"

namespace capsize {

inline constexpr std::size_t kMaxDocumentBytes = 8 * 1024 * 1024;  // all rules of a large Prometheus

struct Document {
  std::string problem;  // why there is none, in words; empty: status and body count
  unsigned status = 0;
  std::string body;
};

class DocumentSource {
 public:
  virtual ~DocumentSource() = default;
  // GETs `target` ("/api/v1/query?query=up"), below the path of the server's URL.
  virtual Task<Document> get(std::string target) = 0;
};

struct DocumentOptions {
  Url server;
  Duration timeout{};
  bool verify = true;
  std::optional<std::string> ca_file;
  std::optional<std::string> token;  // sent as "Authorization: Bearer"
};

using ResolveOrigin = std::function<Task<std::shared_ptr<const Origin>>(Url url, TlsOptions tls)>;

// The server's name is resolved, and its CA file read, by the first get() that gets an answer to that: from then on the name service is no
// part of a look. One that hangs holds no look for longer than its timeout. Thread: the executor get() runs on.
std::unique_ptr<DocumentSource> make_document_source(Clock& clock, DocumentOptions options, ResolveOrigin resolve = resolve_origin);

}  // namespace capsize
