// What nearly every file needs, compiled once: the heavy headers of others, and ours that pull in more.
#pragma once
#include <fmt/format.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/base/json.h"
#include "injector/base/param_types.h"
#include "injector/base/settle.h"
#include "injector/base/spec.h"
#include "injector/base/task.h"
#include "injector/base/within.h"
