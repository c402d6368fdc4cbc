#include "experiments/lab/http_exchange.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {
namespace {

namespace http = boost::beast::http;
using asio::ip::tcp;

tcp::endpoint endpoint_of(const std::string& address) {
  const auto parsed = parse_address(address);
  const auto* place = std::get_if<Address>(&parsed);
  boost::system::error_code error;
  const auto host = asio::ip::make_address(place == nullptr ? "" : place->host, error);
  if (error) throw Error(ErrorKind::refused, "\"" + address + "\" is not an address of the lab", "write it as 127.0.0.1:8081");
  return {host, place->port};
}

Task<> exchange(LabRequest request, std::optional<LabReply>* reply) {
  const auto executor = co_await asio::this_coro::executor;
  tcp::socket socket(executor);
  co_await socket.async_connect(endpoint_of(request.address), asio::use_awaitable);
  http::request<http::string_body> message(http::string_to_verb(request.method), request.path, 11);
  message.set(http::field::host, request.address);
  message.keep_alive(false);
  if (!request.authorization.empty()) message.set(http::field::authorization, request.authorization);
  if (!request.form.empty()) message.set(http::field::content_type, "application/x-www-form-urlencoded");
  message.body() = request.form;
  message.prepare_payload();
  co_await http::async_write(socket, message, asio::use_awaitable);
  boost::beast::flat_buffer buffer;
  http::response<http::string_body> answer;
  co_await http::async_read(socket, buffer, answer, asio::use_awaitable);
  *reply = LabReply{answer.result_int(), answer.body()};
}

}  // namespace

std::optional<LabReply> http_exchange(const LabRequest& request, Duration limit) {
  std::optional<LabReply> reply;
  asio::io_context io(1);
  // Whatever goes wrong on the wire is one thing to the caller: no answer.
  asio::co_spawn(io, exchange(request, &reply), [](const std::exception_ptr&) {});
  io.run_for(limit);
  return reply;
}

}  // namespace capsize
