#include "injector/op.h"

#include "injector/base/error.h"

namespace capsize {

Json to_json(const Op& op) { return {{"op", op.type}, {"args", op.args}}; }

Json to_json(const Step& step) { return {{"apply", to_json(step.apply)}, {"undo", to_json(step.undo)}}; }

Op op_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("op") || !json["op"].is_string() || !json.contains("args") || !json["args"].is_object()) {
    throw Error(ErrorKind::bug, "not an op: " + json.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 200));
  }
  Op op;
  op.type = json["op"].get<std::string>();
  op.args = json["args"];
  return op;
}

Step step_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("apply") || !json.contains("undo")) throw Error(ErrorKind::bug, "not a step");
  Step step;
  step.apply = op_from_json(json["apply"]);
  step.undo = op_from_json(json["undo"]);
  return step;
}

}  // namespace capsize
