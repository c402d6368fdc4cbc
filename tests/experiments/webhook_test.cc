// What a chat is told of a run; that it is sent is shown in tests/system/nightly_test.cc.
#include "experiments/report/webhook.h"

#include <algorithm>

#include "injector/base/error.h"
#include "report_checks.h"
#include "report_samples.h"

namespace capsize {
namespace {

std::string text(const Sample& sample) { return webhook_message(sample.verdict, "favourite", "/runs/r").at("text"); }

}  // namespace

TEST_CASE("a chat is told the outcome, what was missed, the recovery and where the report is", "[report]") {
  const std::string said = text(refuted_sample());
  INFO(said);
  CHECK(said.starts_with("capsize: favourite: Refuted: "));
  CHECK(said.find("\n\xe2\x80\xa2 login success ratio was ") != std::string::npos);
  CHECK(said.find("Back to the steady state") != std::string::npos);
  CHECK(said.ends_with("/runs/r/report.html"));
  CHECK(text(held_sample()).find("\xe2\x80\xa2") == std::string::npos);  // nothing was missed
}

TEST_CASE("residue is told with what to do", "[report]") {
  const Sample sample = residue_sample();
  const std::string said = text(sample);
  INFO(said);
  CHECK(said.find("NOT everything was undone") != std::string::npos);
  CHECK(said.find(sample.verdict["residue"][0]["remedy"].get<std::string>().substr(0, 10)) != std::string::npos);
}

TEST_CASE("a program is told the same as facts", "[report]") {
  const Sample sample = refuted_sample();
  const Json facts = webhook_message(sample.verdict, "favourite", "/runs/r").at("capsize");
  CHECK(facts["run"] == sample.verdict["run"]);
  CHECK(facts["playbook"] == "favourite");
  CHECK(facts["outcome"] == "refuted");
  CHECK(facts["exit_code"] == 1);
  CHECK(facts["recovery"] == sample.verdict["recovery"]);
  CHECK(facts["not_held"].size() == 2);
  const Json none = webhook_of_no_run("favourite", 69, "the balancer is gone");
  CHECK(none["text"] == "capsize: favourite: no verdict (exit 69): the balancer is gone");
  CHECK(none["capsize"]["exit_code"] == 69);
  CHECK(none["capsize"]["outcome"].is_null());
}

TEST_CASE("hostile text is no link, no mention and no command of a chat", "[report]") {
  for (const std::string& hostile : hostile_texts()) {
    INFO(hostile);
    const std::string said = webhook_message(hostile_sample(hostile).verdict, hostile, hostile).at("text");
    CHECK(std::none_of(said.begin(), said.end(), [](char c) { return c == '<' || c == '>'; }));
    CHECK(said.find("@everyone") == std::string::npos);
    CHECK(said.find("://") == std::string::npos);
    CHECK(said.find("](") == std::string::npos);
    CHECK(std::all_of(said.begin(), said.end(), [](char c) { return c == '\n' || static_cast<unsigned char>(c) >= 0x20; }));
  }
}

TEST_CASE("what is no URL is refused, and the words do not repeat it: it is a secret", "[report]") {
  CHECK(webhook_url("https://hooks.example/T0/secret").address.port == 443);
  try {
    webhook_url("hooks.example/T0/secret");
    FAIL("it is no URL");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::refused);
    CHECK(std::string(error.what()).find("secret") == std::string::npos);
  }
}

}  // namespace capsize
