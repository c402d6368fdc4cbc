// The coroutine type of the control thread and of load workers.
// gcc 12.2 miscompiles awaits inside larger expressions: an await stands alone on its line.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace capsize {

namespace asio = boost::asio;

template <class T = void>
using Task = asio::awaitable<T>;

}  // namespace capsize
