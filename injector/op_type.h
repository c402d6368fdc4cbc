// What an op of the table is: the only effects capsize has.
//
// Laws (tests run them over every op of the table):
//   1. Known before: an undo is computable before its apply; identities are chosen, never learned from the apply.
//   2. Idempotent: `undo; undo` equals `undo`; `undo` alone changes nothing.
//   3. Only ours: an undo checks that what it removes is what we put, else it answers `refused` and touches nothing.
//   4. Says how long it lasts.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "injector/base/task.h"
#include "injector/op.h"

namespace capsize {

enum class Lasts {
  look,           // changes nothing
  while_held,     // the kernel undoes it when its holder dies
  until_restart,  // of the balancer or process it was done to
  until_reboot,
  persistent,
};
std::string_view to_string(Lasts lasts);

// A resource that holds a `while_held` fault: dropping it is the undo. The host keeps it by step id.
class Held {
 public:
  virtual ~Held() = default;
  // Lets go, in order; called once, before the step's undo op sweeps what is inert but visible. Must not throw.
  virtual void release() noexcept = 0;
};

struct OpContext {
  Clock& clock;
  // Hands the guard a duplicate of a connection *before* a command is written to it: should we die with the command unread, the guard
  // drains the connection to its end before it looks whether there is anything to undo (the late-write race). Empty: nobody to share with.
  std::function<Task<>(int fd)> share_connection = {};
  std::string state_folder = {};  // absolute: where this host keeps what must outlive it; empty: nowhere
  // What pause() calls; empty: it sleeps.
  std::function<Task<>(Duration how_long)> give_way = {};

  // For an apply that waits for others and changes nothing meanwhile: other steps may be undone in the pause.
  Task<> pause(Duration how_long) { return give_way ? give_way(how_long) : clock.sleep(how_long); }
};

struct Applied {
  Json detail = Json::object();
  std::unique_ptr<Held> held;  // only of while_held ops
};

enum class UndoState {
  undone,           // it was there and is gone, read back
  nothing_to_undo,  // never there, already gone, or its holder is gone
  refused,          // something else is there now: left alone
  failed,           // could not be told or could not be done: something may still be injected
};
std::string_view to_string(UndoState state);
UndoState undo_state_from(std::string_view word);  // throws Error::bug

struct UndoResult {
  UndoState state = UndoState::failed;
  std::string because;            // a sentence: what was found and done
  std::string remedy;             // for refused and failed: what a person does now
  Json detail = Json::object();   // numbers behind it
};
Json to_json(const UndoResult& result);
UndoResult undo_result_from_json(const Json& json);

// One line of the table. Exactly one of look, apply, undo is set. All throw Error; coroutines run on the control thread of the host.
struct OpType {
  std::string_view name;
  Lasts lasts;
  std::string_view doc;
  Task<Json> (*look)(Json args, OpContext& context) = nullptr;
  Task<Applied> (*apply)(Json args, OpContext& context) = nullptr;
  Task<UndoResult> (*undo)(Json args, OpContext& context) = nullptr;
};

const std::vector<OpType>& op_catalog();                 // THE table of ops
const OpType* find_op(std::string_view name);            // null: not in the table

}  // namespace capsize
