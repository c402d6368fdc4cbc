// What the tests of capsize doctor share: a bench to plant leftovers on, whose findings are those of `capsize --json doctor`.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/system/machine.h"

namespace capsize::doctor_test {

namespace fs = std::filesystem;

class Bench {
 public:
  Bench() {
    std::string pattern = (fs::temp_directory_path() / "capsize-doctor-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
  }
  ~Bench() {
    for (auto it = at_end_.rbegin(); it != at_end_.rend(); ++it) sh(*it);
    fs::remove_all(folder_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  const fs::path& folder() const { return folder_; }
  Ran sh(const std::string& command) {
    Spawned process({"/bin/sh", "-c", command}, folder_ / "sh");
    Ran ran;
    ran.code = process.wait();
    ran.out = process.out();
    ran.err = process.err();
    return ran;
  }
  void must(const std::string& command) {
    const Ran ran = sh(command);
    INFO(command << "\n" << ran.out << ran.err);
    REQUIRE(ran.code == 0);
  }
  void at_end(const std::string& command) { at_end_.push_back(command); }

  // A namespace that `ip netns` knows, with a name of its own; gone with the bench.
  std::string new_network() {
    static int number = 0;
    const std::string name = fmt::format("doc-{}-{}", ::getpid(), ++number);
    must("ip netns add " + name);
    at_end("ip netns del " + name);
    must(fmt::format("ip -n {} link set lo up && ip -n {} link add d0 type veth peer name d1 && ip -n {} link set d0 up && ip -n {} link set d1 up", name, name, name, name));
    return name;
  }
  // The findings whose JSON has this in it. The exit code agrees with whether there are any at all.
  std::vector<Json> findings(const std::string& about, std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"--json", "--state", (folder_ / "state").string(), "doctor"};
    words.insert(words.end(), more.begin(), more.end());
    const Ran ran = run_capsize(words, folder_);
    const Json answer = Json::parse(ran.out, nullptr, false);
    INFO(ran.out << ran.err);
    REQUIRE(answer.is_object());
    CHECK(ran.code == (answer["findings"].empty() ? 0 : 1));
    CHECK(answer["clean"] == answer["findings"].empty());
    last = answer;
    std::vector<Json> out;
    for (const Json& finding : answer["findings"]) {
      if (finding.dump().find(about) != std::string::npos) out.push_back(finding);
    }
    return out;
  }
  // As a person would: each command as it is printed.
  void run_undo(const std::vector<Json>& found) {
    for (const Json& finding : found) must(finding["undo"].get<std::string>());
  }
  Json last;  // the whole answer

 private:
  fs::path folder_;
  std::vector<std::string> at_end_;
};

inline std::vector<std::string> kinds(const std::vector<Json>& found) {
  std::vector<std::string> out;
  for (const Json& finding : found) out.push_back(finding["kind"].get<std::string>());
  std::sort(out.begin(), out.end());
  return out;
}
using Kinds = std::vector<std::string>;

inline bool is_root() {
  if (::geteuid() == 0) return true;
  WARN("skipped: needs root");
  return false;
}

}  // namespace capsize::doctor_test
