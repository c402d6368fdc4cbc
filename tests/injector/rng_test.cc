#include <catch2/catch.hpp>

#include "injector/base/rng.h"

using namespace capsize;

TEST_CASE("one seed repeats what is drawn, and streams of one seed differ by name", "[rng]") {
  Rng a(7);
  Rng b(7);
  Rng other = a.stream("login");
  CHECK(a.next() == b.next());
  CHECK(Rng(7).stream("login").next() == other.next());
  CHECK(Rng(7).stream("login").next() != Rng(7).stream("shares").next());
}
