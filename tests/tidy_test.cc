// The house rules of docs/architecture.md, enforced.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "injector/fault.h"
#include "probes/probe.h"

using namespace capsize;
namespace fs = std::filesystem;

namespace {

const fs::path kRoot = CAPSIZE_SOURCE_DIR;
constexpr std::size_t kMaxLines = 400;

struct Source {
  std::string name;  // relative to the root, with forward slashes
  std::vector<std::string> lines;
};

std::vector<Source> sources(const std::vector<std::string>& folders) {
  std::vector<Source> out;
  for (const std::string& folder : folders) {
    if (!fs::exists(kRoot / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      const std::string extension = entry.path().extension().string();
      if (!entry.is_regular_file() || (extension != ".cc" && extension != ".h")) continue;
      Source source{fs::relative(entry.path(), kRoot).generic_string(), {}};
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) source.lines.push_back(line);
      out.push_back(std::move(source));
    }
  }
  std::sort(out.begin(), out.end(), [](const Source& a, const Source& b) { return a.name < b.name; });
  return out;
}

bool begins(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

// Which of our own folders a folder may include from.
std::vector<std::string> allowed_includes(const std::string& file) {
  if (begins(file, "injector/base/")) return {"injector/base/"};
  if (begins(file, "injector/")) return {"injector/"};
  if (begins(file, "probes/")) return {"probes/", "injector/base/", "injector/targets/"};
  return {"injector/", "probes/", "experiments/", "tests/"};
}

std::string without_comment(const std::string& line) {
  const std::size_t at = line.find("//");
  return at == std::string::npos ? line : line.substr(0, at);
}

std::string file_name_of(std::string_view catalog_name) {
  std::string out(catalog_name);
  std::replace(out.begin(), out.end(), '.', '_');
  return out;
}

bool exists_below(const std::string& folder, const std::string& file) {
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
    if (entry.path().filename() == file) return true;
  }
  return false;
}

const std::vector<std::string> kProduct = {"injector", "probes", "experiments"};
const std::vector<std::string> kEverything = {"injector", "probes", "experiments", "tests"};

}  // namespace

TEST_CASE("every part includes only what it may", "[tidy]") {
  const std::regex ours("^#include \"((injector|probes|experiments|tests)/[^\"]+)\"");
  for (const Source& source : sources(kProduct)) {
    const auto allowed = allowed_includes(source.name);
    for (const std::string& line : source.lines) {
      std::smatch match;
      if (std::regex_search(line, match, ours)) {
        const std::string included = match[1];
        INFO(source.name << " includes " << included);
        CHECK(std::any_of(allowed.begin(), allowed.end(), [&](const std::string& folder) { return begins(included, folder); }));
        CHECK(!begins(included, "tests/"));
      }
      if (line.find("#include <CLI/") != std::string::npos) {
        INFO(source.name << " includes CLI11");
        CHECK(begins(source.name, "experiments/cli/"));
      }
      if (line.find("#include <netlink/") != std::string::npos) {
        INFO(source.name << " includes libnl");
        CHECK(begins(source.name, "injector/netlink/"));
      }
    }
  }
}

TEST_CASE("every fault has a source file, a test and a docs page", "[tidy]") {
  REQUIRE(!fault_catalog().empty());
  for (const FaultType& fault : fault_catalog()) {
    INFO(fault.name);
    CHECK(fs::exists(kRoot / "injector/faults" / (file_name_of(fault.name) + ".cc")));
    CHECK(exists_below("tests", file_name_of(fault.name) + "_test.cc"));
    CHECK(fs::exists(kRoot / "docs/faults" / (std::string(fault.name) + ".md")));
  }
}

TEST_CASE("every probe has a source file, a test and a docs page", "[tidy]") {
  REQUIRE(!probe_catalog().empty());
  for (const ProbeType& probe : probe_catalog()) {
    INFO(probe.name);
    CHECK(exists_below("probes", file_name_of(probe.name) + ".cc"));
    CHECK(exists_below("tests", file_name_of(probe.name) + "_test.cc"));
    CHECK(fs::exists(kRoot / "docs/probes" / (std::string(probe.name) + ".md")));
  }
}

TEST_CASE("nothing outside the clock asks what time it is or waits for it", "[tidy]") {
  const std::regex clocks("(steady_clock|system_clock|high_resolution_clock)::now|clock_gettime|gettimeofday|sleep_for|sleep_until\\(std|\\busleep\\(|nanosleep|std::time\\(|\\btime\\(NULL|\\btime\\(nullptr");
  for (const Source& source : sources(kProduct)) {
    if (source.name == "injector/base/clock.cc" || source.name == "injector/syscall/syscall_names.h") continue;  // the latter names system calls
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      INFO(source.name << ":" << i + 1 << ": " << source.lines[i]);
      CHECK(!std::regex_search(without_comment(source.lines[i]), clocks));
    }
  }
}

// gcc 12.2 miscompiles awaits inside conditions, and temporaries built beside them with braces or captures.
TEST_CASE("an await stands alone on its line", "[tidy]") {
  const std::regex alone("^\\s*((const\\s+)?[A-Za-z_][\\w:<>,&*\\s]*\\s[&\\[\\]\\w, ]+=\\s*|[A-Za-z_][\\w.\\->\\[\\]]*\\s*=\\s*|co_return\\s+)?co_await\\s");
  const std::regex lambda("\\[[&=\\w, ]*\\]\\s*[({]");
  for (const Source& source : sources(kEverything)) {
    if (source.name == "tests/tidy_test.cc") continue;
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const std::string line = without_comment(source.lines[i]);
      if (line.find("co_await") == std::string::npos || line.find("\"co_await") != std::string::npos) continue;
      std::string statement = line;
      for (std::size_t next = i + 1; statement.find(';') == std::string::npos && next < source.lines.size() && next < i + 8; ++next) statement += without_comment(source.lines[next]);
      INFO(source.name << ":" << i + 1 << ": " << line);
      CHECK(std::regex_search(line, alone));
      CHECK(statement.find('{') == std::string::npos);
      CHECK(!std::regex_search(statement.substr(statement.find("co_await")), lambda));
    }
  }
}

TEST_CASE("a file is one room: at most 400 lines, and a header begins with what it is for", "[tidy]") {
  for (const Source& source : sources(kProduct)) {
    INFO(source.name << " has " << source.lines.size() << " lines");
    CHECK(source.lines.size() <= kMaxLines);
    if (source.name.size() > 2 && source.name.substr(source.name.size() - 2) == ".h") CHECK(begins(source.lines.front(), "//"));
  }
}

TEST_CASE("a type's name is taken once: two that share one are one to the linker", "[tidy]") {
  const std::regex opened("^namespace ([\\w:]+) \\{"), defined("^(struct|class|enum class|enum|union) (\\w+)( final)?( :[^{;]*)? \\{");
  std::map<std::string, std::string> taken;
  for (const Source& source : sources({"injector", "probes", "experiments", "tests"})) {
    if (!begins(std::string(source.name.rbegin(), source.name.rend()), "h.")) continue;
    std::string around;
    for (const std::string& line : source.lines) {
      std::smatch found;
      if (std::regex_search(line, found, opened)) around = found[1];
      if (!std::regex_search(line, found, defined)) continue;
      const auto [earlier, fresh] = taken.emplace(around + "::" + found[2].str(), source.name);
      INFO(earlier->first << " is defined in " << earlier->second << " and in " << source.name);
      CHECK(fresh);
    }
  }
  CHECK(taken.size() > 100);
}

TEST_CASE("no shell ever sees a string of ours", "[tidy]") {
  const std::regex shell("\\b(system|popen)\\(\"|std::system\\(|\\bpopen\\(|\"/bin/sh\"");
  for (const Source& source : sources(kProduct)) {
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      INFO(source.name << ":" << i + 1 << ": " << source.lines[i]);
      CHECK(!std::regex_search(without_comment(source.lines[i]), shell));
    }
  }
}

TEST_CASE("a link between the pages leads somewhere", "[tidy]") {
  const std::regex link("\\]\\(([^)#]+)[^)]*\\)");
  std::vector<fs::path> pages = {kRoot / "README.md"};
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "docs")) {
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  }
  std::size_t links = 0;
  for (const fs::path& page : pages) {
    std::ifstream in(page);
    for (std::string line; std::getline(in, line);) {
      for (std::sregex_iterator match(line.begin(), line.end(), link), end; match != end; ++match) {
        const std::string target = (*match)[1];
        if (target.find("://") != std::string::npos) continue;
        ++links;
        INFO(page << " links to " << target);
        CHECK(fs::exists(page.parent_path() / target));
      }
    }
  }
  CHECK(links > 0);
}
