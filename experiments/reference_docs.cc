#include "experiments/reference_docs.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "experiments/playbook_parts.h"

namespace capsize {
namespace {

using Sections = std::map<std::string, std::string>;

struct Page {
  std::string name;      // relative to the docs folder
  std::string beginning;  // of a page that is not there yet
  Sections sections;
};

// A cell of a Markdown table: one line, no column marks.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += "\\|";
    else if (c == '<') out += "&lt;";
    else if (c == '\n') out += ' ';
    else out += c;
  }
  return out;
}

std::string code(std::string_view text) {
  std::string out = "`";
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out + "`";
}

std::string default_cell(const FieldInfo& field) {
  if (field.required) return "required";
  const Json& value = field.default_value;
  if (value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()) || (value.is_structured() && value.empty())) return "";
  return code(value.dump());
}

std::string measure_table(const std::vector<MeasureInfo>& measures) {
  std::string out = "| measure | kind | meaning |\n| --- | --- | --- |\n";
  for (const MeasureInfo& info : measures) out += fmt::format("| {} | {} | {} |\n", code(info.name), to_string(info.kind), cell(info.doc));
  return out;
}

std::string marked(const std::string& section) { return fmt::format("<!-- {} -->\n<!-- /{} -->\n", section, section); }

std::string target_tables(const Catalogs& catalogs) {
  std::string out;
  for (const TargetType& type : *catalogs.targets) out += fmt::format("\n### {}\n\n{}\n\n{}", type.name, type.doc, parameter_table(type.spec().fields()));
  return out.empty() ? out : out.substr(1);
}

std::string fault_list(const Catalogs& catalogs) {
  std::string out = "| fault | target | what it does |\n| --- | --- | --- |\n";
  for (const FaultType& type : *catalogs.faults) out += fmt::format("| [{}](faults/{}.md) | {} | {} |\n", code(type.name), type.name, fmt::join(type.target_types, ", "), cell(type.doc));
  return out;
}

std::string probe_list(const Catalogs& catalogs) {
  std::string out = "| probe | target | what it measures |\n| --- | --- | --- |\n";
  for (const ProbeType& type : *catalogs.probes) out += fmt::format("| [{}](probes/{}.md) | {} | {} |\n", code(type.name), type.name, type.target_type, cell(type.doc));
  return out;
}

std::vector<Page> pages(const Catalogs& catalogs) {
  Sections reference = {
      {"playbook", parameter_table(playbook_spec().fields())},   {"host", parameter_table(host_spec().fields())},
      {"target", parameter_table(target_spec().fields())},       {"targets", target_tables(catalogs)},
      {"probe", parameter_table(probe_spec().fields())},         {"probes", probe_list(catalogs)},
      {"timing", parameter_table(timing_spec().fields())},       {"fault", parameter_table(fault_spec().fields())},
      {"faults", fault_list(catalogs)},                          {"expectation", parameter_table(hypothesis_spec().fields())},
      {"sealed", parameter_table(sealed_spec().fields())},        {"step", parameter_table(step_spec().fields())},
      {"escape", parameter_table(escape_spec().fields())},
      {"run measures", measure_table(run_measures())},           {"guardrail", parameter_table(guardrail_spec().fields())},
  };
  std::string beginning = "# Playbooks\n\n";
  for (const auto& [name, text] : reference) beginning += marked(name) + "\n";
  std::vector<Page> out = {{"playbook.md", std::move(beginning), std::move(reference)}};
  for (const FaultType& type : *catalogs.faults) {
    out.push_back({fmt::format("faults/{}.md", type.name), fmt::format("# {}\n\n{}\n\n## Parameters\n\n{}\n## Undo\n\n{}", type.name, type.doc, marked("parameters"), marked("undo")),
                   {{"parameters", parameter_table(type.spec().fields())}, {"undo", fmt::format("In one sentence: the undo {}.\n", type.undo_doc)}}});
  }
  for (const ProbeType& type : *catalogs.probes) {
    out.push_back({fmt::format("probes/{}.md", type.name),
                   fmt::format("# {}\n\n{}\n\n## Parameters\n\n{}\n## Measures\n\n{}", type.name, type.doc, marked("parameters"), marked("measures")),
                   {{"parameters", parameter_table(type.spec().fields())}, {"measures", measure_table(type.measures())}}});
  }
  return out;
}

std::optional<std::string> text_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write(const std::filesystem::path& file, const std::string& text) {
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  out.flush();
  if (!out) throw Error(ErrorKind::unavailable, "cannot write " + printable(file.string()), "check that the folder is there and may be written to");
}

}  // namespace

std::string parameter_table(const std::vector<FieldInfo>& fields) {
  if (fields.empty()) return "No parameters of its own.\n";
  std::string out = "| name | type | default | meaning |\n| --- | --- | --- | --- |\n";
  for (const FieldInfo& field : fields) out += fmt::format("| {} | {} | {} | {} |\n", code(field.name), cell(field.type), default_cell(field), cell(field.doc));
  return out;
}

Parsed<std::string> fill_sections(const std::string& page, const Sections& sections) {
  std::string out = page;
  for (const auto& [name, text] : sections) {
    const std::string open = fmt::format("<!-- {} -->\n", name);
    const std::string close = fmt::format("<!-- /{} -->", name);
    const std::size_t begin = out.find(open);
    if (begin == std::string::npos) return Mistake{fmt::format("there is no line <!-- {} -->", name), fmt::format("add the lines <!-- {} --> and {} where its table belongs", name, close)};
    const std::size_t end = out.find(close, begin);
    if (end == std::string::npos) return Mistake{fmt::format("there is no line {}", close), "add it where the table ends"};
    out.replace(begin + open.size(), end - begin - open.size(), text);
  }
  return out;
}

std::vector<DocsProblem> check_docs(const std::filesystem::path& docs, const Catalogs& catalogs) {
  std::vector<DocsProblem> out;
  for (const Page& page : pages(catalogs)) {
    const auto text = text_of(docs / page.name);
    if (!text) {
      out.push_back({page.name, "the page is missing"});
      continue;
    }
    const auto filled = fill_sections(*text, page.sections);
    if (const auto* mistake = std::get_if<Mistake>(&filled)) out.push_back({page.name, mistake->fact + "; " + mistake->remedy});
    else if (std::get<std::string>(filled) != *text) out.push_back({page.name, "its tables are out of date"});
  }
  return out;
}

std::vector<DocsProblem> write_docs(const std::filesystem::path& docs, const Catalogs& catalogs) {
  std::vector<DocsProblem> out;
  for (const Page& page : pages(catalogs)) {
    const auto text = text_of(docs / page.name);
    const auto filled = fill_sections(text.value_or(page.beginning), page.sections);
    if (const auto* mistake = std::get_if<Mistake>(&filled)) throw Error(ErrorKind::refused, page.name + ": " + mistake->fact, mistake->remedy);
    if (text && std::get<std::string>(filled) == *text) continue;
    write(docs / page.name, std::get<std::string>(filled));
    out.push_back({page.name, text ? "brought up to date" : "begun"});
  }
  return out;
}

}  // namespace capsize
