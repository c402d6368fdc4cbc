#include "injector/targets/haproxy.h"

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <array>

#include "injector/base/within.h"

namespace capsize {
namespace {

using Socket = asio::generic::stream_protocol::socket;
using Endpoint = asio::generic::stream_protocol::endpoint;

constexpr std::size_t kMaxSocketPath = 107;

std::optional<Mistake> check_address(const std::string& address) {
  if (address.starts_with('/')) {
    if (address.size() <= kMaxSocketPath && address.find('\0') == std::string::npos) return std::nullopt;
    return Mistake{fmt::format("a socket path of {} bytes", address.size()), fmt::format("write one of at most {} bytes", kMaxSocketPath)};
  }
  const auto parsed = parse_address(address);
  if (std::holds_alternative<Address>(parsed)) return std::nullopt;
  return Mistake{"\"" + printable(address) + "\" is neither a socket path nor an address", "write \"/run/haproxy/admin.sock\" or \"host:port\""};
}

Error connection_error(const boost::system::error_code& problem, const std::string& what) {
  return system_error(problem.value(), what, problem.value() == EACCES ? "run capsize as a user who may open HAProxy's stats socket" : "check the target's \"socket\"");
}

Task<std::vector<Endpoint>> resolve(std::string address) {
  std::vector<Endpoint> endpoints;
  if (address.starts_with('/')) {
    endpoints.emplace_back(asio::local::stream_protocol::endpoint(address));
    co_return endpoints;
  }
  const auto parsed = parse_address(address);
  const Address& where = std::get<Address>(parsed);
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  boost::system::error_code problem;
  const std::string port = std::to_string(where.port);
  const auto found = co_await resolver.async_resolve(where.host, port, asio::redirect_error(asio::use_awaitable, problem));
  if (problem) throw Error(ErrorKind::unavailable, "cannot resolve " + where.host + ": " + problem.message(), "check the target's \"socket\"");
  for (const auto& entry : found) endpoints.emplace_back(entry.endpoint());
  co_return endpoints;
}

// The first address that answers. Throws NobodyListens only when every one of them refuses.
Task<Socket> connect(std::string address) {
  const std::string what = "cannot connect to HAProxy at " + address;
  const std::vector<Endpoint> endpoints = co_await resolve(address);
  const auto executor = co_await asio::this_coro::executor;
  boost::system::error_code problem = asio::error::host_not_found;
  for (const Endpoint& endpoint : endpoints) {
    Socket socket(executor);
    co_await socket.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, problem));
    if (!problem) co_return socket;
    if (problem == asio::error::operation_aborted) throw boost::system::system_error(problem);
  }
  const int code = problem.value();
  if (code == ENOENT || code == ECONNREFUSED) throw NobodyListens(ErrorKind::unavailable, what + ": nobody listens there", "start HAProxy, or correct the target's \"socket\"");
  throw connection_error(problem, what);
}

Task<> converse(std::string address, std::string line, std::function<void(std::string_view)> sink, std::size_t limit, ShareConnection share) {
  Socket socket = co_await connect(address);
  if (share) {
    const int fd = socket.native_handle();
    co_await share(fd);
  }
  line += '\n';
  boost::system::error_code problem;
  const auto bytes = asio::buffer(line);
  co_await asio::async_write(socket, bytes, asio::redirect_error(asio::use_awaitable, problem));
  if (problem) throw connection_error(problem, "cannot send to HAProxy at " + address);
  socket.shutdown(Socket::shutdown_send, problem);  // HAProxy may wait for more until it sees the end
  std::array<char, 16384> buffer;
  std::size_t total = 0;
  while (true) {
    const auto space = asio::buffer(buffer);
    const std::size_t count = co_await socket.async_read_some(space, asio::redirect_error(asio::use_awaitable, problem));
    sink(std::string_view(buffer.data(), count));
    total += count;
    if (problem == asio::error::eof) break;
    if (problem) throw connection_error(problem, "cannot read from HAProxy at " + address);
    if (total > limit) throw Error(ErrorKind::unavailable, fmt::format("HAProxy at {} answers with more than {} bytes", address, limit), "check that the socket is HAProxy's runtime API");
  }
  if (total == 0) throw Error(ErrorKind::unavailable, "HAProxy at " + address + " closed the connection without an answer", "is it being reloaded? Try again");
}

// Counts the lines of "show sess" that are connections to the runtime API, without keeping the text.
class SessionCounter {
 public:
  void take(std::string_view text) {
    for (const char c : text) {
      if (c == '\n') {
        if (line_.find(" fe=GLOBAL ") != std::string::npos) ++count_;
        line_.clear();
      } else if (line_.size() < 512) {
        line_ += c;
      }
    }
  }
  std::int64_t count() const { return count_; }

 private:
  std::string line_;
  std::int64_t count_ = 0;
};

}  // namespace

const Spec<HaproxyTarget>& haproxy_target_spec() {
  static const auto spec = Spec<HaproxyTarget>()
                               .required("socket", &HaproxyTarget::socket, "HAProxy's runtime API (`stats socket`, level admin): the path of a unix socket, or host:port",
                                         Rule<std::string>{check_address})
                               .required("backend", &HaproxyTarget::backend, "the backend whose servers are meant");
  return spec;
}

HaproxyClient::HaproxyClient(Clock& clock, std::string address, Duration limit) : clock_(clock), address_(std::move(address)), limit_(limit) {
  if (const auto mistake = check_address(address_)) throw Error(ErrorKind::refused, mistake->fact, mistake->remedy);
}

Task<> HaproxyClient::exchange(std::string line, std::function<void(std::string_view)> sink, std::size_t limit, ShareConnection share) {
  auto conversation = converse(address_, std::move(line), std::move(sink), limit, std::move(share));
  const auto answer = co_await within<void>(clock_, limit_, std::move(conversation));
  if (!answer) {
    throw Error(ErrorKind::unavailable, fmt::format("HAProxy at {} does not answer within {}", address_, show(limit_)), "is it stopped, or short of CPU?");
  }
}

Task<std::string> HaproxyClient::ask(std::string line) {
  const auto reply = std::make_shared<std::string>();
  std::function<void(std::string_view)> sink = [reply](std::string_view text) { reply->append(text); };
  co_await exchange(std::move(line), std::move(sink), kMaxReply, ShareConnection());
  co_return std::move(*reply);
}

Task<BackendState> HaproxyClient::backend(std::string backend) {
  check_haproxy_name("backend", backend);
  std::string line = fmt::format("show info;show servers state {0};show stat {0} 6 -1", backend);
  const std::string reply = co_await ask(std::move(line));
  co_return parse_backend_reply(reply, backend);
}

Task<std::int64_t> HaproxyClient::other_cli_sessions() {
  const auto counter = std::make_shared<SessionCounter>();
  std::function<void(std::string_view)> sink = [counter](std::string_view text) { counter->take(text); };
  co_await exchange("show sess", std::move(sink), kMaxSessionsReply, ShareConnection());
  if (counter->count() < 1) {
    throw Error(ErrorKind::unavailable, "HAProxy at " + address_ + " does not list the connection that asks in `show sess`", "check that the socket is HAProxy's runtime API");
  }
  co_return counter->count() - 1;
}

Task<> HaproxyClient::change(std::vector<std::string> commands, ShareConnection share) {
  for (const std::string& commands_of_line : command_lines(commands, kMaxLine)) {
    const auto reply = std::make_shared<std::string>();
    std::function<void(std::string_view)> sink = [reply](std::string_view text) { reply->append(text); };
    std::string line = "set severity-output number;" + commands_of_line;
    co_await exchange(std::move(line), std::move(sink), kMaxReply, share);
    const std::string refused = rejection(*reply);
    if (refused.empty()) continue;
    const bool denied = refused.find("Permission denied") != std::string::npos;
    throw Error(denied ? ErrorKind::privilege : ErrorKind::unavailable, "HAProxy at " + address_ + " refuses a change: " + refused,
                denied ? "use a stats socket of `level admin`" : "see HAProxy's management guide for what this backend accepts");
  }
}

std::vector<std::string> command_lines(const std::vector<std::string>& commands, std::size_t limit) {
  std::vector<std::string> lines;
  for (const std::string& command : commands) {
    if (lines.empty() || lines.back().size() + 1 + command.size() > limit) {
      lines.push_back(command);
    } else {
      lines.back() += ";" + command;
    }
  }
  return lines;
}

}  // namespace capsize
