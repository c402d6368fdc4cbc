// Reads one HTTP/1.1 reply out of the bytes of a connection as they come: no more than a login needs, for a parser that knows everything
// costs a fifth of the whole request. Strict where leniency could make one reply pass for another; every size has a limit.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace capsize {

inline constexpr std::size_t kMaxHeaderBytes = 64 * 1024;
inline constexpr std::size_t kMaxBodyBytes = 64 * 1024;

class ReplyParser {
 public:
  enum class State { wants_more, complete, bad };

  explicit ReplyParser(std::size_t max_body = kMaxBodyBytes) : max_body_(max_body) {}

  // The next bytes of the connection. After `complete` or `bad` call begin() first.
  State feed(std::string_view bytes);
  // The other side has closed: completes a reply without a length, spoils any other.
  State end();
  void begin();

  bool any_bytes() const { return any_bytes_; }
  // What follows is of a complete reply.
  unsigned status() const { return status_; }
  const std::string& head() const { return head_; }  // the status line and the header lines, with their line ends, as received
  const std::string& body() const { return body_; }  // without chunks
  std::string take_head() { return std::move(head_); }
  std::string take_body() { return std::move(body_); }
  bool keep_alive() const { return keep_alive_; }    // the connection may be used again: said so, and nothing came after the reply

 private:
  enum class Part { head, length, until_close, chunk_size, chunk, chunk_end, trailer, done, bad };
  State state() const { return part_ == Part::done ? State::complete : part_ == Part::bad ? State::bad : State::wants_more; }
  std::size_t take(std::string_view bytes);
  std::size_t take_head(std::string_view bytes);
  std::size_t take_line(std::string_view bytes);
  std::size_t take_body(std::string_view bytes, std::size_t most);
  bool read_head();
  bool read_status_line(std::string_view line);
  bool read_header(std::string_view line);
  void read_line(std::string_view line);

  std::size_t max_body_;  // bytes; a larger one is bad
  Part part_ = Part::head;
  bool any_bytes_ = false;
  unsigned status_ = 0;
  bool keep_alive_ = true;
  bool chunked_ = false;
  bool has_length_ = false;
  std::size_t left_ = 0;  // of the body or the chunk
  std::string head_;
  std::string line_;      // of chunk sizes and trailers
  std::size_t trailer_bytes_ = 0;
  std::string body_;
};

// Name and value of each header in ReplyParser::head(), in order, values without the blanks around them. They point into `head`.
std::vector<std::pair<std::string_view, std::string_view>> headers_in(std::string_view head);

}  // namespace capsize
