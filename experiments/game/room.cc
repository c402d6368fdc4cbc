#include "experiments/game/room.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>

#include "injector/base/diagnostics.h"

namespace capsize {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

// At most so many bytes, and no half of a character at the end.
std::string cut(std::string text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  for (int back = 0; back < 3 && (static_cast<unsigned char>(text[bytes]) & 0xC0u) == 0x80u; ++back) --bytes;
  text.resize(bytes);
  return text;
}

}  // namespace

RoomSteps::RoomSteps(const Playbook& playbook, std::vector<ScriptedAnswer> script, Room* room, Clock& clock, Record record)
    : playbook_(playbook), script_(std::move(script)), room_(room), clock_(clock), record_(std::move(record)) {
  for (const RoomStep& step : playbook.steps) {
    playing_.push_back(std::make_unique<Playing>());
    playing_.back()->step = &step;
  }
  std::stable_sort(script_.begin(), script_.end(), [](const ScriptedAnswer& a, const ScriptedAnswer& b) { return a.after < b.after; });
  if (room_ != nullptr) room_->on_line = [this](const std::string& line) { on_line(line); };
}

RoomSteps::~RoomSteps() {
  if (room_ != nullptr) room_->on_line = nullptr;
}

void RoomSteps::phase_begins(Span phase, const asio::any_io_executor& executor) {
  no_more();
  for (std::size_t i = 0; i < playing_.size(); ++i) {
    Playing& playing = *playing_[i];
    if (playing.step->during != phase) continue;
    playing.running = true;
    ++running_;
    asio::co_spawn(executor, play(i, clock_.now()), asio::bind_cancellation_slot(playing.cancel.slot(), [this, &playing](std::exception_ptr) {
                     playing.running = false;  // the only thing it throws is that it was cancelled
                     --running_;
                   }));
  }
}

Task<> RoomSteps::play(std::size_t index, TimePoint start) {
  Playing& playing = *playing_[index];
  const RoomStep& step = *playing.step;
  co_await clock_.sleep_until(start + step.at);
  if (step.ask.empty()) {
    record_("note", Json{{"text", kept(step.note)}});
    co_return;
  }
  if (!ask(playing)) co_return;
  for (const ScriptedAnswer& answer : script_) {
    if (answer.to != step.name || !playing.open) continue;
    co_await clock_.sleep_until(playing.asked + answer.after);
    hear(playing, answer.text);
  }
  co_await clock_.sleep_until(playing.asked + step.within);
  close(playing, fmt::format("nobody answered within {}", show(step.within)));
}

bool RoomSteps::ask(Playing& playing) {
  const RoomStep& step = *playing.step;
  playing.asked = clock_.now();
  Json fields = {{"question", step.name}, {"text", kept(step.ask)}, {"within", seconds(step.within)}};
  if (step.scores) fields["scores"] = to_string(*step.scores);
  const bool scripted = std::any_of(script_.begin(), script_.end(), [&](const ScriptedAnswer& answer) { return answer.to == step.name; });
  const bool somebody = room_ != nullptr || scripted;
  fields["answerable"] = somebody;
  record_("ask", std::move(fields));
  playing.open = somebody;
  if (somebody) asked_.push_back(&playing);
  else record_("unanswered", Json{{"question", step.name}, {"because", "there was nobody to ask: no terminal, and no answer in the file of --answers"}});
  return somebody;
}

void RoomSteps::hear(Playing& playing, const std::string& text) {
  if (!playing.open) return;
  ++playing.answers;
  record_("answer", Json{{"question", playing.step->name}, {"text", kept(text)}, {"after", seconds(clock_.now() - playing.asked)}});
  if (!playing.step->scores) playing.open = false;
}

void RoomSteps::close(Playing& playing, const std::string& because) {
  if (!playing.open) return;
  playing.open = false;
  if (playing.answers == 0) record_("unanswered", Json{{"question", playing.step->name}, {"because", because}});
}

// "NAME: text" is for that question; anything else for the oldest that nobody has answered, or else the newest that takes another answer.
RoomSteps::Playing* RoomSteps::meant_by(const std::string& line, std::string& text) {
  text = line;
  const std::size_t colon = line.find(':');
  Playing* fresh = nullptr;
  Playing* newest = nullptr;
  for (Playing* playing : asked_) {
    if (!playing->open) continue;
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == playing->step->name) {
      text = trimmed(line.substr(colon + 1));
      return playing;
    }
    newest = playing;
    if (playing->answers == 0 && fresh == nullptr) fresh = playing;
  }
  return fresh != nullptr ? fresh : newest;
}

void RoomSteps::on_line(const std::string& line) {
  const std::string said = trimmed(line);
  if (said.empty() || ++lines_ > kMaxLinesOfRoom) return;
  std::string text;
  Playing* playing = meant_by(said, text);
  if (text.empty()) return;
  if (playing != nullptr) hear(*playing, text);
  else record_("note", Json{{"text", kept(text)}, {"from", "room"}});
}

// Cut when nothing of a secret is left in it.
std::string RoomSteps::kept(const std::string& text) const { return cut(playbook_.redact(text), kMaxAnswerBytes); }

void RoomSteps::no_more() {
  for (const auto& playing : playing_) {
    const bool asked = std::find(asked_.begin(), asked_.end(), playing.get()) != asked_.end();
    if (playing->running && !asked) playing->cancel.emit(asio::cancellation_type::terminal);
  }
}

Task<> RoomSteps::end() {
  for (const auto& playing : playing_) {
    if (playing->running) playing->cancel.emit(asio::cancellation_type::terminal);
  }
  while (running_ > 0) {
    co_await clock_.sleep(std::chrono::milliseconds(1));
  }
  for (Playing* playing : asked_) close(*playing, "the run ended before anybody answered");
}

}  // namespace capsize
