#include "tests/sim/fake_haproxy_server.h"

#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>
#include <stdexcept>

namespace capsize {

using Protocol = asio::local::stream_protocol;

struct FakeHaproxyServer::Shared {
  Shared(asio::io_context& io, FakeHaproxy& model) : haproxy(model), acceptor(io), resumed(io) { resumed.expires_at(asio::steady_timer::time_point::max()); }
  FakeHaproxy& haproxy;
  Protocol::acceptor acceptor;
  asio::steady_timer resumed;
  bool stalled = false;
};

FakeHaproxyServer::FakeHaproxyServer(asio::io_context& io, FakeHaproxy& haproxy) {
  std::string name = (std::filesystem::temp_directory_path() / "capsize-fake-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for a socket");
  folder_ = name;
  path_ = folder_ + "/haproxy.sock";
  shared_ = std::make_shared<Shared>(io, haproxy);
  const Protocol::endpoint endpoint(path_);
  shared_->acceptor.open(endpoint.protocol());
  shared_->acceptor.bind(endpoint);
  shared_->acceptor.listen();
  asio::co_spawn(io, serve(shared_), asio::detached);
}

FakeHaproxyServer::~FakeHaproxyServer() {
  close();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void FakeHaproxyServer::close() {
  boost::system::error_code ignored;
  shared_->acceptor.close(ignored);
  shared_->resumed.cancel();
}

void FakeHaproxyServer::stall() { shared_->stalled = true; }

void FakeHaproxyServer::resume() {
  shared_->stalled = false;
  shared_->resumed.cancel();
}

// One connection at a time, as a single thread executes commands.
Task<> FakeHaproxyServer::serve(std::shared_ptr<Shared> shared) {
  const auto executor = co_await asio::this_coro::executor;
  while (shared->acceptor.is_open()) {
    boost::system::error_code problem;
    Protocol::socket socket(executor);
    co_await shared->acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, problem));
    if (problem) continue;
    while (shared->stalled && shared->acceptor.is_open()) {
      boost::system::error_code ignored;
      co_await shared->resumed.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    std::string line;
    auto space = asio::dynamic_buffer(line, 65536);
    const std::size_t length = co_await asio::async_read_until(socket, space, '\n', asio::redirect_error(asio::use_awaitable, problem));
    if (problem) continue;
    const std::string reply = shared->haproxy.answer(std::string_view(line).substr(0, length - 1));
    const auto bytes = asio::buffer(reply);
    co_await asio::async_write(socket, bytes, asio::redirect_error(asio::use_awaitable, problem));
  }
}

}  // namespace capsize
