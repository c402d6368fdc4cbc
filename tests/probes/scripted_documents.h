// A scripted monitoring server in virtual time: what it answers when it is asked, and what it was asked.
#pragma once
#include <catch2/catch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/detached.hpp>
#include <functional>

#include "injector/base/clock.h"
#include "probes/alert/document_source.h"
#include "probes/probe.h"

namespace capsize::test {

inline Document answered(const Json& body, unsigned status = 200) { return {"", status, body.dump()}; }
inline Document no_answer(const std::string& why) { return {why, 0, ""}; }

// Answers by the time since the start.
class ScriptedDocuments final : public DocumentSource {
 public:
  using Script = std::function<Document(double seconds)>;
  ScriptedDocuments(Clock& clock, TimePoint start, Script script, Duration takes = {}, std::vector<std::string>* asked = nullptr)
      : clock_(clock), start_(start), script_(std::move(script)), takes_(takes), asked_(asked) {}

  Task<Document> get(std::string target) override {
    if (asked_ != nullptr) asked_->push_back(target);
    const double now = seconds(clock_.now() - start_);
    co_await clock_.sleep(takes_);
    co_return script_(now);
  }

 private:
  Clock& clock_;
  TimePoint start_;
  Script script_;
  Duration takes_;
  std::vector<std::string>* asked_;
};

struct Watched {
  std::vector<Json> windows;
  std::vector<std::string> asked;

  std::vector<const Window*> all() const {
    std::vector<const Window*> out;
    for (const Json& window : windows) out.push_back(&window);
    return out;
  }
};

inline Task<> stop_probe_later(SimClock& clock, Probe& probe, Duration after) {
  co_await clock.sleep(after);
  probe.stop();
}

// Runs the probe `type` for so long against the script.
inline Watched watch(const char* type, Json params, Duration how_long, ScriptedDocuments::Script script, Duration takes = {}) {
  SimClock clock;
  asio::io_context io;
  Watched out;
  ProbeContext context;
  context.name = "watched";
  context.params = std::move(params);
  context.clock = &clock;
  context.start = clock.now();
  context.emit = [&out](Window window) { out.windows.push_back(std::move(window)); };
  context.documents = [&](const ProbeContext& of) { return std::make_unique<ScriptedDocuments>(clock, of.start, script, takes, &out.asked); };
  const auto probe = find_probe(type)->make(std::move(context));
  bool ended = false;
  asio::co_spawn(io, stop_probe_later(clock, *probe, how_long), asio::detached);
  asio::co_spawn(io, probe->run(), [&ended](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
    ended = true;
  });
  clock.run(io);
  CHECK(ended);
  return out;
}

}  // namespace capsize::test
