#include "experiments/playbook.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "experiments/playbook_reader.h"
#include "experiments/playbook_variables.h"
#include "injector/base/located_json.h"

namespace capsize {
namespace {

const Json* at(const Json& json, const std::string& pointer) {
  const Json::json_pointer place(pointer);
  return json.contains(place) ? &json.at(place) : nullptr;
}

bool mentions(const Json& json, const std::vector<std::string>& secrets) {
  if (secrets.empty()) return false;
  return hide_secrets_in(json, secrets) != json;
}

// No diagnostic shows a secret, not even the part of it that a shortened text begins with; and where a variable brought the wrong value,
// its name is said.
void finish_facts(Diagnostics& diagnostics, const Json& raw, const Filled& filled, const std::vector<std::string>& secrets) {
  for (Diagnostic& diagnostic : diagnostics.all()) {
    if (!diagnostic.about_key) {
      const Json* real = at(filled.real, diagnostic.pointer);
      const Json* written = at(raw, diagnostic.pointer);
      const bool from_variable = written != nullptr && real != nullptr && written->is_string() && *written != *real;
      if (real != nullptr && mentions(*real, secrets)) diagnostic.fact = "the value, which holds a secret, is not accepted here";
      if (from_variable) diagnostic.fact += fmt::format(" (from \"{}\")", printable(written->get<std::string>(), 60));
    }
    diagnostic.fact = hide_secrets(diagnostic.fact, secrets);
    diagnostic.remedy = hide_secrets(diagnostic.remedy, secrets);
  }
}

// In the order of the file, nothing twice, and not endlessly many.
Diagnostics in_order(const Diagnostics& found) {
  std::vector<Diagnostic> sorted = found.all();
  std::stable_sort(sorted.begin(), sorted.end(), [](const Diagnostic& a, const Diagnostic& b) { return std::tie(a.line, a.column) < std::tie(b.line, b.column); });
  std::set<std::pair<std::string, std::string>> said;
  Diagnostics out;
  std::size_t more = 0;
  Diagnostic last;
  for (Diagnostic& diagnostic : sorted) {
    if (!said.emplace(diagnostic.pointer, diagnostic.fact).second) continue;
    if (out.all().size() < kMaxDiagnostics) {
      out.add(std::move(diagnostic));
    } else {
      ++more;
      last = std::move(diagnostic);
      last.severity = last.severity == Severity::error || found.ok() ? last.severity : Severity::error;
    }
  }
  if (more > 0) {
    last.fact = fmt::format("{} more problems up to here", more);
    last.remedy = "mend those above first";
    out.add(std::move(last));
  }
  return out;
}

// The parameters that are a command, of whatever fault, target or probe has them.
constexpr const char* kCommands[] = {"command", "restart"};

// A command line is seen by every user of the machine; that of a fault is in its plan and its undo journal, too.
void check_commands(const Playbook& playbook, const std::vector<std::string>& secrets, Diagnostics& diagnostics) {
  const auto check = [&](const std::string& pointer, const Json& words) {
    if (!mentions(words, secrets)) return;
    diagnostics.add_key(pointer, "a secret in a command line, where every user of the machine can read it", "let the command take it from a file or its environment");
  };
  const auto check_params = [&](const std::string& pointer, const Json& params) {
    for (const char* key : kCommands) check(pointer_join(pointer, key), params.value(key, Json()));
  };
  const auto check_faults = [&](const std::string& pointer, const std::vector<PlannedFault>& faults) {
    for (std::size_t i = 0; i < faults.size(); ++i) check_params(pointer_join(pointer, i), faults[i].params);
  };
  for (const auto& [name, via] : playbook.hosts) check(pointer_join("/hosts", name) + "/via", Json(via));
  for (const auto& [name, target] : playbook.targets) check_params(pointer_join("/targets", name), target.params);
  for (const auto& [name, probe] : playbook.probes) check_params(pointer_join("/probes", name), probe.params);
  check_faults("/faults", playbook.faults);
  for (std::size_t i = 0; i < playbook.sealed.size(); ++i) check_faults(pointer_join("/sealed", i) + "/faults", playbook.sealed[i].faults);
}

}  // namespace

std::string_view to_string(Comparison comparison) {
  switch (comparison) {
    case Comparison::at_least: return "at_least";
    case Comparison::at_most: return "at_most";
    case Comparison::below: return "below";
    case Comparison::above: break;
  }
  return "above";
}

std::string_view to_string(Span span) {
  switch (span) {
    case Span::baseline: return "baseline";
    case Span::fault: return "fault";
    case Span::recovery: return "recovery";
    case Span::run: break;
  }
  return "run";
}

std::string_view to_string(Scores scores) {
  switch (scores) {
    case Scores::detected: return "detected";
    case Scores::hypothesis: return "hypothesis";
    case Scores::mitigation: break;
  }
  return "mitigation";
}

std::string Expectation::over() const { return during_fault ? "fault " + during_name : std::string(to_string(during)); }

std::string Expectation::name() const { return probe.empty() ? measure : probe + "." + measure; }

Duration Playbook::fault_phase() const {
  Duration end{};
  for (const PlannedFault& fault : faults) end = std::max(end, fault.at + fault.lasting);
  for (const SealedCause& cause : sealed) {
    for (const PlannedFault& fault : cause.faults) end = std::max(end, fault.at + fault.lasting);
  }
  return end;
}

Duration Playbook::escape_time() const { return escape ? escape->hold * static_cast<int>(escape->steps.size()) : Duration::zero(); }

bool Playbook::asks() const {
  return std::any_of(steps.begin(), steps.end(), [](const RoomStep& step) { return !step.ask.empty(); });
}

std::string Playbook::redact(std::string text) const { return hide_secrets(std::move(text), secrets); }

PlaybookResult read_playbook(const std::string& text, const PlaybookOptions& options) {
  PlaybookResult out;
  Diagnostics found;
  const auto located = parse_located(text, found);
  if (!located) {
    out.diagnostics = in_order(found);
    return out;
  }
  std::set<std::string> broken;
  for (const Diagnostic& slip : found.all()) broken.insert(slip.pointer);
  broken.erase("");
  Playbook playbook;
  if (located->json.is_object()) {
    Variables variables(options, found);
    const Filled filled = variables.fill_playbook(located->json);
    broken.insert(variables.broken().begin(), variables.broken().end());
    playbook = PlaybookReader(options.catalogs, filled.real, broken, found).read();
    playbook.as_run = filled.shown;
    playbook.secrets = variables.secrets();
    check_commands(playbook, playbook.secrets, found);
    finish_facts(found, located->json, filled, playbook.secrets);
  } else {
    const Mistake mistake = wrong_type(located->json, "an object: { \"playbook\": 1, ... }");
    found.add("", mistake.fact, mistake.remedy);
  }
  located->locate(found);
  if (found.ok()) out.playbook = std::move(playbook);
  out.diagnostics = in_order(found);
  return out;
}

PlaybookResult read_playbook_file(const std::filesystem::path& file, const PlaybookOptions& options) { return read_playbook(read_document(file), options); }

}  // namespace capsize
