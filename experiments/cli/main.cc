#include <fmt/format.h>

int main() {
  fmt::print("capsize {}\n", CAPSIZE_VERSION);
  return 0;
}
