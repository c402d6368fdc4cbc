// The JSON Schema (2020-12) of playbooks, made from the same declarations as the reader: for editors, and for judges of the reader.
#pragma once
#include "experiments/catalogs.h"
#include "injector/base/json.h"

namespace capsize {

// What it refuses, read_playbook refuses too. The reverse does not hold: a schema cannot say that a name exists or what a measure counts.
Json playbook_schema(const Catalogs& catalogs = {});

}  // namespace capsize
