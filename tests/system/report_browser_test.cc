// The report in a real browser: its charts are drawn, its console stays silent, it asks the network for nothing, hostile text stays text.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "experiments/report/html.h"
#include "experiments/report/junit.h"
#include "tests/experiments/report_checks.h"
#include "tests/experiments/report_samples.h"

extern char** environ;

namespace capsize {
namespace {

namespace fs = std::filesystem;

class TempDir {
 public:
  TempDir() {
    std::string pattern = (fs::temp_directory_path() / "capsize-browser-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

std::string text_of_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_file(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  REQUIRE(out.good());
}

// Runs a program to its end; what it says goes to `out` and `err`. Returns its exit code, 127 when there is no such program.
int run_program(std::vector<std::string> words, const fs::path& out, const fs::path& err) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t pid = 0;
  const int problem = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (problem != 0) return 127;
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

struct Seen {
  std::string dom;
  std::vector<std::string> console;
  std::set<std::string> hosts;  // asked for by anybody in the browser, reached or not
};

Seen open_in_browser(const std::string& page, int width = 1280) {
  const TempDir dir;
  write_file(dir / "page.html", page);
  const std::vector<std::string> words = {"timeout", "120", "chromium", "--headless=old", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                                          "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",  // the browser's own curiosity ends here
                                          "--user-data-dir=" + (dir / "profile").string(), "--window-size=" + std::to_string(width) + ",900", "--enable-logging=stderr",
                                          "--log-net-log=" + (dir / "net.json").string(), "--dump-dom", "file://" + (dir / "page.html").string()};
  const int code = run_program(words, dir / "dom", dir / "err");
  Seen seen;
  seen.dom = text_of_file(dir / "dom");
  const std::string err = text_of_file(dir / "err");
  INFO(err);
  if (code == 127) FAIL("chromium is not installed: apt-get install chromium");
  REQUIRE(code == 0);
  const std::regex console("CONSOLE[^\n]*");
  for (std::sregex_iterator it(err.begin(), err.end(), console), end; it != end; ++it) seen.console.push_back(it->str());
  const std::string net = text_of_file(dir / "net.json");
  const std::regex url("\"url\":\"[a-z]+://([^/\"]+)");
  for (std::sregex_iterator it(net.begin(), net.end(), url), end; it != end; ++it) seen.hosts.insert((*it)[1]);
  return seen;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

std::string page_of(const Sample& sample) { return html_report(sample.playbook, sample.events, sample.verdict); }

}  // namespace

TEST_CASE("the browser test sees what it looks for: a console message and a request", "[system][report][beside]") {
  const Seen seen = open_in_browser("<!doctype html><img src=\"http://127.0.0.1:9/x.png\"><script>console.error('noticed')</script>");
  CHECK(seen.console.size() == 1);
  CHECK(seen.hosts.count("127.0.0.1:9") == 1);
}

TEST_CASE("the report draws its charts, in silence and without a request", "[system][report][beside]") {
  const Seen blank = open_in_browser("<!doctype html><title>blank</title>");
  for (const int width : {1280, 390}) {
    const Seen seen = open_in_browser(page_of(refuted_sample()), width);
    CHECK(seen.console == std::vector<std::string>{});
    CHECK(std::includes(blank.hosts.begin(), blank.hosts.end(), seen.hosts.begin(), seen.hosts.end()));
    CHECK(count_of(seen.dom, "data-charts=\"3\"") == 1);
    CHECK(count_of(seen.dom, "<canvas") >= 6);  // two a chart: the curves, and the cursor above them
    for (const char* name : {"auth1", "auth2", "auth3", "login p99"}) CHECK(count_of(seen.dom, name) >= 1);
  }
}

TEST_CASE("text of a target's choosing is text in the browser, in the charts too", "[system][report][beside]") {
  std::string everything;
  for (const std::string& text : hostile_texts()) everything += text;
  const Seen seen = open_in_browser(page_of(hostile_sample(everything)));
  CHECK(seen.console == std::vector<std::string>{});
  CHECK(count_of(seen.dom, "data-charts=\"3\"") == 1);
  for (const char* element : {"<img", "<svg", "<evil", "<script>alert"}) CHECK(count_of(seen.dom, element) == 0);
}

TEST_CASE("an independent parser reads junit.xml, with hostile text in it", "[system][report][beside]") {
  std::string everything;
  for (const std::string& text : hostile_texts()) everything += text;
  const TempDir dir;
  write_file(dir / "junit.xml", junit_report(hostile_sample(everything).verdict));
  const std::string script = "import sys, xml.etree.ElementTree as e; r = e.parse(sys.argv[1]).getroot(); print(r.tag, len(r.findall('.//testcase')), r.get('tests'))";
  const int code = run_program({"python3", "-c", script, (dir / "junit.xml").string()}, dir / "out", dir / "err");
  INFO(text_of_file(dir / "err"));
  REQUIRE(code == 0);
  CHECK(text_of_file(dir / "out") == "testsuites 9 9\n");
}

}  // namespace capsize
