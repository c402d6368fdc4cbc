#include "experiments/report/markdown.h"

#include <functional>
#include <regex>
#include <sstream>

#include "experiments/report/escape.h"
#include "experiments/report/postmortem.h"
#include "report_checks.h"
#include "report_samples.h"

namespace capsize {
namespace {

std::string report_of(const Sample& sample) { return markdown_report(sample.playbook, sample.events, sample.verdict); }
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("report.md tells a refuted run in a message", "[report]") {
  const std::string text = report_of(refuted_sample());
  CHECK(text.substr(0, text.find('\n')) == "# Refuted: The balancer plays favourites");
  CHECK(has(text, "- **Failed:** login success ratio was 35.9 % during the fault; at least 95 % was expected (59.1 points short)\n"));
  CHECK(has(text, "- **Recovery:** Back to the steady state 9.8 s after the fault was gone; at most 15 s was expected.\n"));
  CHECK(has(text, "| ✗ **missed** | login success ratio during the fault | 35.9 % | at least 95 % | 33.8 % to 38.1 % |\n"));
  CHECK(has(text, "Permission used by balancer.skew: majority. Reason given: the lab is ours alone tonight"));
  CHECK(has(text, "exit code 1"));
  CHECK(text.size() < 3000);
}

TEST_CASE("report.md has a line for each suspect, who moved first", "[report]") {
  const std::string text = report_of(suspects_sample());
  CHECK(has(text, "| suspect | in the fault | what moved |\n| --- | --- | --- |\n| auth1 | **moved** | 31 failed of 36, and 0 of 24 in the baseline |\n| auth2 | cannot tell |"));
  CHECK(has(text, "| the database | ruled out | 0 failed of 120, and 0 of 80 in the baseline |\n"));
}

TEST_CASE("report.md has the retries and the escape test in a line each", "[report]") {
  const std::string text = report_of(escaped_sample());
  CHECK(has(text, "- **Retries:** Clients of login made 1 attempts per login in the baseline, 2.4 in the fault, 3 after it; in the escape test 3 at 50 %, 1.25 at 25 %.\n"));
  CHECK(has(text, "- **Escape test:** Escaped: logins succeeded again at 51.2 logins/s.\n"));
}

TEST_CASE("report.md of a residue prints what to do now", "[report]") {
  const std::string text = report_of(residue_sample());
  CHECK(has(text, "- **To do now:** look at it, then run: capsize revert 20261122-220003-7f3a --accept f0.s0\n"));
}

TEST_CASE("text from outside is no markdown: no markup, no link, no image, no mention", "[report]") {
  CHECK(markdown_text("a_b *c* `d` [e](f) <g> & |") == "a\\_b \\*c\\* \\`d\\` \\[e\\](f) &lt;g&gt; &amp; \\|");
  CHECK(markdown_text("http://evil.example") == "http\\://evil.example");
  CHECK(markdown_text("@everyone") == "@\xe2\x81\xa0" "everyone");
  CHECK(markdown_text("a\nb\x1b[2J") == "a\\\\x0ab\\\\x1b\\[2J");
}

TEST_CASE("text from outside begins no list, no heading and no block of code", "[report]") {
  CHECK(markdown_text("- a") == "\\- a");
  CHECK(markdown_text("+ a") == "\\+ a");
  CHECK(markdown_text("---") == "\\---");
  CHECK(markdown_text("===") == "\\===");
  CHECK(markdown_text("12. a") == "12\\. a");
  CHECK(markdown_text("1)") == "1\\)");
  CHECK(markdown_text("    a") == "a");
  CHECK(markdown_text("-3 % of 1.5 s - a") == "-3 % of 1.5 s - a");
}

TEST_CASE("hostile text adds no line, no cell, no block and no control character to report.md or postmortem.md", "[report]") {
  const auto lines = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };
  const auto unescaped = [](const std::string& text, char what) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < text.size(); ++i) count += text[i] == what && (i == 0 || text[i - 1] != '\\');
    return count;
  };
  const auto cells = [&](const std::string& text) { return unescaped(text, '|'); };
  const auto links = [&](const std::string& text) { return unescaped(text, ']'); };
  // What begins the blocks, line by line.
  const auto blocks = [](const std::string& text) {
    static const std::regex block("^( {4,}|[-+*] |[0-9]+[.)]( |$)|#+ |>|```|=+$|-+$|\\|)");
    std::istringstream in(text);
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);) {
      std::smatch found;
      out.push_back(std::regex_search(line, found, block) ? found[1].str() : "");
    }
    return out;
  };
  const auto postmortem_of = [](const Sample& sample) { return postmortem(sample.playbook, sample.events, sample.verdict); };
  for (const std::function<std::string(const Sample&)>& made_of : {std::function<std::string(const Sample&)>(report_of), std::function<std::string(const Sample&)>(postmortem_of)}) {
    const std::string harmless = made_of(hostile_sample("harmless"));
    CHECK(has(harmless, "harmless"));
    for (const std::string& text : hostile_texts()) {
      INFO(text);
      const std::string report = made_of(hostile_sample(text));
      CHECK(lines(report) == lines(harmless));
      CHECK(cells(report) == cells(harmless));
      CHECK(blocks(report) == blocks(harmless));
      CHECK(report.find('<') == std::string::npos);
      CHECK(!has(report, "http://evil"));
      CHECK(links(report) == links(harmless));
      CHECK(std::all_of(report.begin(), report.end(), [](char c) { return c == '\n' || static_cast<unsigned char>(c) >= 0x20; }));
    }
  }
}

}  // namespace capsize
