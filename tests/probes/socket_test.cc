// Sockets and what they wait in: real connections on loopback.
#include "probes/http/socket.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>

#include "probes/http/connection.h"

using namespace capsize;
using namespace std::chrono_literals;
using tcp = asio::ip::tcp;

namespace {

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

// Answers each connection with what it is told, in pieces, and closes where it is told to.
Task<> serve(tcp::acceptor& acceptor, std::vector<std::string> pieces, bool closes) {
  auto peer = co_await acceptor.async_accept(asio::use_awaitable);
  std::array<char, 1024> asked;
  co_await peer.async_read_some(asio::buffer(asked), asio::use_awaitable);
  for (const std::string& piece : pieces) {
    co_await asio::async_write(peer, asio::buffer(piece), asio::use_awaitable);
    asio::steady_timer pause(peer.get_executor(), 5ms);
    co_await pause.async_wait(asio::use_awaitable);
  }
  if (closes) co_return;
  boost::system::error_code gone;
  co_await peer.async_read_some(asio::buffer(asked), asio::redirect_error(asio::use_awaitable, gone));
}

struct Asked {
  HttpReply reply;
  bool quiet = false;
  bool cancelled = false;
};

Task<> ask(Connection& connection, Asked& out) {
  const auto connected = co_await connection.connect();
  REQUIRE_FALSE(connected.error);
  try {
    out.reply = co_await connection.exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    out.quiet = connection.quiet();
  } catch (const boost::system::system_error& error) {
    out.cancelled = error.code() == asio::error::operation_aborted;
  }
}

std::shared_ptr<const Origin> origin_of(const tcp::acceptor& acceptor) {
  const auto origin = std::make_shared<Origin>();
  origin->endpoints = {acceptor.local_endpoint()};
  return origin;
}

Asked asked_of(std::vector<std::string> pieces, bool closes) {
  asio::io_context io;
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  Connection connection(io.get_executor(), origin_of(acceptor));
  Asked out;
  asio::co_spawn(io, serve(acceptor, std::move(pieces), closes), asio::detached);
  asio::co_spawn(io, ask(connection, out), [&io](std::exception_ptr error) {
    rethrow(error);
    io.stop();
  });
  io.run_for(20s);
  return out;
}

}  // namespace

TEST_CASE("a reply in pieces, larger than a read, or ended by the close is read to its end", "[socket]") {
  const std::string large(60'000, 'x');
  const auto whole = asked_of({"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}, false);
  CHECK(whole.reply.body == "ok");
  CHECK(whole.reply.keep_alive);
  CHECK(whole.quiet);
  CHECK(asked_of({"HTTP/1.1 200 ", "OK\r\nContent-Le", "ngth: 2\r\n\r", "\no", "k"}, false).reply.body == "ok");
  CHECK(asked_of({"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + large}, false).reply.body == large);
  CHECK(asked_of({"HTTP/1.1 200 OK\r\n\r\n" + large}, true).reply.body == large);
  CHECK(asked_of({"HTTP/1.1 200 OK\r\n\r\nok"}, true).reply.body == "ok");
}

TEST_CASE("a connection that ends half-way is an error, and so is one that nobody listens for", "[socket]") {
  const auto cut = asked_of({"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"}, true);
  CHECK(cut.reply.error);
  CHECK(cut.reply.any_bytes);
  CHECK(asked_of({}, true).reply.error);

  asio::io_context io;
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  Connection connection(io.get_executor(), origin_of(acceptor));
  acceptor.close();
  boost::system::error_code error;
  asio::co_spawn(io, connection.connect(), [&error](std::exception_ptr bug, ConnectResult result) {
    rethrow(bug);
    error = result.error;
  });
  io.run_for(20s);
  CHECK(error == boost::system::errc::connection_refused);
}

TEST_CASE("what comes unasked after a reply is seen before the connection is used again", "[socket]") {
  const auto late = asked_of({"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}, true);
  CHECK(late.reply.body == "ok");
  asio::io_context io;
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  Connection connection(io.get_executor(), origin_of(acceptor));
  Asked out;
  asio::co_spawn(io, serve(acceptor, {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\n"}, false), asio::detached);
  asio::co_spawn(io, ask(connection, out), rethrow);
  io.run_for(500ms);
  CHECK(out.reply.body == "ok");
  CHECK_FALSE(connection.quiet());
}

TEST_CASE("whoever waits for a socket can be cancelled, many at once, and the others go on", "[socket]") {
  asio::io_context io;
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  constexpr std::size_t kMany = 100;  // more than are woken at a time
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<Asked> out(kMany);
  std::vector<asio::cancellation_signal> stop(kMany);
  std::size_t ended = 0;
  for (std::size_t i = 0; i < kMany; ++i) {
    connections.push_back(std::make_unique<Connection>(io.get_executor(), origin_of(acceptor)));
    const bool answers = i % 2 == 0;
    asio::co_spawn(io, serve(acceptor, answers ? std::vector<std::string>{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"} : std::vector<std::string>{}, false), asio::detached);
    asio::co_spawn(io, ask(*connections[i], out[i]), asio::bind_cancellation_slot(stop[i].slot(), [&](std::exception_ptr error) {
      rethrow(error);
      if (++ended == kMany) io.stop();
    }));
  }
  asio::steady_timer later(io, 300ms);
  later.async_wait([&stop](boost::system::error_code) {
    for (auto& signal : stop) signal.emit(asio::cancellation_type::terminal);
  });
  io.run_for(20s);
  CHECK(ended == kMany);
  std::size_t answered = 0;
  std::size_t cancelled = 0;
  for (const Asked& one : out) {
    answered += one.reply.body == "ok";
    cancelled += one.cancelled;
  }
  CHECK(answered == kMany / 2);
  CHECK(cancelled == kMany / 2);
}

TEST_CASE("a loop that ends while somebody waits for a socket takes whoever waits with it", "[socket]") {
  auto io = std::make_unique<asio::io_context>();
  auto acceptor = std::make_unique<tcp::acceptor>(*io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  bool left = false;
  struct Leaves {
    bool& left;
    ~Leaves() { left = true; }
  };
  const auto waits = [&]() -> Task<> {
    const Leaves leaves{left};
    Connection connection(io->get_executor(), origin_of(*acceptor));
    Asked out;
    co_await ask(connection, out);
  };
  asio::co_spawn(*io, waits, asio::detached);
  io->run_for(100ms);
  CHECK_FALSE(left);
  acceptor.reset();
  io.reset();
  CHECK(left);
}

TEST_CASE("a loop ends when the last who waited for a socket was cancelled, and whoever waits after that is woken", "[socket]") {
  asio::io_context io;
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});  // nobody is served: the kernel takes the connections
  asio::cancellation_signal stop;
  Asked first;
  Asked second;
  std::optional<tcp::socket> peer;
  Connection silent(io.get_executor(), origin_of(acceptor));
  Connection next(io.get_executor(), origin_of(acceptor));
  asio::co_spawn(io, ask(silent, first), asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr error) {
    rethrow(error);
    asio::co_spawn(io, ask(next, second), rethrow);
    acceptor.async_accept([&](boost::system::error_code, tcp::socket) {  // the one of the first
      acceptor.async_accept([&](boost::system::error_code, tcp::socket taken) {
        peer.emplace(std::move(taken));
        asio::write(*peer, asio::buffer(std::string_view("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")));
      });
    });
  }));
  asio::steady_timer later(io, 100ms);
  later.async_wait([&stop](boost::system::error_code) { stop.emit(asio::cancellation_type::terminal); });
  io.run_for(20s);
  CHECK(first.cancelled);
  CHECK(second.reply.body == "ok");

  Connection last(io.get_executor(), origin_of(acceptor));
  Asked nobody_answers;
  io.restart();
  asio::co_spawn(io, ask(last, nobody_answers), asio::bind_cancellation_slot(stop.slot(), rethrow));
  later.expires_after(100ms);
  later.async_wait([&stop](boost::system::error_code) { stop.emit(asio::cancellation_type::terminal); });
  io.run_for(20s);
  CHECK(nobody_answers.cancelled);
  CHECK(io.stopped());
}
