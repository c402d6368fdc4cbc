// The report's page, its style and scripts, and the chart library, embedded when capsize is built (experiments/report/embed.cmake).
#pragma once
#include <string_view>

namespace capsize {

extern const std::string_view kPageHtml;
extern const std::string_view kPageCss;
extern const std::string_view kPageJs;
extern const std::string_view kDygraphsCss;
extern const std::string_view kDygraphsJs;

}  // namespace capsize
