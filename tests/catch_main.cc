// Catch's own main, but for what a test starts of this very program as capsize starts itself: the process that bears a burden.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <cstring>

#include "injector/burdens/bearer.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "burden") == 0) return capsize::bearer_main(argc, argv);
  return Catch::Session().run(argc, argv);
}
