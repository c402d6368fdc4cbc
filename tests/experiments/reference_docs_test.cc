#include "experiments/reference_docs.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/experiments/test_catalogs.h"

using namespace capsize;
namespace fs = std::filesystem;

namespace {

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace

TEST_CASE("generated docs are up to date", "[docs]") {
  for (const DocsProblem& problem : check_docs(fs::path(CAPSIZE_SOURCE_DIR) / "docs")) FAIL_CHECK("docs/" << problem.page << ": " << problem.what << " (capsize docs --write docs)");
}

TEST_CASE("a table of parameters gives name, type, default and meaning", "[docs]") {
  CHECK(parameter_table(test::skew_spec().fields()) ==
        "| name | type | default | meaning |\n| --- | --- | --- | --- |\n"
        "| `server` | name | required | the server that gets too much |\n"
        "| `share` | share | `\"80%\"` | its share of the traffic |\n");
}

TEST_CASE("sections are replaced, and what people wrote around them stays", "[docs]") {
  const auto filled = fill_sections("Before\n<!-- parameters -->\nold\n<!-- /parameters -->\nafter\n", {{"parameters", "new\n"}});
  CHECK(std::get<std::string>(filled) == "Before\n<!-- parameters -->\nnew\n<!-- /parameters -->\nafter\n");
  CHECK(std::get<std::string>(fill_sections(std::get<std::string>(filled), {{"parameters", "new\n"}})) == std::get<std::string>(filled));
  CHECK(std::holds_alternative<Mistake>(fill_sections("no markers", {{"parameters", "new\n"}})));
  CHECK(std::holds_alternative<Mistake>(fill_sections("<!-- parameters -->\nno end", {{"parameters", "new\n"}})));
}

TEST_CASE("writing begins missing pages, keeps prose, and is done when the check is content", "[docs]") {
  std::string folder = (fs::temp_directory_path() / "capsize-docs-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const fs::path docs = folder;
  const Catalogs catalogs = test::catalogs();
  CHECK(check_docs(docs, catalogs).size() == 7);
  CHECK(write_docs(docs, catalogs).size() == 7);
  CHECK(check_docs(docs, catalogs).empty());
  CHECK(write_docs(docs, catalogs).empty());
  const fs::path page = docs / "faults" / "balancer.skew.md";
  std::string text = text_of(page);
  text.replace(text.find("| `server`"), 10, "| `serber`");
  std::ofstream(page) << text << "\nWritten by hand.\n";
  REQUIRE(check_docs(docs, catalogs).size() == 1);
  CHECK(check_docs(docs, catalogs)[0].page == "faults/balancer.skew.md");
  CHECK(write_docs(docs, catalogs).size() == 1);
  CHECK(text_of(page).find("`server`") != std::string::npos);
  CHECK(text_of(page).ends_with("\nWritten by hand.\n"));
  fs::remove_all(docs);
}
