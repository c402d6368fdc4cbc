// What login.basic asks for, as a flow: its parameters in, the request out. Pure.
#pragma once
#include "injector/base/json.h"
#include "probes/login/flow.h"

namespace capsize {

Flow basic_flow(const Json& params);  // throws Error where these are not what the probe takes

}  // namespace capsize
