#include "experiments/report/html.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "experiments/report/assets.h"
#include "experiments/report/words.h"
#include "injector/base/error.h"

namespace capsize {
namespace {

// 'sha256-…' of an inline script or style, as a content security policy names it.
std::string csp_hash(std::string_view content) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  CAPSIZE_CHECK(EVP_Digest(content.data(), content.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
  std::array<unsigned char, 64> base64{};
  const int size = EVP_EncodeBlock(base64.data(), digest.data(), static_cast<int>(length));
  return fmt::format("'sha256-{}'", std::string_view(reinterpret_cast<const char*>(base64.data()), static_cast<std::size_t>(size)));
}

// Without its source map's address: nothing in the page names another file.
std::string_view without_source_map(std::string_view asset) { return asset.substr(0, std::min(asset.rfind("//# sourceMappingURL"), asset.rfind("/*# sourceMappingURL"))); }

// Each {{slot}} once, in one pass: what is put in is not looked at again.
std::string fill(std::string_view page, const std::map<std::string_view, std::string>& slots) {
  std::string out;
  for (std::size_t at = 0; at < page.size();) {
    const std::size_t open = page.find("{{", at);
    out += page.substr(at, open - at);
    if (open == std::string_view::npos) break;
    const std::size_t close = page.find("}}", open);
    CAPSIZE_CHECK(close != std::string_view::npos);
    const auto slot = slots.find(page.substr(open + 2, close - open - 2));
    CAPSIZE_CHECK(slot != slots.end());
    out += slot->second;
    at = close + 2;
  }
  return out;
}

void write_tone(Html& html, std::string_view tone) {
  if (tone == "good") html.raw("good");
  else if (tone == "bad") html.raw("bad");
  else if (tone == "unsure") html.raw("unsure");
}

void write_head(Html& html, const Summary& summary) {
  const OutcomeWords words = outcome_words(summary.outcome);
  html.raw("<header>\n<div class=\"verdict\"><span class=\"badge ");
  write_tone(html, words.tone);
  html.raw("\">").text(words.badge).raw("</span><span class=\"meaning ");
  write_tone(html, words.tone);
  html.raw("\">").text(words.meaning).raw("</span></div>\n");
  html.element("h1", summary.title);
  std::string meta = "run " + summary.run;
  if (!summary.started.empty()) meta += " · " + summary.started;
  meta += " · took " + plain_seconds(summary.seconds);
  if (!summary.seed.empty()) meta += " · seed " + summary.seed;
  html.raw("\n<p class=\"meta\">").text(meta).raw("</p>\n");
  if (!summary.description.empty()) html.raw("<p class=\"meta\">").text(summary.description).raw("</p>\n");
  html.raw("</header>\n");
}

void write_residue(Html& html, const Summary& summary) {
  if (summary.all_undone) return;
  html.raw("<section class=\"alarm\" role=\"alert\"><p><strong>Something may still be injected.</strong> Do this first:</p>\n");
  for (const ResidueWords& one : summary.residue) {
    html.raw("<p>").text(one.what).raw_if(!one.because.empty(), ": ").text(one.because).raw("</p>\n");
    if (!one.remedy.empty()) html.raw("<pre>").text(one.remedy).raw("</pre>\n");
  }
  html.raw("</section>\n");
}

// What stood in the way of an answer; nothing where the findings and the residue say it already.
void write_why(Html& html, const Summary& summary) {
  const bool told = summary.outcome == "held" || summary.outcome == "refuted" || summary.outcome == "unrecovered" || !summary.all_undone;
  if (told || summary.because.empty()) return;
  html.raw("<dt>").text(summary.outcome == "aborted" ? "Why it stopped" : "Why no answer").raw("</dt>\n<dd><strong>").text(summary.because).raw("</strong></dd>\n");
}

void write_failed(Html& html, const Summary& summary) {
  constexpr std::size_t kMaxUnknown = 3;
  std::size_t held = 0;
  std::size_t unknown = 0;
  html.raw("<dt>What failed</dt>\n<dd><ul>");
  for (const FindingWords& one : summary.findings) {
    if (one.holds == "yes") ++held;
    if (one.recovery) continue;  // has its own line
    if (one.holds == "no") html.raw("<li><span class=\"mark tone-bad\">✗</span>").text(one.sentence).raw("</li>\n");
    if (one.holds == "unknown" && ++unknown <= kMaxUnknown) html.raw("<li><span class=\"mark tone-unsure\">?</span>").text(one.sentence).raw("</li>\n");
  }
  const std::size_t all = summary.findings.size();
  if (all == 0) html.raw("<li>Nothing was expected.</li>");
  else if (held == all) html.raw("<li><span class=\"mark tone-good\">✓</span>").text(fmt::format("Nothing: {} held.", all == 1 ? "the one expectation" : fmt::format("all {} expectations", all))).raw("</li>");
  else if (held == 0) html.raw("<li class=\"quiet\">").text(fmt::format("None of {} expectations could be shown to hold.", all)).raw("</li>");
  else html.raw("<li class=\"quiet\"><span class=\"mark tone-good\">✓</span>").text(fmt::format("{} of {} expectations held", held, all)).raw("</li>");
  html.raw("</ul></dd>\n");
}

// A sentence with its mark in front.
void write_marked(Html& html, std::string_view tone, std::string_view sentence) {
  html.raw("<dd><ul><li><span class=\"mark tone-");
  write_tone(html, tone);
  html.raw("\">").text(tone == "good" ? "✓" : tone == "bad" ? "✗" : "?").raw("</span>").text(sentence).raw("</li></ul></dd>\n");
}

void write_story(Html& html, const Summary& summary) {
  html.raw("<dl class=\"story\">\n<dt>What was done</dt>\n<dd>");
  for (const std::string& sentence : summary.done) html.element("div", sentence);
  html.raw("</dd>\n");
  write_why(html, summary);
  write_failed(html, summary);
  const bool injected = std::any_of(summary.phases.begin(), summary.phases.end(), [](const Phase& phase) { return phase.name == "fault"; });
  html.raw("<dt>Recovery</dt>\n");
  write_marked(html, summary.recovery_missed ? "bad" : summary.recovered == true || !injected ? "good" : "unsure", summary.recovery);
  html.raw("<dt>Undo</dt>\n");
  write_marked(html, !summary.all_undone ? "bad" : summary.undo_known ? "good" : "unsure", summary.undo);
  html.raw("</dl>\n");
}

void write_cards(Html& html, const Summary& summary) {
  if (summary.key_numbers.empty()) return;
  html.raw("<ul class=\"cards\" aria-label=\"Key numbers\">\n");
  for (const KeyNumber& number : summary.key_numbers) {
    html.raw("<li class=\"");
    write_tone(html, number.tone);
    html.raw("\"><span class=\"label\">").text(number.label).raw("</span><span class=\"number\">").text(number.value).raw("</span><span class=\"note\">").text(number.note).raw("</span></li>\n");
  }
  html.raw("</ul>\n");
}

Json limits_json(const Chart& chart, const Summary& summary, const Json& verdict) {
  Json out = Json::array();
  for (const Json& finding : list_of(verdict, "findings")) {
    const Json& evidence = member(finding, "evidence");
    const auto limit = number_of(evidence, "limit");
    if (!limit || std::find(chart.measures.begin(), chart.measures.end(), text_of(evidence, "measure")) == chart.measures.end()) continue;
    for (const Phase& phase : summary.phases) {
      if (phase.name == text_of(evidence, "during")) out.push_back({{"value", *limit}, {"from", phase.from}, {"to", phase.to}, {"label", finding_words(finding).limit}});
    }
  }
  return out;
}

Json charts_json(const std::vector<Chart>& charts, const Summary& summary, const Json& verdict) {
  Json out = {{"charts", Json::array()}, {"phases", Json::array()}};
  double end = 1;
  for (const Chart& chart : charts) {
    Json rows = Json::array();
    for (const auto& [t, values] : chart.rows) {
      Json row = Json::array({t});
      for (const auto& value : values) row.push_back(value ? Json(std::round(*value * 1e5) / 1e5) : Json(nullptr));
      end = std::max(end, t);
      rows.push_back(std::move(row));
    }
    Json dashed = Json::array();
    for (std::size_t i = 0; i < chart.measures.size(); ++i) {
      // The median beside its p99; and every third server, so that curves that lie on each other can both be seen.
      if (chart.measures[i].ends_with(".p50") || (chart.id == "shares" && i % 3 == 2)) dashed.push_back(i);
    }
    out["charts"].push_back({{"id", chart.id}, {"kind", chart.kind}, {"labels", chart.labels}, {"dashed", dashed}, {"limits", limits_json(chart, summary, verdict)}, {"rows", std::move(rows)}});
  }
  for (const Phase& phase : summary.phases) {
    out["phases"].push_back({{"name", phase.name}, {"from", phase.from}, {"to", phase.to}});
    end = std::max(end, phase.to);
  }
  out["span"] = Json::array({0, end});
  return out;
}

}  // namespace

std::string html_report(const Json& playbook, const std::vector<Json>& events, const Json& verdict) {
  const Summary summary = summarize(playbook, events, verdict);
  const auto probes = probe_windows(playbook, events);
  const auto curves = charts(probes);
  Html body;
  body.raw("<main>\n");
  write_head(body, summary);
  write_residue(body, summary);
  write_story(body, summary);
  write_cards(body, summary);
  write_charts(body, curves, probes, summary);
  write_findings(body, summary);
  write_suspects(body, summary);
  write_game(body, summary);
  write_alerts(body, summary);
  write_faults(body, summary, verdict);
  write_rest(body, summary, playbook);
  body.raw("</main>\n<footer>").text("Written by capsize " + summary.version + ". This file needs no network and sends nothing anywhere.").raw("</footer>");
  const std::string style = std::string(without_source_map(kDygraphsCss)) + std::string(kPageCss);
  const std::string_view dygraphs = without_source_map(kDygraphsJs);
  const std::string policy = fmt::format("default-src 'none'; script-src {} {}; style-src {}; base-uri 'none'; form-action 'none'", csp_hash(dygraphs), csp_hash(kPageJs), csp_hash(style));
  return fill(kPageHtml, {{"csp", policy},
                          {"title", html_text(fmt::format("{}: {}", outcome_words(summary.outcome).badge, summary.title))},
                          {"style", style},
                          {"body", body.take()},
                          {"data", script_json(charts_json(curves, summary, verdict))},
                          {"dygraphs", std::string(dygraphs)},
                          {"script", std::string(kPageJs)}});
}

}  // namespace capsize
