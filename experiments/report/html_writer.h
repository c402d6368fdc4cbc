// Builds HTML so that text of unknown origin cannot get in unescaped: raw() takes literals of this program only.
#pragma once
#include <string>
#include <string_view>

#include "experiments/report/escape.h"

namespace capsize {

class Html {
 public:
  template <std::size_t N>
  Html& raw(const char (&literal)[N]) {
    out_.append(literal, N - 1);
    return *this;
  }
  template <std::size_t N>
  Html& raw_if(bool condition, const char (&literal)[N]) {
    return condition ? raw(literal) : *this;
  }
  Html& text(std::string_view text) {
    out_ += html_text(text);
    return *this;
  }
  // <name>text</name>
  template <std::size_t N>
  Html& element(const char (&name)[N], std::string_view content) {
    return raw("<").raw(name).raw(">").text(content).raw("</").raw(name).raw(">");
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

}  // namespace capsize
