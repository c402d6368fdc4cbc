// What login.oauth2 asks for, as a flow: its parameters in, the requests out. Pure.
#pragma once
#include "injector/base/json.h"
#include "probes/login/flow.h"

namespace capsize {

Flow oauth2_flow(const Json& params);  // throws Error where these are not what the probe takes

}  // namespace capsize
