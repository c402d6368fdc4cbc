// A probe watches, or loads, the system from outside and hands over a window of what it saw every 250 ms or so.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/rng.h"
#include "injector/base/spec.h"
#include "injector/base/task.h"
#include "injector/targets/host_view.h"
#include "probes/measure.h"

namespace capsize {

// One window: {"from": s, "to": s (since the start of the run, by due time), …what the probe's `measure` needs}. Windows of a probe are
// handed over in order, are complete (every login due in it has ended), and are disjoint.
using Window = Json;

class LoginTransport;  // probes/login/transport.h: the seam where virtual time puts a model instead of sockets
class DocumentSource;  // probes/alert/document_source.h: the same for what monitoring is asked

struct ProbeContext {
  std::string name;                         // in the playbook
  Json params = Json::object();             // validated against the probe's Spec; without the key "probe"
  Json target = Json::object();             // the target's own parameters, where the probe has one
  Clock* clock = nullptr;                   // of the run
  Rng rng{0};
  TimePoint start;                          // of the run: windows count from here
  HostView* host = nullptr;                 // of the target; null without one
  std::function<void(Window)> emit;         // call on the control thread only
  // Virtual time: makes the transport that answers logins, and keeps the probe on the control thread. Empty: real sockets, own thread.
  std::function<std::unique_ptr<LoginTransport>(const ProbeContext&)> transport;
  // The same for probes that ask monitoring; empty: over HTTP.
  std::function<std::unique_ptr<DocumentSource>(const ProbeContext&)> documents;
};

// Thread: control. The object outlives run().
class Probe {
 public:
  virtual ~Probe() = default;
  // Works until stop(); then ends what is under way, emits the last windows and returns. Throws Error when it cannot work at all.
  virtual Task<> run() = 0;
  virtual void stop() = 0;
  // Once run() has begun: puts only this share (above 0, at most 1) of its load through from now on. A probe that is no load goes on as ever.
  virtual void set_load(double share) { static_cast<void>(share); }
};

struct ProbeType {
  std::string_view name;          // "login.http"
  std::string_view doc;
  std::string_view target_type;   // empty: takes no target
  const AnySpec& (*spec)();
  Json example;                   // the probe's JSON in a playbook
  // The measures it offers; where a name has a part of the target's choosing, as "share.<server>", that part is in angle brackets.
  const std::vector<MeasureInfo>& (*measures)();
  std::unique_ptr<Probe> (*make)(ProbeContext context) = nullptr;
  // Pure: one measure over the given windows (all of one probe, in order). Nothing when the windows cannot say (none, or no such server).
  std::optional<Measured> (*measure)(std::string_view name, const std::vector<const Window*>& windows) = nullptr;
  // Pure: why `measure` has nothing to say over these windows; empty where it does not know. May be null.
  std::string (*why_unknown)(std::string_view name, const std::vector<const Window*>& windows) = nullptr;
  // Whether with these parameters (variables filled in) it sends logins that must be refused. Then a playbook that says nothing of
  // `wrongly_accepted` expects it to be 0. Null: it never does.
  bool (*sends_controls)(const Json& params) = nullptr;
};

const std::vector<ProbeType>& probe_catalog();  // THE table of probes
const ProbeType* find_probe(std::string_view name);
// The measure's kind and doc, also for names that fit a pattern ("share.auth1" fits "share.<server>"); null: no such measure.
const MeasureInfo* find_measure(const ProbeType& probe, std::string_view name);

}  // namespace capsize
