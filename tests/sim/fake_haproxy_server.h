// A FakeHaproxy behind a unix socket of its own, served on the test's io_context: unix sockets deliver at once, so that it also works in
// virtual time. It can be stalled, as a stopped process is: connections are taken by the kernel and wait, in order.
#pragma once
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "injector/base/task.h"
#include "tests/sim/fake_haproxy.h"

namespace capsize {

class FakeHaproxyServer {
 public:
  FakeHaproxyServer(asio::io_context& io, FakeHaproxy& haproxy);
  ~FakeHaproxyServer();  // closes; the io_context may still run after it, or go before it

  const std::string& socket() const { return path_; }
  void stall();
  void resume();
  void close();  // nobody listens any more

 private:
  struct Shared;
  static Task<> serve(std::shared_ptr<Shared> shared);

  std::string folder_;
  std::string path_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace capsize
