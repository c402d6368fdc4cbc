#include "experiments/detection.h"

#include "experiments/verdict.h"
#include "tests/experiments/made_evidence.h"

using namespace capsize;
using namespace capsize::test;

namespace {

const std::string kSilent(10, 's');  // the baseline: a look a second

Playbook alert_playbook(Json hypothesis) {
  Json changes = {{"hypothesis", std::move(hypothesis)}};
  changes["probes"]["alarm"] = {{"probe", "alert.fired"}, {"prometheus", "http://p:9090"}, {"alert", "Skew"}};
  changes["faults"] = Json::array({{{"fault", "process.pause"}, {"name", "first"}, {"target", "one"}, {"for", "10s"}}});
  return made_playbook(changes);
}

Playbook detects(const char* bound = "3s") { return alert_playbook(Json::array({{{"measure", "alarm.time_to_detect"}, {"at_most", bound}}})); }
Playbook clears(const char* bound = "3s") { return alert_playbook(Json::array({{{"measure", "alarm.time_to_clear"}, {"at_most", bound}}})); }

Json window(char look, double at) {
  Json out = {{"from", at}, {"to", at}};
  if (look == '?') out["gap"] = "Prometheus at http://p:9090/: no answer within 1s";
  else out["state"] = look == 's' ? "silent" : look == 'p' ? "pending" : look == 'f' ? "firing" : look == 'S' ? "suppressed" : look == 'n' ? "no_rule" : "broken";
  if (look == 'n') out["because"] = "there is no alert rule of this name";
  if (look == 'b') out["because"] = "its rule cannot be evaluated: many-to-many";
  if (look == 'S') out["because"] = "silenced by 7f3a";
  return out;
}

// Fault from 10 to 20 s; a look each second, 0.5 s after it began.
std::vector<Json> events(const std::string& looks, bool inject = true) {
  std::vector<Json> out = {{{"t", 0.0}, {"event", "run"}, {"without_faults", !inject}}, {{"t", 0.0}, {"event", "phase"}, {"phase", "baseline"}}};
  for (std::size_t i = 0; i < looks.size(); ++i) {
    const double at = static_cast<double>(i) + 0.5;
    if (i == 10) out.push_back({{"t", 10.0}, {"event", "phase"}, {"phase", "fault"}});
    if (i == 10 && inject) out.push_back({{"t", 10.0}, {"event", "injected"}, {"fault", 0}});
    if (i == 20) out.push_back({{"t", 20.0}, {"event", "phase"}, {"phase", "revert"}});
    if (i == 20 && inject) out.push_back({{"t", 20.0}, {"event", "undo"}, {"fault", 0}, {"step", "f0.s0"}, {"state", "undone"}});
    if (i == 20 && inject) out.push_back({{"t", 20.0}, {"event", "undone"}, {"ok", true}});
    if (looks[i] == '.') continue;  // nobody looked
    out.push_back({{"t", at}, {"event", "window"}, {"probe", "alarm"}, {"window", window(looks[i], at)}});
  }
  out.push_back({{"t", static_cast<double>(looks.size())}, {"event", "phase"}, {"phase", "end"}});
  return out;
}

Finding found(const Playbook& playbook, const std::string& looks, bool inject = true) {
  Evidence evidence(playbook);
  for (const Json& event : events(looks, inject)) evidence.add(event);
  return hold_since(evidence, playbook.hypothesis.at(0), !inject);
}

Json line(const std::string& looks) {
  const Playbook playbook = detects();
  Evidence evidence(playbook);
  for (const Json& event : events(looks)) evidence.add(event);
  return alerts_json(evidence).at(0);
}

bool says(const Finding& finding, const char* part) { return finding.because.find(part) != std::string::npos; }

struct Row {
  std::string looks;
  Holds holds;
  const char* because;
};

void check(const Playbook& playbook, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const Finding finding = found(playbook, row.looks);
    INFO(row.looks << ": " << finding.because);
    CHECK(finding.holds == row.holds);
    CHECK(says(finding, row.because));
  }
}

}  // namespace

TEST_CASE("an alert that fires in time after a silent baseline is detected, the time counts from the injection to the look that saw it", "[alert]") {
  const Finding finding = found(detects(), kSilent + "spff");
  CHECK(finding.holds == Holds::yes);
  CHECK(finding.expectation == "alarm.time_to_detect at most 3s");
  CHECK(finding.because == "Skew fired 2.50 s after the fault; expected at most 3s: as expected");
  CHECK(finding.evidence == Json({{"measure", "alarm.time_to_detect"}, {"kind", "duration"}, {"value", 2.5}, {"limit", 3.0}, {"comparison", "at most"}, {"since", 10.0}, {"not_before", 1.5}}));
}

TEST_CASE("late, missing, silenced, without a rule, or firing all along: the alert did not do its work", "[alert]") {
  check(detects(), {{kSilent + "sssssff", Holds::no, "fired 5.50 s after the fault; expected at most 3s: not as expected"},
                    {kSilent + "sssss", Holds::no, "Skew did not fire within 4.50 s of the fault; expected"},
                    {kSilent + "ppppp", Holds::no, "(it was pending; asked of http://p:9090)"},
                    {kSilent + "SSSSS", Holds::no, "(silenced by 7f3a; asked of http://p:9090)"},
                    {std::string(10, 'n') + "nnnnn", Holds::no, "(there is no alert rule of this name; asked of http://p:9090)"},
                    {kSilent + "bbbbb", Holds::no, "its rule cannot be evaluated: many-to-many"},
                    {"sssffsssss" "fffff", Holds::no, "Skew fired before the fault: an alert that always fires detects nothing"},
                    {"ssssssssSS" "fffff", Holds::no, "an alert that always fires detects nothing"}});
}

TEST_CASE("a missing answer is never a good verdict, nor a bad one where it might have been good", "[alert]") {
  check(detects(), {{std::string(25, '?'), Holds::unknown, "no answer within 1s"},
                    {kSilent + "?????", Holds::unknown, "not every look had an answer: Prometheus at http://p:9090/: no answer within 1s"},
                    {kSilent + "s??sssss", Holds::unknown, "not every look had an answer"},        // it may have fired and gone
                    {kSilent + "s????sff", Holds::unknown, "not every look had an answer"},        // or fired in time
                    {"sssssssss?" "fffff", Holds::unknown, "whether it was silent before the fault is not known: Prometheus at"},
                    {std::string(10, 'n') + "fffff", Holds::unknown, "whether it was silent before the fault is not known: there is no alert rule"},
                    {kSilent + "ss", Holds::unknown, "it cannot be told"},                          // the run ended too soon
                    {kSilent, Holds::unknown, "the fault was never injected"},
                    {"sssss....." "sff", Holds::unknown, "nobody had looked for 5.50 s when this fault began: it may have fired before"},
                    {"sssssss..." "sff", Holds::yes, "Skew fired 1.50 s after the fault"},
                    {"sssssssssp" "ff", Holds::unknown, "it was pending already when this fault began, and may have fired without it"}});
  // What was seen outweighs what was not.
  check(detects(), {{kSilent + "??f", Holds::yes, "fired 2.50 s after"}, {kSilent + "ssss?ff", Holds::no, "fired 5.50 s after"}, {"sss?ssssss" "f", Holds::yes, "fired 500 ms after"}});
}

TEST_CASE("an answer that comes around the limit cannot be told from one in time", "[alert]") {
  CHECK(found(detects("3s"), kSilent + "sssf").holds == Holds::unknown);  // silent at 2.5 s, firing at 3.5 s
  CHECK(found(detects("2500ms"), kSilent + "ssf").holds == Holds::yes);
}

TEST_CASE("an alert is gone when it stays silent after the undo, one that never fired cannot show it", "[alert]") {
  const std::string fault = "ssffffffff";
  check(clears(), {{kSilent + fault + "ffsss", Holds::yes, "Skew was gone 2.50 s after the undo; expected at most 3s: as expected"},
                   {kSilent + "ssffffffss" "sss", Holds::yes, "Skew was gone before the fault was"},
                   {kSilent + fault + "ffffffs", Holds::no, "gone 6.50 s after the undo"},
                   {kSilent + fault + "fsfffs", Holds::no, "gone 5.50 s after the undo"},            // back again is not gone
                   {kSilent + fault + "fffff", Holds::no, "Skew was not seen gone within 4.50 s of the undo"},
                   {kSilent + fault + "SSSSS", Holds::no, "not seen gone"},                          // somebody silenced it
                   {kSilent + fault + "ff", Holds::unknown, "it cannot be told"},
                   {kSilent + fault + "f????", Holds::unknown, "not every look had an answer: Prometheus at"},
                   {kSilent + fault + "fnnnn", Holds::unknown, "there is no alert rule of this name"},  // it was taken away while it fired
                   {kSilent + "ssssssssss" "sssss", Holds::unknown, "it was never seen firing, so that it was gone says nothing"}});
}

TEST_CASE("without faults an alert has to be silent all the time, and known to be", "[alert]") {
  CHECK(found(detects(), std::string(15, 's'), false).holds == Holds::yes);
  CHECK(found(detects(), std::string(15, 's'), false).because == "no fault was injected, and Skew was silent");
  CHECK(found(detects(), kSilent + "sfs", false).holds == Holds::no);
  CHECK(found(detects(), kSilent + "s?s", false).holds == Holds::unknown);
  CHECK(says(found(detects(), std::string(15, 'n'), false), "there is no alert rule of this name"));
}

TEST_CASE("the verdict has a line for each alert, expected or not", "[alert]") {
  const Json good = line(kSilent + "ssffffffff" "fsss");
  CHECK(good["alert"] == "Skew");
  CHECK(good["server"] == "http://p:9090");
  CHECK(good["detected"] == true);
  CHECK(good["silent_before"] == true);
  CHECK(good["time_to_detect"] == 2.5);
  CHECK(good["time_to_clear"] == 1.5);
  CHECK(good["because"] == "Skew fired 2.50 s after the fault; Skew was gone 1.50 s after the undo");
  const Json none = line(std::string(25, 'n'));
  CHECK(none["detected"] == false);
  CHECK(none["silent_before"] == nullptr);
  CHECK(none["time_to_detect"] == nullptr);
  CHECK(none["because"].get<std::string>().find("there is no alert rule of this name") != std::string::npos);
  CHECK(line(std::string(25, 'f'))["detected"] == false);
  CHECK(line(std::string(25, '?'))["detected"] == nullptr);
  CHECK(line(kSilent + "s?ssssssss")["detected"] == nullptr);
  CHECK(line("sssssssssp" "ff")["detected"] == nullptr);
}

TEST_CASE("an alert that nobody looked for while it should have fired is not known to have been silent", "[alert]") {
  // The fault begins at 10 s; looks at these times of the run.
  const auto judged = [](const Playbook& playbook, double undone, const std::vector<std::pair<double, char>>& looks) {
    Evidence evidence(playbook);
    phase(evidence, 0, "baseline");
    bool injected = false, gone = false;
    for (const auto& [at, look] : looks) {
      if (at > 10 && !std::exchange(injected, true)) {
        phase(evidence, 10, "fault");
        evidence.add({{"t", 10.0}, {"event", "injected"}, {"fault", 0}});
      }
      if (at > undone && !std::exchange(gone, true)) {
        evidence.add({{"t", undone}, {"event", "undo"}, {"fault", 0}, {"step", "f0.s0"}, {"state", "undone"}});
        evidence.add({{"t", undone}, {"event", "undone"}, {"ok", true}});
      }
      evidence.add({{"t", at}, {"event", "window"}, {"probe", "alarm"}, {"window", window(look, at)}});
    }
    phase(evidence, looks.back().first + 1, "end");
    return std::pair(hold_since(evidence, playbook.hypothesis.at(0), false), alerts_json(evidence).at(0)["detected"]);
  };
  struct Sparse {
    const char* at_most;
    double undone;
    std::vector<std::pair<double, char>> looks;
    Holds holds;
    Json detected;
    const char* because;
  };
  const std::vector<Sparse> rows = {
      {"30s", 75, {{5, 's'}, {65, 's'}, {125, 's'}}, Holds::unknown, nullptr, "Skew was not seen firing within 115.00 s of the fault; expected at most 30s; nobody looked for 55.00 s, in which it may have fired and gone"},
      {"30s", 75, {{5, 's'}, {25, 's'}, {45, 's'}, {65, 's'}}, Holds::no, false, "Skew did not fire within 55.00 s of the fault"},
      {"30s", 75, {{5, 's'}, {25, 's'}, {38, 's'}, {75, 's'}}, Holds::unknown, nullptr, "nobody looked for 37.00 s"},  // it may have fired at 29 s
      {"30s", 75, {{5, 's'}, {25, 's'}, {41, 's'}, {99, 's'}}, Holds::no, nullptr, "Skew was not seen firing within 89.00 s of the fault"},  // its time was over before
      {"30s", 16, {{5, 's'}, {15, 's'}, {25, 's'}, {35, 's'}, {45, 's'}}, Holds::unknown, nullptr, "nobody looked for 10.00 s"},  // the fault was shorter than that
      {"30s", 75, {{5, 's'}, {38, 'f'}}, Holds::yes, true, "Skew fired 28.00 s after the fault"},
      {"30s", 75, {{5, 's'}, {65, 'f'}}, Holds::unknown, true, "Skew fired 55.00 s after the fault; expected at most 30s: it cannot be told"}};
  for (const Sparse& row : rows) {
    const auto [finding, detected] = judged(detects(row.at_most), row.undone, row.looks);
    INFO(finding.because);
    CHECK(finding.holds == row.holds);
    CHECK(detected == row.detected);
    CHECK(says(finding, row.because));
  }
  // Where nothing is expected of it, as long as the fault lasted is too long.
  const Playbook watched = alert_playbook(Json::array({{{"measure", "alarm.firing"}, {"during", "baseline"}, {"at_most", 0}}}));
  const auto detected = [&](double undone) {
    Evidence evidence(watched);
    for (const Json& event : std::vector<Json>{{{"t", 0.0}, {"event", "phase"}, {"phase", "baseline"}},
                                               {{"t", 5.0}, {"event", "window"}, {"probe", "alarm"}, {"window", window('s', 5)}},
                                               {{"t", 10.0}, {"event", "injected"}, {"fault", 0}},
                                               {{"t", undone}, {"event", "undone"}, {"ok", true}},
                                               {{"t", 65.0}, {"event", "window"}, {"probe", "alarm"}, {"window", window('s', 65)}}}) evidence.add(event);
    return alerts_json(evidence).at(0)["detected"];
  };
  CHECK(detected(66) == false);
  CHECK(detected(40) == nullptr);
}

TEST_CASE("a look that was begun before the fault proves nothing of it, and no look at all is not \"not detected\"", "[alert]") {
  const Playbook playbook = detects();
  const auto with_last_look = [&](const Json& last) {
    Evidence evidence(playbook);
    for (const Json& event : events(kSilent)) {
      if (event["event"] != "phase" || event["phase"] != "end") evidence.add(event);
    }
    phase(evidence, 10, "fault");
    evidence.add({{"t", 10.0}, {"event", "injected"}, {"fault", 0}});
    if (last.is_object()) evidence.add({{"t", last["to"]}, {"event", "window"}, {"probe", "alarm"}, {"window", last}});
    return std::pair(hold_since(evidence, playbook.hypothesis.at(0), false), alerts_json(evidence).at(0));
  };
  const auto [begun, begun_line] = with_last_look({{"from", 9.9}, {"to", 10.2}, {"state", "firing"}});
  CHECK(begun.holds == Holds::unknown);
  CHECK(says(begun, "the look that saw it firing was begun before the fault was in place"));
  CHECK(begun_line["detected"] == nullptr);
  CHECK(with_last_look({{"from", 10.0}, {"to", 10.2}, {"state", "firing"}}).first.holds == Holds::yes);
  const auto [nobody, nobody_line] = with_last_look(nullptr);
  CHECK(nobody.holds == Holds::unknown);
  CHECK(nobody_line["detected"] == nullptr);
  CHECK(nobody_line["because"] == "whether Skew fired is not known: nobody looked after the fault");
}

TEST_CASE("a secret in the address of a monitoring server is in no finding", "[alert]") {
  Playbook playbook = detects();
  playbook.secrets = {"p:9090"};
  Evidence evidence(playbook);
  for (const Json& event : events(std::string(25, 'n'))) evidence.add(event);
  const std::string told = hold_since(evidence, playbook.hypothesis.at(0), false).because + alerts_json(evidence).dump();
  CHECK(told.find("p:9090") == std::string::npos);
  CHECK(told.find("asked of http://***") != std::string::npos);
}

TEST_CASE("it is worth watching on while an alert may still fire, or go, in time", "[alert]") {
  const auto open = [](const Playbook& playbook, const std::string& looks) {
    Evidence evidence(playbook);
    for (const Json& event : events(looks)) evidence.add(event);
    return still_open(evidence);
  };
  const std::string fault = "ssffffffff";
  CHECK(open(detects("15s"), kSilent + "ssssssssss" "ss"));
  CHECK(!open(detects("15s"), kSilent + "ssssssssss" "ssssssss"));
  CHECK(!open(detects("15s"), kSilent + fault + "f"));
  CHECK(open(clears("5s"), kSilent + fault + "ff"));
  CHECK(!open(clears("5s"), kSilent + fault + "ffs"));
  CHECK(!open(clears("5s"), kSilent + fault + "fffffff"));
}
