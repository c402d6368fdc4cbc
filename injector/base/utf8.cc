#include "injector/base/utf8.h"

namespace capsize {

std::size_t utf8_sequence(std::string_view text, std::size_t at, unsigned& point) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(at);
  point = first;
  if (first < 0x80) return 1;
  std::size_t length = 0;
  if (first >= 0xc2 && first < 0xe0) length = 2, point = first & 0x1fu;
  else if (first >= 0xe0 && first < 0xf0) length = 3, point = first & 0x0fu;
  else if (first >= 0xf0 && first < 0xf5) length = 4, point = first & 0x07u;
  if (length == 0) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0u) != 0x80u) return 0;
    point = (point << 6) | (byte(at + i) & 0x3fu);
  }
  const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
  const bool surrogate = point >= 0xd800 && point <= 0xdfff;
  return overlong || surrogate || point > 0x10ffff ? 0 : length;
}

}  // namespace capsize
