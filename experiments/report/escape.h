// The ways out of the program for text that a target, a playbook or an answer from the network controls. A report puts such text nowhere
// without one of these. All of them first make it printable: control characters, ESC, bidirectional overrides, line separators and invalid
// UTF-8 come out as visible "\x1b".
#pragma once
#include <string>
#include <string_view>

#include "injector/base/json.h"

namespace capsize {

inline constexpr std::size_t kMaxReportText = 4000;  // bytes of one piece of text in a report; the rest is cut

std::string html_text(std::string_view text);      // for element content and for attribute values in double quotes
std::string markdown_text(std::string_view text);  // for running text and table cells: no markup, no link, no mention
std::string xml_text(std::string_view text);       // for XML 1.0 content and attribute values in double quotes
std::string script_json(const Json& json);         // for <script type="application/json">: ASCII, and nothing that can end the element

}  // namespace capsize
