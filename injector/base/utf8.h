// UTF-8, one code point at a time.
#pragma once
#include <cstddef>
#include <string_view>

namespace capsize {

// Length in bytes of the valid UTF-8 sequence at `at`, or 0 (overlong forms and surrogates are not valid). `point` is its code point.
std::size_t utf8_sequence(std::string_view text, std::size_t at, unsigned& point);

}  // namespace capsize
