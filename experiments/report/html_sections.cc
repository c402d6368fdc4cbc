// The report below its first screen.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/report/html.h"
#include "experiments/report/words.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxEventsShown = 500;

void write_holds(Html& html, const std::string& holds) {
  if (holds == "yes") html.raw("<span class=\"tone-good\">✓ held</span>");
  else if (holds == "no") html.raw("<strong class=\"tone-bad\">✗ missed</strong>");
  else html.raw("<span class=\"tone-unsure\">? cannot tell</span>");
}

template <std::size_t N>
void cell(Html& html, const char (&label)[N], std::string_view content) {
  if (content.empty()) html.raw("<td></td>");
  else html.raw("<td data-label=\"").raw(label).raw("\">").text(content).raw("</td>");
}

// The charts in numbers: also the text alternative of the pictures.
void write_phase_table(Html& html, const std::vector<Chart>& charts, const std::vector<ProbeWindows>& probes, const Summary& summary) {
  std::vector<Phase> phases;
  for (const Phase& phase : summary.phases) {
    if (phase.to - phase.from >= 1 && phase.name != "revert") phases.push_back(phase);
  }
  if (phases.empty()) return;
  html.raw("<h2 id=\"numbers\">Numbers by phase</h2>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Measure</th>");
  for (const Phase& phase : phases) {
    html.raw("<th scope=\"col\" class=\"number\">").text(phase.name).raw("<br>").text(fmt::format("{} to {}", plain_value("number", std::round(phase.from * 10) / 10), plain_seconds(phase.to))).raw("</th>");
  }
  html.raw("</tr></thead>\n<tbody>\n");
  for (const Chart& chart : charts) {
    for (const std::string& measure : chart.measures) {
      html.raw("<tr><th scope=\"row\">").text(measure_words(measure)).raw("</th>");
      for (const Phase& phase : phases) {
        std::string value = "none";
        for (const ProbeWindows& probe : probes) {
          if (!measure.starts_with(probe.name + ".")) continue;
          const auto measured = probe.measure(measure.substr(probe.name.size() + 1), phase.from, phase.to);
          if (measured) value = plain_value(chart.kind, measured->value);
        }
        html.raw("<td class=\"number\">").text(value).raw("</td>");
      }
      html.raw("</tr>\n");
    }
  }
  html.raw("</tbody></table></div>\n");
}

void write_finding_rows(Html& html, const std::vector<FindingWords>& findings) {
  for (const FindingWords& one : findings) {
    html.raw("<tr><td class=\"narrow\">");
    write_holds(html, one.holds);
    html.raw("</td><th scope=\"row\">").text(one.measure.empty() ? one.expectation : one.measure).raw("<small class=\"quiet\"><br>").text(one.during).raw("</small></th>");
    cell(html, "measured", one.value.empty() ? one.because : one.value);
    cell(html, "expected", one.limit);
    cell(html, "95 % interval", one.interval);
    cell(html, "samples", one.samples);
    html.raw("</tr>\n");
  }
}

void write_finding_table(Html& html, const std::vector<FindingWords>& findings) {
  html.raw("<table class=\"stack\">\n<thead><tr><th scope=\"col\">Result</th><th scope=\"col\">Measure</th><th scope=\"col\">Measured</th><th scope=\"col\">Expected</th>"
           "<th scope=\"col\">95 % interval</th><th scope=\"col\">Samples</th></tr></thead>\n<tbody>\n");
  write_finding_rows(html, findings);
  html.raw("</tbody></table>\n");
  html.raw("<details><summary>The judge's own words</summary>\n<ul>\n");
  for (const FindingWords& one : findings) html.raw("<li><code>").text(one.expectation).raw("</code><br>").text(one.because).raw("</li>\n");
  html.raw("</ul></details>\n");
}

// Each step of the escape test: at which load, and how it went.
void write_escape(Html& html, const Summary& summary, const Json& escape) {
  if (summary.escape.empty()) return;
  html.element("p", summary.escape);
  html.raw("<table class=\"stack\">\n<thead><tr><th scope=\"col\">Load</th><th scope=\"col\">Logins due</th><th scope=\"col\">Held for</th><th scope=\"col\">Attempts per login</th><th scope=\"col\">Result</th></tr></thead>\n<tbody>\n");
  for (const Json& step : list_of(escape, "steps")) {
    const Json& steady = member(step, "steady");
    const auto retries = number_of(step, "retry_amplification");
    html.raw("<tr><th scope=\"row\">").text(plain_value("ratio", number_of(step, "share").value_or(0))).raw("</th>");
    cell(html, "logins due", plain_value("rate", number_of(step, "load").value_or(0)));
    cell(html, "held for", plain_seconds(number_of(step, "to").value_or(0) - number_of(step, "from").value_or(0)));
    cell(html, "attempts per login", retries ? plain_value("number", *retries) : "");
    html.raw("<td data-label=\"result\">")
        .raw_if(steady == true, "<span class=\"tone-good\">✓ logins succeed</span>")
        .raw_if(steady == false, "<span class=\"tone-bad\">✗ still stuck</span>")
        .raw_if(!steady.is_boolean(), "<span class=\"tone-unsure\">? cannot tell</span>");
    html.raw("<small>").text(text_of(step, "because")).raw("</small></td></tr>\n");
  }
  html.raw("</tbody></table>\n");
}

void write_effect(Html& html, const FaultWords& fault) {
  html.raw("<td data-label=\"effect\">");
  if (fault.bites == "yes") html.raw("<span class=\"tone-good\">✓ it bit</span>");
  else if (fault.bites == "no") html.raw("<strong class=\"tone-bad\">✗ it did not bite</strong>");
  else html.raw("<span class=\"tone-unsure\">? not measured</span>");
  if (!fault.because.empty()) html.raw("<small>").text(fault.because).raw("</small>");
  html.raw("</td>");
}

void write_undo(Html& html, const FaultWords& fault) {
  html.raw("<td data-label=\"undo\">");
  if (fault.undo == "undone") html.raw("<span class=\"tone-good\">✓ undone</span>");
  else if (fault.undo == "nothing_to_undo") html.raw("<span>nothing to undo</span>");
  else if (fault.undo == "unknown") html.raw("<span class=\"tone-unsure\">? not known: ask capsize status</span>");
  else html.raw("<strong class=\"tone-bad\">✗ ").text(fault.undo.empty() ? "not known" : fault.undo).raw("</strong>");
  if (!fault.undo_because.empty()) html.raw("<small>").text(fault.undo_because).raw("</small>");
  html.raw("</td>");
}

}  // namespace

void write_charts(Html& html, const std::vector<Chart>& charts, const std::vector<ProbeWindows>& probes, const Summary& summary) {
  if (charts.empty()) return;
  html.raw("<h2 id=\"charts\">Over time</h2>\n<noscript><p>The curves need scripts; the same numbers are in the table below.</p></noscript>\n");
  for (const Chart& chart : charts) {
    html.raw("<figure><figcaption><h3>").text(chart.title).raw("</h3><div class=\"legend\" id=\"legend-").text(chart.id).raw("\"></div></figcaption>");
    html.raw("<div class=\"chart\" role=\"img\" id=\"chart-").text(chart.id).raw("\" aria-label=\"").text(chart.title).raw(" over time; the table 'Numbers by phase' has its numbers\"></div></figure>\n");
  }
  html.raw("<p class=\"quiet small\">Seconds since the run began, in slices of at least a second, each attempt counted when it was due. "
           "Shaded: <i class=\"shade fault\"></i>fault in place, <i class=\"shade revert\"></i>being undone, <i class=\"shade recovering\"></i>not yet recovered, <i class=\"shade recovered\"></i>recovered")
      .raw_if(!summary.escape.empty(), ", <i class=\"shade escape\"></i>less load (the escape test)")
      .raw(". The dashed red line is what was expected. Drag to zoom, double-click to see all.</p>\n");
  write_phase_table(html, charts, probes, summary);
}

void write_findings(Html& html, const Summary& summary) {
  html.raw("<h2 id=\"findings\">What was expected</h2>\n");
  if (summary.findings.empty()) html.raw("<p>The playbook states no hypothesis.</p>\n");
  else write_finding_table(html, summary.findings);
  if (summary.gate.empty()) return;
  html.raw("<h2 id=\"gate\">Was it steady before the fault?</h2>\n");
  write_finding_table(html, summary.gate);
}

void write_suspects(Html& html, const Summary& summary) {
  if (summary.suspects.empty()) return;
  html.raw("<h2 id=\"suspects\">Who is to blame?</h2>\n<table class=\"stack\">\n<thead><tr><th scope=\"col\">Suspect</th><th scope=\"col\">During the fault</th><th scope=\"col\">What moved</th></tr></thead>\n<tbody>\n");
  for (const SuspectWords& one : summary.suspects) {
    html.raw("<tr><th scope=\"row\">").text(one.suspect).raw("<br><small class=\"quiet\">").text(one.probe).raw("</small></th><td data-label=\"during the fault\">");
    if (one.tone == "bad") html.raw("<strong class=\"tone-bad\">✗ moved</strong>");
    else if (one.tone == "good") html.raw("<span class=\"tone-good\">✓ ruled out</span>");
    else html.raw("<span class=\"tone-unsure\">? cannot tell</span>");
    html.raw("</td>");
    cell(html, "what moved", one.because);
    html.raw("</tr>\n");
  }
  html.raw("</tbody></table>\n<p class=\"quiet small\">Each asked directly, in the fault and in the baseline; tested for all of them together (Holm, 5 %).</p>\n");
}

void write_game(Html& html, const Summary& summary) {
  const GameWords& game = summary.game;
  if (!game.any()) return;
  html.raw("<h2 id=\"game\">The game day</h2>\n");
  if (!game.cause.empty()) html.raw("<p>It was <strong>").text(game.cause).raw("</strong></p>\n");
  if (!game.commitment.empty()) {
    html.raw("<p class=\"quiet small\">SHA-256 shown at the start: ").text(game.commitment).raw(". ");
    if (game.untold) html.raw("What it stands for was never told: the run ended before that.</p>\n");
    else if (game.matches) html.raw("What was told at the end matches it.</p>\n");
    else html.raw("<strong class=\"tone-bad\">What was told at the end does not match it.</strong></p>\n");
  }
  if (!game.score.empty()) {
    html.raw("<table class=\"stack\">\n<thead><tr><th scope=\"col\">Score</th><th scope=\"col\">After</th><th scope=\"col\">What was said</th></tr></thead>\n<tbody>\n");
    for (const ScoreWords& one : game.score) {
      html.raw("<tr><th scope=\"row\">").text(one.what).raw("</th>");
      cell(html, "after", one.value);
      cell(html, "said", one.because);
      html.raw("</tr>\n");
    }
    html.raw("</tbody></table>\n");
  }
  for (const GameWords::Hypothesis& one : game.hypotheses) {
    html.raw("<p>").text(one.when).raw(": \u201c").text(one.text).raw("\u201d");
    html.text(one.judged == "right" ? " was right" : one.judged == "wrong" ? " was not it" : one.judged == "several" ? " named more than one cause" : "").raw("</p>\n");
  }
}

void write_alerts(Html& html, const Summary& summary) {
  if (summary.alerts.empty()) return;
  html.raw("<h2 id=\"alerts\">Did the alerts notice?</h2>\n<table class=\"stack\">\n<thead><tr><th scope=\"col\">Alert</th><th scope=\"col\">Noticed</th><th scope=\"col\">When</th></tr></thead>\n<tbody>\n");
  for (const AlertWords& one : summary.alerts) {
    html.raw("<tr><th scope=\"row\">").text(one.alert).raw("<br><small class=\"quiet\">").text(one.probe).raw("</small></th><td data-label=\"noticed\">");
    if (one.tone == "bad") html.raw("<strong class=\"tone-bad\">✗ not detected</strong>");
    else if (one.tone == "good") html.raw("<span class=\"tone-good\">✓ detected</span>");
    else html.raw("<span class=\"tone-unsure\">? cannot tell</span>");
    html.raw("</td>");
    cell(html, "when", one.because);
    html.raw("</tr>\n");
  }
  html.raw("</tbody></table>\n");
}

void write_faults(Html& html, const Summary& summary, const Json& verdict) {
  html.raw("<h2 id=\"faults\">What was injected</h2>\n");
  if (never_told(verdict)) html.raw("<p>What was injected was sealed, and the run ended before it was told.</p>\n");
  if (summary.faults.empty()) {
    if (!never_told(verdict)) html.raw("<p>Nothing.</p>\n");
  } else {
    html.raw("<table class=\"stack\">\n<thead><tr><th scope=\"col\">Fault</th><th scope=\"col\">Intended</th><th scope=\"col\">Measured</th><th scope=\"col\">Effect</th><th scope=\"col\">Undo</th></tr></thead>\n<tbody>\n");
    for (const FaultWords& fault : summary.faults) {
      html.raw("<tr><th scope=\"row\">").text(fault.fault).raw("<br><small class=\"quiet\">").text(fault.summary).raw_if(!fault.when.empty(), ", ").text(fault.when).raw("</small></th>");
      cell(html, "intended", fault.intended);
      cell(html, "measured", fault.measured);
      write_effect(html, fault);
      write_undo(html, fault);
      html.raw("</tr>\n");
    }
    html.raw("</tbody></table>\n");
  }
  for (const FaultWords& fault : summary.faults) {
    if (fault.allowed.empty()) continue;
    std::string permissions;
    for (const std::string& one : fault.allowed) permissions += (permissions.empty() ? "" : ", ") + one;
    html.raw("<p><strong>Permission used</strong> by ").text(fault.fault).raw(": <code>").text(permissions).raw("</code>").text(fault.reason.empty() ? ", without a reason." : ". Reason given: ").text(fault.reason).raw("</p>\n");
  }
  html.raw("<h2 id=\"recovery\">Recovery and undo</h2>\n").element("p", summary.recovery);
  const std::string because = text_of(member(verdict, "recovery"), "because");
  if (!because.empty() && summary.recovery.find(because) == std::string::npos) html.raw("<p class=\"quiet\">").text(because).raw("</p>\n");
  if (!summary.rebalance.empty()) html.element("p", summary.rebalance);
  const std::string kind = text_of(member(verdict, "recovery"), "kind_because");
  if (!kind.empty()) html.raw("<p class=\"quiet\">").text(kind).raw("</p>\n");
  if (!summary.retries.empty()) html.element("p", summary.retries);
  write_escape(html, summary, member(member(verdict, "recovery"), "escape"));
  html.element("p", summary.undo);
}

void write_rest(Html& html, const Summary& summary, const Json& playbook) {
  html.raw("<h2 id=\"generator\">Could the load generator keep up?</h2>\n");
  if (summary.generator.empty()) {
    html.raw("<p>This run made no load of its own.</p>\n");
  } else {
    html.raw("<table class=\"facts\"><tbody>\n");
    for (const auto& [what, value] : summary.generator) html.raw("<tr><th scope=\"row\">").text(what).raw("</th><td>").text(value).raw("</td></tr>\n");
    html.raw("</tbody></table>\n");
  }
  html.raw("<h2 id=\"events\">What happened when</h2>\n<table class=\"events\">\n<thead><tr><th scope=\"col\" class=\"number\">Time</th><th scope=\"col\">Event</th></tr></thead>\n<tbody>\n");
  for (std::size_t i = 0; i < std::min(summary.events.size(), kMaxEventsShown); ++i) {
    const EventWords& event = summary.events[i];
    html.raw("<tr class=\"").text(event.kind == "fault" ? "fault" : event.kind == "stop" ? "stop" : "").raw("\"><td>").text(fmt::format("{:.1f} s", event.t)).raw("</td><td>").text(event.text).raw("</td></tr>\n");
  }
  html.raw("</tbody></table>\n");
  if (summary.events.size() > kMaxEventsShown) html.element("p", fmt::format("{} later events are in timeline.jsonl only.", summary.events.size() - kMaxEventsShown));
  html.raw("<h2 id=\"playbook\">The playbook as run</h2>\n<details><summary>Show it</summary>\n<pre class=\"playbook\">");
  const std::string text = playbook.dump(2, ' ', false, Json::error_handler_t::replace);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    html.text(std::string_view(text).substr(at, end - at)).raw("\n");
    at = end + 1;
  }
  html.raw("</pre></details>\n");
}

}  // namespace capsize
