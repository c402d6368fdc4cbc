// Op, Step and Plan: plain data that says what is done to one machine. Only the op table (op_catalog.cc) can carry them out.
#pragma once
#include <string>
#include <vector>

#include "injector/base/json.h"

namespace capsize {

struct Op {  // one look at, or one change to, one machine
  std::string type;
  Json args = Json::object();
  friend bool operator==(const Op&, const Op&) = default;
};

struct Step {  // undo is safe whatever became of apply
  Op apply;
  Op undo;
  friend bool operator==(const Step&, const Step&) = default;
};

using Plan = std::vector<Step>;

using StepId = std::string;  // unique within a run: "f0.s1" is step 1 of fault 0

Json to_json(const Op& op);
Json to_json(const Step& step);
Op op_from_json(const Json& json);      // throws Error::bug for what is not an op
Step step_from_json(const Json& json);

}  // namespace capsize
