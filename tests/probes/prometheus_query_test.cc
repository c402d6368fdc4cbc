#include "tests/probes/scripted_documents.h"

using namespace capsize;
using namespace capsize::test;
using namespace std::chrono_literals;

namespace {

const Json kParams = {{"prometheus", "http://prometheus.staging:9090/prefix/"}, {"query", "sum(up{job=\"a b\"})"}};

Json vector_of(std::vector<std::string> values) {
  Json result = Json::array();
  for (const std::string& value : values) result.push_back({{"metric", Json::object()}, {"value", Json::array({1700000000.1, value})}});
  return {{"status", "success"}, {"data", {{"resultType", "vector"}, {"result", result}}}};
}

std::optional<double> value(const char* measure, const Watched& watched) {
  const auto measured = find_probe("prometheus.query")->measure(measure, watched.all());
  return measured ? std::optional(measured->value) : std::nullopt;
}

std::string why(const Watched& watched) { return find_probe("prometheus.query")->why_unknown("max", watched.all()); }

// Of one look that is answered so.
Watched once(const Document& answer) {
  return watch("prometheus.query", kParams, 500ms, [&](double) { return answer; });
}

}  // namespace

TEST_CASE("an expression is asked for as often as told, and its largest, smallest, mean and last value are measures", "[alert]") {
  Json params = kParams;
  params["every"] = "500ms";
  const Watched watched = watch("prometheus.query", params, 1900ms, [](double at) { return answered(vector_of({at < 0.4 ? "1" : at < 0.9 ? "7.5" : at < 1.4 ? "-2" : "1.5e0"})); });
  REQUIRE(watched.windows.size() == 4);
  CHECK(watched.asked[0] == "/api/v1/query?query=sum%28up%7Bjob%3D%22a%20b%22%7D%29");
  CHECK(watched.windows[1] == Json({{"from", 0.5}, {"to", 0.5}, {"value", 7.5}}));
  CHECK(value("max", watched) == 7.5);
  CHECK(value("min", watched) == -2);
  CHECK(value("mean", watched) == 2);
  CHECK(value("last", watched) == 1.5);
  CHECK(value("median", watched) == std::nullopt);
  CHECK(why(watched).empty());
}

TEST_CASE("a scalar is a value too", "[alert]") {
  CHECK(value("last", once(answered({{"status", "success"}, {"data", {{"resultType", "scalar"}, {"result", Json::array({1, "3"})}}}}))) == 3);
}

TEST_CASE("what is no number is not known, and why is said with the server's address", "[alert]") {
  const std::string at = "Prometheus at http://prometheus.staging:9090/prefix/: ";
  const std::vector<std::pair<Document, std::string>> rows = {
      {no_answer("no connection: Connection refused"), at + "no connection: Connection refused"},
      {answered(vector_of({})), at + "the expression has no value: nothing matches it (add \"or vector(0)\" where that means zero)"},
      {answered(vector_of({"1", "2"})), at + "the expression has 2 values; make one of them, as with sum(...)"},
      {answered(vector_of({"NaN"})), at + "the value of the expression is NaN, which no bound can judge"},
      {answered(vector_of({"+Inf"})), at + "the value of the expression is +Inf, which no bound can judge"},
      {answered({{"status", "success"}, {"data", {{"resultType", "matrix"}, {"result", Json::array()}}}}), at + "the expression is a matrix; write one whose value is one number"},
      {answered({{"status", "error"}, {"errorType", "bad_data"}, {"error", "parse error: unexpected end of input"}}, 400), at + "it answered 400: parse error: unexpected end of input"},
      {{"", 502, "<html>bad gateway\nand more"}, at + "it answered 502: <html>bad gateway"},
      {{"", 200, "{\"status\""}, at + "its answer is no JSON"},
      {answered({{"status", "success"}, {"data", nullptr}}), at + "its answer is not of the form that is documented"},
      {answered(Json::array({1})), at + "its answer is not of the form that is documented"},
  };
  for (const auto& [document, because] : rows) {
    const Watched watched = once(document);
    INFO(because);
    REQUIRE(watched.windows.size() == 1);
    CHECK(watched.windows[0].at("gap") == because);
    CHECK(value("max", watched) == std::nullopt);
    CHECK(why(watched) == "1 of 1 looks had no answer: " + because);
  }
}

TEST_CASE("one look without an answer makes the whole span unknown: the value may have been anything", "[alert]") {
  const Watched watched = watch("prometheus.query", kParams, 3500ms, [](double at) { return at > 1.5 && at < 2.5 ? no_answer("no answer within 1s") : answered(vector_of({"1"})); });
  REQUIRE(watched.windows.size() == 4);
  CHECK(value("max", watched) == std::nullopt);
  CHECK(value("last", watched) == std::nullopt);
  CHECK(why(watched).starts_with("1 of 4 looks had no answer: Prometheus at "));
}

TEST_CASE("a slow answer delays the next question and is not made up for", "[alert]") {
  const Watched watched = watch("prometheus.query", kParams, 5s, [](double) { return answered(vector_of({"1"})); }, 1500ms);
  REQUIRE(watched.windows.size() == 4);
  CHECK(watched.windows[1].at("from") == 1.5);
  CHECK(watched.windows[1].at("to") == 3.0);
}

TEST_CASE("an empty expression is a mistake of the playbook", "[alert]") {
  Diagnostics found;
  find_probe("prometheus.query")->spec().validate({{"prometheus", "http://a:1"}, {"query", " "}}, "", {}, found);
  REQUIRE(found.all().size() == 1);
  CHECK(found.all()[0].pointer == "/query");
}
