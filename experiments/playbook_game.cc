// Game days: what a sealed run chooses from, and what the people in the room are told and asked.
#include <fmt/format.h>

#include <algorithm>

#include "experiments/game/sealed.h"
#include "experiments/playbook_reader.h"

namespace capsize {
namespace {

std::string in_quotes(std::string_view text) { return "\"" + printable(text, 60) + "\""; }

}  // namespace

void PlaybookReader::read_sealed(const Json& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string pointer = pointer_join("/sealed", i);
    const SealedKeys keys = parse(sealed_spec(), list[i], pointer);
    SealedCause cause{keys.name, keys.cause, keys.known_by, {}};
    read_faults(keys.faults.json, pointer + "/faults", cause.faults);
    for (std::size_t j = 0; j < i; ++j) {
      if (!cause.name.empty() && out_.sealed[j].name == cause.name) wrong(pointer + "/name", {fmt::format("{} is also the name of /sealed/{}", in_quotes(cause.name), j), "give each cause a name of its own"});
    }
    out_.sealed.push_back(std::move(cause));
  }
  check_known_by();
  check_ends();
}

// The fault phase lasts as long as the longest cause, whichever is chosen, and the recovery counts from its end: a cause that is over before would
// have been gone for a while by then, and a slow recovery from it would pass for a quick one.
void PlaybookReader::check_ends() {
  std::optional<std::pair<std::size_t, Duration>> first;
  for (std::size_t i = 0; i < out_.sealed.size(); ++i) {
    const auto& faults = out_.sealed[i].faults;
    const std::string pointer = pointer_join("/sealed", i) + "/faults";
    const auto last = std::max_element(faults.begin(), faults.end(), [](const PlannedFault& a, const PlannedFault& b) { return a.at + a.lasting < b.at + b.lasting; });
    const auto& told = diagnostics_.all();
    const bool amiss = is_broken(pointer) || std::any_of(told.begin(), told.end(), [&](const Diagnostic& one) { return one.pointer.starts_with(pointer); });
    if (last == faults.end() || amiss) continue;  // its times may not be what was meant
    const Duration end = last->at + last->lasting;
    if (!first) first = {i, end};
    if (first->second == end) continue;
    wrong(pointer_join(pointer, static_cast<std::size_t>(last - faults.begin())) + "/for",
          {fmt::format("this cause ends {} after the start of the fault phase, and /sealed/{} after {}: whichever is chosen, recovery counts from the end of the longest", show(end), first->first, show(first->second)),
           "let every cause end at the same time: change \"at\" or \"for\""});
  }
}

// An answer that names two causes is no hypothesis: where a phrase of one is within a phrase of the other, no answer could be right.
void PlaybookReader::check_known_by() {
  for (std::size_t i = 0; i < out_.sealed.size(); ++i) {
    const auto& phrases = out_.sealed[i].known_by;
    for (std::size_t p = 0; p < phrases.size(); ++p) {
      const std::string pointer = pointer_join(pointer_join("/sealed", i) + "/known_by", p);
      if (!phrase_within(phrases[p], phrases[p])) {
        wrong(pointer, {fmt::format("{} has no word", in_quotes(phrases[p])), "write a word by which the cause is known"});
        continue;
      }
      for (std::size_t j = 0; j < out_.sealed.size(); ++j) {
        const auto& others = out_.sealed[j].known_by;
        const auto clash = std::find_if(others.begin(), others.end(), [&](const std::string& other) { return j != i && phrase_within(phrases[p], other); });
        if (clash == others.end() || (j < i && phrase_within(*clash, phrases[p]))) continue;  // the same phrase twice is said once
        wrong(pointer, {fmt::format("who says {} of /sealed/{} says {}, too: no answer could tell the two causes apart", in_quotes(*clash), j, in_quotes(phrases[p])), "choose words that only one of them has"});
      }
    }
  }
}

void PlaybookReader::check_step_time(const RoomStep& step, const std::string& pointer) {
  const Duration phase = step.during == Span::baseline ? out_.timing.baseline : step.during == Span::recovery ? out_.timing.recovery : out_.fault_phase();
  if (step.during != Span::baseline && !has_faults_) {
    wrong(pointer, {fmt::format("a playbook without faults has no {} phase", to_string(step.during)), "write \"during\": \"baseline\", or add \"faults\" or \"sealed\""});
  } else if (step.at >= phase && phase > Duration(0)) {
    diagnostics_.warn(pointer, fmt::format("the {} phase lasts {}, so that this is never {}", to_string(step.during), show(phase), step.ask.empty() ? "said" : "asked"), "make \"at\" shorter, or the phase longer");
  }
}

void PlaybookReader::read_steps(const Json& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string pointer = pointer_join("/steps", i);
    const StepKeys keys = parse(step_spec(), list[i], pointer);
    RoomStep step{keys.ask.value_or(""), keys.note.value_or(""), keys.name.value_or(fmt::format("q{}", i + 1)), keys.during, keys.at, keys.within, keys.scores};
    if (list[i].is_object()) check_step_time(step, pointer);
    if (keys.ask) {
      const auto same = std::find_if(out_.steps.begin(), out_.steps.end(), [&](const RoomStep& other) { return !other.ask.empty() && other.name == step.name; });
      if (same != out_.steps.end()) wrong(keys.name ? pointer + "/name" : pointer, {fmt::format("there is another question {}: an answer could be for either", in_quotes(step.name)), "give each question a \"name\" of its own"});
    } else if (keys.note) {
      for (const char* key : {"name", "within", "scores"}) {
        if (list[i].contains(key)) diagnostics_.add_key(pointer_join(pointer, key), fmt::format("\"{}\" is not a key of a note", key), "leave it out, or write \"ask\" in place of \"note\"");
      }
    }
    out_.steps.push_back(std::move(step));
  }
}

}  // namespace capsize
