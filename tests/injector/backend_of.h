// Backends for tests of planning, as HAProxy would show them.
#pragma once
#include "injector/targets/haproxy.h"
#include "tests/sim/fake_haproxy.h"

namespace capsize {

inline BackendState backend_of(FakeHaproxy fake) {
  return parse_backend_reply(fake.answer("show info;show servers state auth;show stat auth 6 -1"), "auth");
}

inline BackendState three_servers() { return backend_of(FakeHaproxy("auth", {{.name = "auth1"}, {.name = "auth2"}, {.name = "auth3"}})); }

inline HaproxyTarget auth_target() { return {"/run/haproxy/admin.sock", Name{"auth"}}; }

// The same backend a while later, with these many more sessions, in the order of the servers.
inline BackendState after_sessions(BackendState backend, const std::vector<std::int64_t>& arrived) {
  for (std::size_t i = 0; i < arrived.size(); ++i) backend.servers.at(i).total_sessions += arrived[i];
  return backend;
}

// What planning says no to, in words; "planned" when it does not.
template <class Plan>
std::string refusal_of(Plan plan) {
  try {
    plan();
  } catch (const Error& error) {
    return std::string(to_string(error.kind())) + ": " + error.what();
  }
  return "planned";
}

}  // namespace capsize
