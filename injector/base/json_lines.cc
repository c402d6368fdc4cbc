#include "injector/base/json_lines.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::size_t kReadBytes = std::size_t{16} << 10;

bool deeper_than(std::string_view text, int limit) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > limit) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

std::string excerpt(std::string_view line) {
  std::string text;
  for (const char c : line.substr(0, 80)) text += c >= 0x20 && c < 0x7f ? c : '?';
  return line.size() > 80 ? text + "..." : text;
}

}  // namespace

Json parse_json_line(std::string_view line) {
  if (deeper_than(line, kMaxJsonDepth)) {
    throw Error(ErrorKind::unavailable, fmt::format("a JSON line is nested deeper than {}: {}", kMaxJsonDepth, excerpt(line)));
  }
  Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  if (json.is_discarded()) throw Error(ErrorKind::unavailable, "a line is not JSON: " + excerpt(line));
  return json;
}

JsonLineReader::JsonLineReader(const asio::any_io_executor& executor, UniqueFd fd) : stream_(executor, fd.release()) {}

Task<std::optional<std::string>> JsonLineReader::read_line() {
  for (;;) {
    const auto end = buffer_.find('\n', scanned_);
    if (end != std::string::npos && end - begin_ <= kMaxLineBytes) {
      std::string line = buffer_.substr(begin_, end - begin_);
      begin_ = scanned_ = end + 1;
      co_return line;
    }
    if (buffer_.size() - begin_ > kMaxLineBytes) {
      throw Error(ErrorKind::unavailable, fmt::format("a line is longer than {} bytes", kMaxLineBytes));
    }
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t filled = buffer_.size();
    scanned_ = filled;
    buffer_.resize(filled + kReadBytes);
    boost::system::error_code error;
    const auto space = asio::buffer(buffer_.data() + filled, kReadBytes);
    const std::size_t count = co_await stream_.async_read_some(space, asio::redirect_error(asio::use_awaitable, error));
    buffer_.resize(filled + count);
    if (error == asio::error::eof) co_return std::nullopt;
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) throw Error(ErrorKind::unavailable, "a stream of JSON lines cannot be read: " + error.message());
  }
}

Task<std::optional<Json>> JsonLineReader::read() {
  const auto line = co_await read_line();
  if (!line) co_return std::nullopt;
  co_return parse_json_line(*line);
}

void JsonLineReader::close() {
  boost::system::error_code ignored;
  stream_.close(ignored);
}

struct JsonLineWriter::State {
  State(const asio::any_io_executor& executor_, UniqueFd fd) : executor(executor_), stream(executor_, fd.release()), idle(executor_) {
    idle.expires_at(asio::steady_timer::time_point::max());
  }
  asio::any_io_executor executor;
  asio::posix::stream_descriptor stream;
  asio::steady_timer idle;
  std::string queue;
  std::string writing;
  bool pumping = false;
  bool broken = false;
};

JsonLineWriter::JsonLineWriter(const asio::any_io_executor& executor, UniqueFd fd) : state_(std::make_shared<State>(executor, std::move(fd))) {}

JsonLineWriter::~JsonLineWriter() { close(); }

bool JsonLineWriter::send(const Json& json) {
  if (state_->broken) return false;
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
  if (line.size() > kMaxLineBytes) throw Error(ErrorKind::refused, fmt::format("a JSON line of {} bytes is longer than {}", line.size(), kMaxLineBytes));
  if (state_->queue.size() + state_->writing.size() + line.size() > kMaxBacklogBytes) {
    close();
    return false;
  }
  state_->queue += line;
  if (!state_->pumping) {
    state_->pumping = true;
    asio::co_spawn(state_->executor, pump(state_), asio::detached);
  }
  return true;
}

Task<> JsonLineWriter::pump(std::shared_ptr<State> state) {
  while (!state->queue.empty() && !state->broken) {
    state->writing.swap(state->queue);
    state->queue.clear();
    boost::system::error_code error;
    const auto bytes = asio::buffer(state->writing);
    co_await asio::async_write(state->stream, bytes, asio::redirect_error(asio::use_awaitable, error));
    state->writing.clear();
    if (error) state->broken = true;
  }
  state->pumping = false;
  state->idle.cancel();
}

Task<> JsonLineWriter::drain() {
  const auto state = state_;
  while (state->pumping) {
    boost::system::error_code error;
    co_await state->idle.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

bool JsonLineWriter::broken() const { return state_->broken; }

void JsonLineWriter::close() {
  state_->broken = true;
  boost::system::error_code ignored;
  state_->stream.close(ignored);
}

}  // namespace capsize
