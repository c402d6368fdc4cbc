// Plans a fault against a host that a test makes up.
#pragma once
#include <catch2/catch.hpp>

#include "injector/base/error.h"
#include "injector/fault.h"

namespace capsize::test {

// Throws what the plan throws.
inline FaultPlan plan_fault(const char* fault, FaultRequest request, HostView& view) {
  const FaultType* type = find_fault(fault);
  REQUIRE(type != nullptr);
  asio::io_context io;
  FaultPlan out;
  std::exception_ptr problem;
  asio::co_spawn(io, type->plan(std::move(request), view), [&](std::exception_ptr error, FaultPlan made) {
    problem = error;
    out = std::move(made);
  });
  io.run();
  if (problem) std::rethrow_exception(problem);
  return out;
}

// Why something is refused; there is a remedy with it.
struct Refused {
  ErrorKind kind = ErrorKind::bug;
  std::string text = "it was planned";
};

template <class Act>
Refused refused_by(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    CHECK_FALSE(error.remedy().empty());
    return {error.kind(), error.what()};
  }
  return {};
}

}  // namespace capsize::test
