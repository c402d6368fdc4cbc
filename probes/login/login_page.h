// The little of an HTML page that a login needs: where a form sends what is typed into it, and what stands in a field already. Pure.
// Own code and not an HTML library: tags and their attributes are all that is looked at, and a page is at most 64 KiB. What only looks like
// a form, in a comment, a script, a style, a textarea, a title or a template, is none.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace capsize {

// The action of the form with this id or name; empty `form`: of the first one that has a password field, else of the first one. An empty
// text where the form has no action (it goes back to the page); nothing where there is no such form.
std::optional<std::string> form_action(std::string_view page, std::string_view form);

// The value of the first field (input) of this name that has one; nothing where there is none.
std::optional<std::string> field_value(std::string_view page, std::string_view name);

}  // namespace capsize
