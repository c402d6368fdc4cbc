// One JSON value a line over file descriptors, bounded on both sides: how a runner and an agent talk.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "injector/base/json.h"
#include "injector/base/task.h"
#include "injector/base/unique_fd.h"

namespace capsize {

inline constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;
inline constexpr int kMaxJsonDepth = 32;
inline constexpr std::size_t kMaxBacklogBytes = std::size_t{8} << 20;

// One value; throws Error for what is not JSON, is nested deeper than kMaxJsonDepth, or is not UTF-8.
Json parse_json_line(std::string_view line);

class JsonLineReader {
 public:
  JsonLineReader(const asio::any_io_executor& executor, UniqueFd fd);

  // The next line without its end; nothing at the end of the stream (a line cut off by the end is not a line). Throws Error when a line is
  // longer than kMaxLineBytes or the descriptor cannot be read. One reader at a time; cancellable.
  Task<std::optional<std::string>> read_line();
  Task<std::optional<Json>> read();  // as read_line, and throws Error for garbage
  void close();                      // a waiting read ends with operation_aborted

 private:
  asio::posix::stream_descriptor stream_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of the next line in buffer_
  std::size_t scanned_ = 0;  // no line end before this place
};

class JsonLineWriter {
 public:
  JsonLineWriter(const asio::any_io_executor& executor, UniqueFd fd);
  ~JsonLineWriter();
  JsonLineWriter(const JsonLineWriter&) = delete;
  JsonLineWriter& operator=(const JsonLineWriter&) = delete;

  // Queues one line; lines never interleave. False: the reader is gone or kMaxBacklogBytes behind, and nothing is sent any more.
  // Throws Error when the line would be longer than kMaxLineBytes.
  bool send(const Json& json);
  Task<> drain();  // returns when all is written, or the reader is gone
  bool broken() const;
  void close();

 private:
  struct State;
  static Task<> pump(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace capsize
