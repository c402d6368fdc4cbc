#include "injector/base/diagnostics.h"

#include <catch2/catch.hpp>

using namespace capsize;

TEST_CASE("diagnostics are printed in the order of the file, one a line", "[diagnostics]") {
  Diagnostics diagnostics;
  diagnostics.add({"/b", "second", "do that", Severity::error, 3, 1, false});
  diagnostics.add({"", "first", "", Severity::warning, 1, 7, false});
  CHECK(diagnostics.text("p.json") == "p.json:1:7: warning: /: first\np.json:3:1: /b: second; do that\n");
  CHECK(diagnostics.errors() == 1);
  CHECK(!diagnostics.ok());
  CHECK(diagnostics.json("p.json")[0] == Json{{"file", "p.json"}, {"line", 3}, {"column", 1}, {"pointer", "/b"}, {"fact", "second"}, {"remedy", "do that"}, {"severity", "error"}});
}

TEST_CASE("warnings alone are no failure", "[diagnostics]") {
  Diagnostics diagnostics;
  diagnostics.warn("/a", "odd", "look");
  CHECK(diagnostics.ok());
}

TEST_CASE("pointers escape what has a meaning in them", "[diagnostics]") {
  CHECK(pointer_join("/a", "b/c~d") == "/a/b~1c~0d");
  CHECK(pointer_join("", std::size_t{3}) == "/3");
}

TEST_CASE("a near word is meant, a far one is not", "[diagnostics]") {
  const std::vector<std::string> known = {"server", "share", "balancer.skew", "for"};
  CHECK(did_you_mean("sever", known) == "server");
  CHECK(did_you_mean("shrae", known) == "share");
  CHECK(did_you_mean("balancer.skwe", known) == "balancer.skew");
  CHECK(did_you_mean("skew", known) == "balancer.skew");
  CHECK(did_you_mean("serv", known) == "server");
  CHECK(did_you_mean("fro", {"at"}) == "");
  CHECK(did_you_mean("elephant", known) == "");
  CHECK(did_you_mean("", known) == "");
  CHECK(did_you_mean(std::string(100, 's'), known) == "");
}

TEST_CASE("text from outside cannot command a terminal", "[diagnostics]") {
  CHECK(printable("plain caf\u00e9") == "plain caf\u00e9");
  CHECK(printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\x0a");
  CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");            // C1: CSI
  CHECK(printable("\xe2\x80\xae" "abc") == "\\xe2\\x80\\xae" "abc");  // right-to-left override
  CHECK(printable("\xff\xc3") == "\\xff\\xc3");
  CHECK(printable(std::string(300, 'x')) == std::string(200, 'x') + "...");
}
