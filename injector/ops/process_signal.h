// What process.signal, process.fate and process.revive have in common: which processes were sent a signal, and who has taken their place.
#pragma once
#include <string>
#include <vector>

#include "injector/base/task.h"
#include "injector/op_type.h"
#include "injector/targets/process.h"

namespace capsize {

struct SignalOrder {
  std::vector<TargetProcess> processes;
  std::vector<TargetProcess> others;  // matched when it was planned too: nobody's successors
  int signal = 0;
  std::string target_type;           // how the playbook selects them: those that match it later have taken their place
  Json target = Json::object();
  std::vector<std::string> restart;  // the playbook's own command; empty: none
  Json mark_args = Json::object();   // the folder of marks
};
SignalOrder signal_order_from_json(const Json& args);  // throws Error::bug

std::string signal_mark(const SignalOrder& order, const TargetProcess& process);
std::string restart_mark(const SignalOrder& order);  // the command has been run; never twice

// Whether a pid is all that is known: then nobody can take its place.
bool has_no_successor(const SignalOrder& order);

// Those that the selector matches now and did not when it was planned. Nobody, where it matches nothing or cannot be told.
Task<std::vector<TargetProcess>> successors(SignalOrder order, OpContext& context);

// "127.0.0.1:8081", ...: where these processes listen with TCP, in the network namespaces they are in; of those one may look at.
std::vector<std::string> listening_points(const std::vector<TargetProcess>& processes);

struct Revival {
  bool back = false;
  std::vector<TargetProcess> processes;
  std::string problem;  // "exit code 1"; empty: it only took too long
};
// Runs the playbook's command, unless it has been run before, and waits until somebody has taken their place. Throws Error when it cannot be started.
Task<Revival> start_again(SignalOrder order, OpContext& context, Duration limit);

}  // namespace capsize
