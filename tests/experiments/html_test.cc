#include "experiments/report/html.h"

#include <fstream>
#include <regex>
#include <set>

#include "report_checks.h"
#include "report_samples.h"

namespace capsize {
namespace {

std::string page_of(const Sample& sample) { return html_report(sample.playbook, sample.events, sample.verdict); }

std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const std::size_t from = text.find(begin);
  REQUIRE(from != std::string::npos);
  const std::size_t to = text.find(end, from + begin.size());
  REQUIRE(to != std::string::npos);
  return text.substr(from, to - from);
}

// What is left of a page without the contents of its scripts and its style: the markup that a browser makes elements of.
std::string markup_of(const std::string& page) {
  std::string out;
  for (std::size_t at = 0; at < page.size();) {
    std::size_t open = page.size();
    std::string name;
    for (const char* element : {"script", "style"}) {
      const std::size_t found = page.find(std::string("<") + element, at);
      if (found < open) open = found, name = element;
    }
    if (open == page.size()) return out + page.substr(at);
    const std::size_t content = page.find('>', open) + 1;
    out += page.substr(at, content - at);
    at = page.find("</" + name, content);
    REQUIRE(at != std::string::npos);
  }
  return out;
}

struct Tags {
  std::set<std::string> elements, attributes;
};

Tags tags_of(const std::string& markup) {
  Tags out;
  const std::regex tag("<[/!]?([^\\s>/]*)([^>]*)>");
  const std::regex attribute("([^\\s=\"]+)(=\"[^\"]*\")?");
  for (std::sregex_iterator it(markup.begin(), markup.end(), tag), end; it != end; ++it) {
    out.elements.insert((*it)[1]);
    const std::string rest = (*it)[2];
    for (std::sregex_iterator a(rest.begin(), rest.end(), attribute); a != end; ++a) out.attributes.insert((*a)[1]);
  }
  return out;
}

std::string first_screen(const Sample& sample) {
  const std::string markup = between(page_of(sample), "<header>", "<h2");
  return std::regex_replace(markup, std::regex("<[^>]*>"), " ");
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the first screen of a refuted run says, without a script, what was done, what failed, by how much and how long recovery took", "[report]") {
  const std::string screen = first_screen(refuted_sample());
  CHECK(has(screen, "Refuted"));
  CHECK(has(screen, "the degradation was not graceful"));
  CHECK(has(screen, "auth1 gets 80 % of backend auth (weights auth1 10 -&gt; 80), for 12 s, under 165 logins/s."));
  CHECK(has(screen, "login success ratio was 35.9 % during the fault; at least 95 % was expected (59.1 points short)"));
  CHECK(has(screen, "login p99 latency was 1 s during the fault; at most 262 ms (2x baseline) was expected (3.8 times the limit)"));
  CHECK(has(screen, "2 of 4 expectations held"));
  CHECK(has(screen, "Back to the steady state 9.8 s after the fault was gone; at most 15 s was expected."));
  CHECK(has(screen, "Everything was undone, and read back to make sure."));
}

TEST_CASE("the first screen of each outcome names it and what stood in the way", "[report]") {
  CHECK(has(first_screen(held_sample()), "Nothing: all 4 expectations held."));
  CHECK(has(first_screen(unrecovered_sample()), "Not back to the steady state within 40 s after the fault was gone"));
  CHECK(has(first_screen(invalid_sample()), "balancer.skew did not bite: auth1 got 33.4 % of 1979 new sessions"));
  CHECK(has(first_screen(aborted_sample()), "for 8.2 s of the 12 s planned"));
  CHECK(has(first_screen(inconclusive_sample()), "Nothing was injected: the run ended before its faults."));
  CHECK(has(first_screen(without_faults_sample()), "Nothing was injected: the playbook was run without its faults"));
  const std::string residue = first_screen(residue_sample());
  CHECK(has(residue, "Something may still be injected."));
  CHECK(has(residue, "capsize revert 20261122-220003-7f3a --accept f0.s0"));
}

TEST_CASE("the page has a table of suspects: who moved, who is ruled out, who cannot be told", "[report]") {
  const std::string page = page_of(suspects_sample());
  CHECK(has(page, "<h2 id=\"suspects\">Who is to blame?</h2>"));
  CHECK(has(page, "✗ moved</strong></td><td data-label=\"what moved\">31 failed of 36, and 0 of 24 in the baseline</td>"));
  CHECK(has(page, "✓ ruled out</span>"));
  CHECK(has(page, "? cannot tell</span>"));
  CHECK(!has(page_of(held_sample()), "Who is to blame?"));
}

TEST_CASE("a permission that was used is printed with its reason", "[report]") {
  const std::string page = page_of(refuted_sample());
  CHECK(has(page, "<strong>Permission used</strong> by balancer.skew: <code>majority</code>. Reason given: the lab is ours alone tonight"));
}

TEST_CASE("the page asks for nothing from outside and runs only its own scripts", "[report]") {
  const std::string page = page_of(refuted_sample());
  const std::string markup = markup_of(page);
  const std::string style = between(page, "<style>", "</style>");
  CHECK(!std::regex_search(markup, std::regex("\\s(src|href|srcset|action|poster|data|style|on[a-z]+)=")));
  CHECK(!has(style, "url("));
  CHECK(!has(style, "@import"));
  CHECK(!has(page, "sourceMappingURL"));
  CHECK(std::regex_search(page, std::regex("content=\"default-src 'none'; script-src 'sha256-[^' ]+' 'sha256-[^' ]+'; style-src 'sha256-[^' ]+'; base-uri 'none'; form-action 'none'\"")));
}

TEST_CASE("no text of a target, a playbook or an answer becomes markup", "[report]") {
  const Tags known = tags_of(markup_of(page_of(hostile_sample("harmless"))));
  for (const std::string& text : hostile_texts()) {
    INFO(text);
    const std::string page = page_of(hostile_sample(text));
    const Tags tags = tags_of(markup_of(page));
    CHECK(tags.elements == known.elements);
    CHECK(tags.attributes == known.attributes);
    CHECK(!has(page, "<script>alert"));
    for (const char* bad : {"\x1b", "\x07", "\xe2\x80\xa8", "\xe2\x80\xae", "\xc2\x9b"}) CHECK(!has(page, bad));
  }
}

TEST_CASE("the chart data cannot end its element and is the same JSON", "[report]") {
  const std::string text = "</script><!--\xe2\x80\xa8 & \"x\"";
  const std::string escaped = script_json(Json{{"name", text}});
  CHECK(escaped.find_first_of("<>&") == std::string::npos);
  CHECK(std::all_of(escaped.begin(), escaped.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
  CHECK(Json::parse(escaped) == Json{{"name", text}});
}

TEST_CASE("the charts carry success, latency and shares by second, with the phases and the limits", "[report]") {
  const std::string page = page_of(refuted_sample());
  const std::string element = between(page, "<script type=\"application/json\" id=\"data\">", "</script>");
  const Json data = Json::parse(element.substr(element.find('>') + 1));
  REQUIRE(data["charts"].size() == 3);
  const Json& success = data["charts"][0];
  CHECK(success["labels"] == Json::array({"login"}));
  CHECK(success["rows"][5] == Json::parse("[5.5, 1.0]"));
  CHECK(success["rows"][18][1].get<double>() == Approx(0.2).margin(0.02));
  CHECK(success["rows"][26][1].get<double>() == Approx(0.67).margin(0.02));
  CHECK(success["limits"] == Json::parse(R"([{"value": 0.95, "from": 10.0, "to": 22.0, "label": "at least 95 %"}])"));
  CHECK(data["charts"][1]["labels"] == Json::array({"login median", "login p99"}));
  CHECK(data["charts"][2]["labels"] == Json::array({"auth1", "auth2", "auth3"}));
  CHECK(data["charts"][2]["rows"][15][1].get<double>() == Approx(0.8).margin(0.02));
  std::vector<std::string> phases;
  for (const Json& phase : data["phases"]) phases.push_back(phase["name"]);
  CHECK(phases == std::vector<std::string>{"baseline", "fault", "revert", "recovering", "recovered"});
}

TEST_CASE("the same run gives the same page, byte for byte", "[report]") { CHECK(page_of(refuted_sample()) == page_of(refuted_sample())); }

TEST_CASE("a page can be made of a run that ended before it began, and of nonsense", "[report]") {
  CHECK(has(page_of({}), "Unknown"));
  Sample odd = refuted_sample();
  for (const char* key : {"findings", "faults", "recovery", "residue", "phases", "steady_state", "outcome"}) odd.verdict[key] = 7;
  odd.playbook["probes"] = "none";
  odd.events.push_back({{"event", 3}, {"t", "late"}});
  CHECK(has(page_of(odd), "The balancer plays favourites"));
}

// Not a check: for looking at them. CAPSIZE_SAMPLES=folder unit_tests "[samples]"
TEST_CASE("the samples' reports can be written to a folder", "[.][samples]") {
  const char* where = std::getenv("CAPSIZE_SAMPLES");
  REQUIRE(where != nullptr);
  for (const auto& [name, sample] : all_samples()) {
    std::ofstream out(std::string(where) + "/" + name + ".html");
    out << page_of(sample);
    CHECK(out.good());
  }
}

}  // namespace capsize
