// The tables of the reference docs, made from the declarations and put between markers in pages that people write:
// `<!-- parameters -->` to `<!-- /parameters -->`, and the like. Everything outside the markers is left alone.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "experiments/catalogs.h"
#include "injector/base/param_types.h"
#include "injector/base/spec.h"

namespace capsize {

// Markdown: name, type, default, meaning.
std::string parameter_table(const std::vector<FieldInfo>& fields);

// The page with what is between `<!-- NAME -->` and `<!-- /NAME -->` replaced, for each section; a Mistake where a marker is missing.
Parsed<std::string> fill_sections(const std::string& page, const std::map<std::string, std::string>& sections);

struct DocsProblem {
  std::string page;  // relative to the docs folder
  std::string what;
};

// Compares the pages below `docs` (playbook.md, faults/*.md, probes/*.md) with the declarations. Empty: all are up to date.
std::vector<DocsProblem> check_docs(const std::filesystem::path& docs, const Catalogs& catalogs = {});

// Brings them up to date, and begins pages that are missing. Returns what was changed; throws Error where a page cannot be written.
std::vector<DocsProblem> write_docs(const std::filesystem::path& docs, const Catalogs& catalogs = {});

}  // namespace capsize
