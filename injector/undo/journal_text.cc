#include "injector/undo/journal_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/crc.hpp>

#include "injector/base/error.h"
#include "injector/base/json_lines.h"

namespace capsize {
namespace {

constexpr std::size_t kCrcChars = 8;
constexpr std::size_t kMaxReasonChars = 600;

std::string crc_of(std::string_view payload) {
  boost::crc_32_type crc;
  crc.process_bytes(payload.data(), payload.size());
  return fmt::format("{:08x}", crc.checksum());
}

std::string line_of(std::uint64_t number, std::string_view kind, Json body) {
  body["n"] = number;
  body["record"] = kind;
  const std::string payload = body.dump(-1, ' ', true, Json::error_handler_t::replace);
  return crc_of(payload) + ' ' + payload + '\n';
}

bool whole(std::string_view line) {
  return line.size() > kCrcChars + 1 && line[kCrcChars] == ' ' && crc_of(line.substr(kCrcChars + 1)) == line.substr(0, kCrcChars);
}

// Is what follows the last line end a record that a crash cut off, or a whole one whose line end was changed?
bool cut_off(std::string_view tail) { return tail.empty() || !whole(tail.substr(0, tail.size() - 1)); }

std::string shortened(const std::string& text) { return text.size() <= kMaxReasonChars ? text : text.substr(0, kMaxReasonChars) + "..."; }

class Reader {
 public:
  explicit Reader(JournalContents& contents) : contents_(contents) {}

  void line(std::string_view text) {
    const std::uint64_t place = line_number_++;
    if (!whole(text)) {
      damage(place, "its checksum does not match");
      return;
    }
    try {
      const Json json = parse_json_line(text.substr(kCrcChars + 1));
      const auto number = json.at("n").get<std::uint64_t>();
      if (number != place) damage(place, fmt::format("record {} stands where record {} belongs", number, place));
      record(place, json.at("record").get<std::string>(), json);
    } catch (const std::exception& problem) {
      damage(place, problem.what());
    }
  }

  void damage(std::uint64_t place, const std::string& what) {
    if (contents_.damage.empty()) contents_.damage = fmt::format("line {}: {}", place + 1, what);
  }

 private:
  void record(std::uint64_t place, const std::string& kind, const Json& json) {
    if (kind == "run") {
      if (place != 0) return damage(place, "a second run begins");
      if (const int format = json.at("format").get<int>(); format != kJournalFormat) {
        return damage(place, fmt::format("its format is {}, this capsize reads {}", format, kJournalFormat));
      }
      contents_.run = JournalRun{json.at("run"), json.at("boot_id"), process_identity_from_json(json.at("agent")),
                                 process_identity_from_json(json.at("guard")), json.at("at")};
      return;
    }
    if (place == 0) damage(place, "it does not begin with its run");
    const StepId id = json.at("step").get<std::string>();
    JournalStep* known = contents_.find(id);
    if (kind == "step") {
      if (known) return damage(place, "step " + id + " is there twice");
      JournalStep step;
      step.id = id;
      step.undo = op_from_json(json.at("undo"));
      step.lasts = lasts_from(json.at("lasts").get<std::string>());
      step.lifetime = std::chrono::milliseconds(json.at("lifetime_ms").get<std::int64_t>());
      step.at = json.at("at").get<std::string>();
      contents_.steps.push_back(std::move(step));
      return;
    }
    if (!known) return damage(place, "it speaks of step " + id + ", which is not there");
    if (kind == "done") {
      known->result = undo_result_from_json(json.at("result"));
    } else if (kind == "accepted") {
      known->accepted = json.at("because").get<std::string>();
    } else {
      damage(place, "its kind is unknown: " + kind);
    }
  }

  JournalContents& contents_;
  std::uint64_t line_number_ = 0;
};

}  // namespace

Lasts lasts_from(std::string_view word) {
  for (const Lasts lasts : {Lasts::look, Lasts::while_held, Lasts::until_restart, Lasts::until_reboot, Lasts::persistent}) {
    if (to_string(lasts) == word) return lasts;
  }
  throw Error(ErrorKind::bug, "not how long an op lasts: " + std::string(word));
}

bool JournalStep::outstanding() const {
  if (!accepted.empty()) return false;
  return !result || (result->state != UndoState::undone && result->state != UndoState::nothing_to_undo);
}

bool JournalContents::outstanding() const {
  return damaged() || std::any_of(steps.begin(), steps.end(), [](const JournalStep& step) { return step.outstanding(); });
}

const JournalStep* JournalContents::find(const StepId& id) const {
  const auto it = std::find_if(steps.begin(), steps.end(), [&](const JournalStep& step) { return step.id == id; });
  return it == steps.end() ? nullptr : &*it;
}

JournalStep* JournalContents::find(const StepId& id) { return const_cast<JournalStep*>(std::as_const(*this).find(id)); }

JournalContents parse_journal(std::string_view bytes) {
  JournalContents contents;
  Reader reader(contents);
  for (;;) {
    const std::string_view rest = bytes.substr(contents.good_bytes);
    const auto end = rest.find('\n');
    if (end == std::string_view::npos) {
      if (!cut_off(rest)) reader.damage(contents.records, "its end was changed");
      return contents;
    }
    reader.line(rest.substr(0, end));
    contents.good_bytes += end + 1;
    ++contents.records;
  }
}

std::string run_record(std::uint64_t number, const JournalRun& run) {
  return line_of(number, "run",
                 {{"format", kJournalFormat}, {"run", run.run}, {"boot_id", run.boot_id}, {"agent", to_json(run.agent)}, {"guard", to_json(run.guard)}, {"at", run.began}});
}

std::string step_record(std::uint64_t number, const JournalStep& step) {
  const auto lifetime = std::chrono::duration_cast<std::chrono::milliseconds>(step.lifetime).count();
  return line_of(number, "step",
                 {{"step", step.id}, {"undo", to_json(step.undo)}, {"lasts", to_string(step.lasts)}, {"lifetime_ms", lifetime}, {"at", step.at}});
}

std::string done_record(std::uint64_t number, const StepId& id, const UndoResult& result, const std::string& at) {
  UndoResult kept = result;  // bounded, because the space for it was set aside before the step
  kept.because = shortened(kept.because);
  kept.remedy = shortened(kept.remedy);
  kept.detail = Json::object();
  return line_of(number, "done", {{"step", id}, {"result", to_json(kept)}, {"at", at}});
}

std::string accepted_record(std::uint64_t number, const StepId& id, const std::string& because, const std::string& at) {
  return line_of(number, "accepted", {{"step", id}, {"because", shortened(because)}, {"at", at}});
}

}  // namespace capsize
