// What every report must survive: text of a target's choosing.
#pragma once
#include <string>
#include <vector>

namespace capsize {

inline const std::vector<std::string>& hostile_texts() {
  static const std::vector<std::string> all = {
      "</script><script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'><svg onload=alert(1)>", "<!--", "]]><evil/>", "&lt;&#x3c;", "{{body}}{{data}}",
      "\x1b]0;owned\x07\x1b[2J\x1b[1A", "\xe2\x80\xa8\xe2\x80\xa9", "\xe2\x80\xae" "gnp.exe", std::string("\0\x01\r\n\t", 5), "\xff\xfe\xc0\xaf", "\xef\xbf\xbf\xef\xbf\xbe",
      "\x9b" "31m\xc2\x9b" "31m", "http://evil.example/?q=`x`", "[click](javascript:alert(1)) | <b>bold</b> @everyone ![i](http://evil.example/x.png)", "${secret:X} %s %n $(id)",
      "- [x] done", "+ more", "1. first", "2) second", "---", "===", "    code", "# heading", "> quote", "```", "=HYPERLINK(\"http://evil.example\",\"x\")", "{} {0} {:x}"};
  return all;
}

}  // namespace capsize
