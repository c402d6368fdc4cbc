#include "injector/host/host.h"

#include "injector/base/error.h"

namespace capsize {

Json to_json(const UndoReport& report) { return {{"step", report.step}, {"result", to_json(report.result)}}; }

UndoReport undo_report_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("step") || !json["step"].is_string() || !json.contains("result") || !json["result"].is_object()) {
    throw Error(ErrorKind::bug, "not the report of an undo");
  }
  UndoReport report;
  report.step = json["step"].get<std::string>();
  report.result = undo_result_from_json(json["result"]);
  return report;
}

}  // namespace capsize
