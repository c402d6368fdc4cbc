#include "injector/doctor/symptom.h"

#include <algorithm>
#include <set>

namespace capsize {

std::string_view to_string(Gravity severity) {
  switch (severity) {
    case Gravity::harm: return "harm";
    case Gravity::suspect: return "suspect";
    case Gravity::leftover: return "leftover";
    case Gravity::held: break;
  }
  return "held";
}

void mark_held(std::vector<Symptom>& findings) {
  std::set<std::string> held;
  for (const Symptom& symptom : findings) {
    if (symptom.severity == Gravity::held && !symptom.impairment.empty()) held.insert(symptom.impairment);
  }
  for (Symptom& symptom : findings) {
    if (symptom.severity != Gravity::leftover || held.count(symptom.impairment) == 0) continue;
    symptom.severity = Gravity::held;
    symptom.advice = "a run in progress uses it, and takes it away by itself";
  }
}

void sort_by_severity(std::vector<Symptom>& findings) {
  std::stable_sort(findings.begin(), findings.end(), [](const Symptom& a, const Symptom& b) { return a.severity < b.severity; });
}

Json to_json(const Symptom& finding) {
  return {{"kind", finding.kind},   {"severity", to_string(finding.severity)}, {"what", finding.what}, {"where", finding.where}, {"from", finding.from}, {"undo", finding.undo},
          {"advice", finding.advice}};
}

Json to_json(const Examination& examination) {
  Json findings = Json::array();
  for (const Symptom& finding : examination.findings) findings.push_back(to_json(finding));
  Json unseen = Json::array();
  for (const Unseen& item : examination.unseen) unseen.push_back({{"what", item.what}, {"why", item.why}, {"remedy", item.remedy}});
  return {{"clean", examination.clean()}, {"complete", examination.unseen.empty()}, {"findings", findings}, {"not_seen", unseen}, {"looked_at", examination.looked_at}};
}

std::string shell_word(std::string_view text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@%+=,-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) return std::string(text);
  std::string out = "'";
  for (const char letter : text) {
    if (letter == '\'') out += "'\\''";
    else out += letter;
  }
  return out + "'";
}

}  // namespace capsize
