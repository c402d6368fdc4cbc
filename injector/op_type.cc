#include "injector/op_type.h"

#include "injector/base/error.h"

namespace capsize {

std::string_view to_string(Lasts lasts) {
  switch (lasts) {
    case Lasts::look: return "look";
    case Lasts::while_held: return "while_held";
    case Lasts::until_restart: return "until_restart";
    case Lasts::until_reboot: return "until_reboot";
    case Lasts::persistent: break;
  }
  return "persistent";
}

std::string_view to_string(UndoState state) {
  switch (state) {
    case UndoState::undone: return "undone";
    case UndoState::nothing_to_undo: return "nothing_to_undo";
    case UndoState::refused: return "refused";
    case UndoState::failed: break;
  }
  return "failed";
}

UndoState undo_state_from(std::string_view word) {
  for (const UndoState state : {UndoState::undone, UndoState::nothing_to_undo, UndoState::refused, UndoState::failed}) {
    if (to_string(state) == word) return state;
  }
  throw Error(ErrorKind::bug, "not the state of an undo: " + std::string(word));
}

Json to_json(const UndoResult& result) {
  return {{"state", to_string(result.state)}, {"because", result.because}, {"remedy", result.remedy}, {"detail", result.detail}};
}

UndoResult undo_result_from_json(const Json& json) {
  UndoResult result;
  result.state = undo_state_from(json.value("state", ""));
  result.because = json.value("because", "");
  result.remedy = json.value("remedy", "");
  result.detail = json.value("detail", Json::object());
  return result;
}

const OpType* find_op(std::string_view name) {
  for (const OpType& type : op_catalog()) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

}  // namespace capsize
