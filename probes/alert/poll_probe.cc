#include "probes/alert/poll_probe.h"

#include <algorithm>

#include "injector/base/error.h"
#include "probes/load/wake.h"

namespace capsize {
namespace {

class PollProbe final : public Probe {
 public:
  PollProbe(ProbeContext context, PollPlan plan) : context_(std::move(context)), plan_(std::move(plan)) {
    source_ = context_.documents ? context_.documents(context_) : make_document_source(*context_.clock, plan_.server);
  }

  Task<> run() override {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    const auto executor = co_await asio::this_coro::executor;
    stopped_.emplace(executor);
    TimePoint next = context_.clock->now();
    while (!stopping_) {
      co_await look();
      next = std::max(next + plan_.every, context_.clock->now());  // a slow answer is not made up for by asking faster
      if (!stopping_) {
        co_await stopped_->wait_until(*context_.clock, next);
      }
    }
  }

  void stop() override {
    stopping_ = true;
    if (stopped_) stopped_->notify();
  }

 private:
  Task<> look() {
    const TimePoint from = context_.clock->now();
    std::string target = plan_.target;
    const auto document = co_await source_->get(std::move(target));
    Json window = read_document(document, plan_);
    window["from"] = seconds(from - context_.start);
    window["to"] = seconds(context_.clock->now() - context_.start);
    context_.emit(std::move(window));
  }

  ProbeContext context_;
  const PollPlan plan_;
  std::unique_ptr<DocumentSource> source_;
  std::optional<Wake> stopped_;
  bool stopping_ = false;
};

// Prometheus says in "error" what it did not like; others answer with a line of text.
std::string said(const Document& document) {
  const Json json = Json::parse(document.body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_string()) return json["error"].get<std::string>();
  return document.body.substr(0, document.body.find('\n'));
}

}  // namespace

Json read_document(const Document& document, const PollPlan& plan) {
  const auto gap = [&](const std::string& why) { return Json{{"gap", fmt::format("{} at {}: {}", plan.named, show(plan.server.server), why)}}; };
  if (!document.problem.empty()) return gap(document.problem);
  if (document.status < 200 || document.status > 299) return gap(fmt::format("it answered {}: {}", document.status, said(document)));
  const Json json = Json::parse(document.body, nullptr, false);
  if (json.is_discarded()) return gap("its answer is no JSON");
  Json out;
  try {
    out = plan.read(json);
  } catch (const Json::exception&) {
    return gap("its answer is not of the form that is documented");
  }
  if (out.contains("gap")) return gap(out["gap"].get<std::string>());
  return out;
}

std::string gaps_in_words(const std::vector<const Window*>& windows) {
  std::size_t gaps = 0;
  std::string first;
  for (const Window* window : windows) {
    if (!window->contains("gap")) continue;
    if (++gaps == 1) first = window->value("gap", "");
  }
  return gaps == 0 ? "" : fmt::format("{} of {} looks had no answer: {}", gaps, windows.size(), first);
}

std::unique_ptr<Probe> make_poll_probe(ProbeContext context, PollPlan plan) { return std::make_unique<PollProbe>(std::move(context), std::move(plan)); }

}  // namespace capsize
