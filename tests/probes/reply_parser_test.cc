#include "probes/http/reply_parser.h"

#include "injector/base/rng.h"

using namespace capsize;
using State = ReplyParser::State;

namespace {

struct Read {
  State state = State::wants_more;
  unsigned status = 0;
  std::string body;
  bool keep_alive = false;
  friend bool operator==(const Read&, const Read&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Read& read) {
    return out << static_cast<int>(read.state) << " " << read.status << " \"" << read.body << "\" " << read.keep_alive;
  }
};

Read read_of(ReplyParser& parser, State state) {
  if (state != State::complete) return {state, 0, "", false};
  return {state, parser.status(), parser.body(), parser.keep_alive()};
}

// In pieces of `size` bytes; `closes`: the other side closes after them.
Read read_in_pieces(std::string_view text, std::size_t size, bool closes) {
  ReplyParser parser;
  State state = State::wants_more;
  while (!text.empty() && state == State::wants_more) {
    const std::string_view piece = text.substr(0, size);
    text.remove_prefix(piece.size());
    state = parser.feed(piece);
  }
  if (state == State::wants_more && closes) state = parser.end();
  return read_of(parser, state);
}

// As a whole, and byte by byte, which must come to the same.
Read read(std::string_view text, bool closes = false) {
  const Read whole = read_in_pieces(text, text.size() + 1, closes);
  for (const std::size_t size : {1, 2, 3, 7}) CHECK(read_in_pieces(text, size, closes) == whole);
  return whole;
}

std::string with(const std::string& headers, const std::string& body = "") { return "HTTP/1.1 200 OK\r\n" + headers + "\r\n" + body; }

}  // namespace

TEST_CASE("a reply ends where its length, its chunks or the connection's end say", "[reply]") {
  CHECK(read(with("Content-Length: 5\r\n", "hello")) == Read{State::complete, 200, "hello", true});
  CHECK(read(with("content-length:0\r\n")) == Read{State::complete, 200, "", true});
  CHECK(read(with("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\n\r\n")) == Read{State::complete, 200, "hello world", true});
  CHECK(read(with("Transfer-Encoding: chunked\r\n", "A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n")) == Read{State::complete, 200, "0123456789", true});
  CHECK(read(with("X: y\r\n", "to the end"), true) == Read{State::complete, 200, "to the end", false});
  CHECK(read("HTTP/1.1 204 No Content\r\n\r\n") == Read{State::complete, 204, "", true});
  CHECK(read("HTTP/1.1 304\r\nContent-Length: 7\r\n\r\n") == Read{State::complete, 304, "", true});
}

TEST_CASE("a reply that is cut off wants more, and is bad when no more can come", "[reply]") {
  const std::string whole = with("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(read_in_pieces(whole.substr(0, size), 1000, false).state == State::wants_more);
    CHECK(read_in_pieces(whole.substr(0, size), 1000, true).state == State::bad);
  }
  CHECK(read(with("Content-Length: 5\r\n", "hell"), true).state == State::bad);
}

TEST_CASE("whether the connection stays open is what the reply says", "[reply]") {
  CHECK_FALSE(read(with("Content-Length: 0\r\nConnection: close\r\n")).keep_alive);
  CHECK_FALSE(read(with("Content-Length: 0\r\nConnection: TE, Close\r\n")).keep_alive);
  CHECK_FALSE(read("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keep_alive);
  CHECK(read("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
  // Bytes that nobody asked for: the next request would take them for its answer.
  CHECK_FALSE(read_in_pieces(with("Content-Length: 2\r\n", "okHTTP/1.1 200"), 1000, false).keep_alive);
}

TEST_CASE("what comes before the reply proper is passed over, but for a change of protocol", "[reply]") {
  CHECK(read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + with("Content-Length: 2\r\n", "ok")) == Read{State::complete, 200, "ok", true});
  CHECK(read("HTTP/1.1 101 Switching Protocols\r\n\r\n").state == State::bad);
}

TEST_CASE("what is not HTTP/1.1, or could be read in two ways, is bad", "[reply]") {
  for (const std::string& text : {
           std::string("220 mail.example ESMTP\r\n\r\n"), std::string("HTTP/2 200\r\n\r\n"), std::string("HTTP/1.1 20\r\n\r\n"), std::string("HTTP/1.1 2000 OK\r\n\r\n"),
           std::string("HTTP/1.1 abc OK\r\n\r\n"), std::string("HTTP/1.1\t200 OK\r\n\r\n"), std::string("HTTP/1.1 099 Low\r\n\r\n"),
           with("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), with("Content-Length: -1\r\n"), with("Content-Length: 5x\r\n"), with("Content-Length: \r\n"),
           with("Content-Length: 99999999999999999999999\r\n"), with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
           with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), with("No colon\r\n"), with(": no name\r\n"), with("Bad name: x\r\n"), with(" folded: x\r\n"),
           with("X: a\rb\r\n"), with(std::string("X: a\0b\r\n", 8)), with("Transfer-Encoding: chunked\r\n", "x\r\n\r\n"), with("Transfer-Encoding: chunked\r\n", "2\r\nabc\r\n0\r\n\r\n"),
           with("Transfer-Encoding: chunked\r\n", "2\nab\r\n0\r\n\r\n"), with("Transfer-Encoding: chunked\r\n", "\r\n")}) {
    INFO(text);
    CHECK(read(text).state == State::bad);
  }
}

TEST_CASE("every size has a limit", "[reply]") {
  const std::string big(kMaxBodyBytes, 'x');
  CHECK(read_in_pieces(with("Content-Length: " + std::to_string(big.size()) + "\r\n", big), 5000, false).body == big);
  CHECK(read_in_pieces(with("Content-Length: " + std::to_string(big.size() + 1) + "\r\n", big + "x"), 5000, false).state == State::bad);
  CHECK(read_in_pieces(with("", big + "x"), 5000, true).state == State::bad);
  CHECK(read_in_pieces(with("X: " + std::string(kMaxHeaderBytes, 'x') + "\r\n"), 5000, false).state == State::bad);
  CHECK(read("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", true).state == State::bad);
  CHECK(read_in_pieces("HTTP/1.1 200 " + std::string(2 * kMaxHeaderBytes, 'x'), 5000, false).state == State::bad);
  CHECK(read_in_pieces(with("Transfer-Encoding: chunked\r\n", "0;" + std::string(5000, 'x')), 5000, false).state == State::bad);
  std::string trailers = "0\r\n";
  while (trailers.size() < 2 * kMaxHeaderBytes) trailers += "X: y\r\n";
  CHECK(read_in_pieces(with("Transfer-Encoding: chunked\r\n", trailers), 5000, false).state == State::bad);
}

TEST_CASE("a parser reads reply after reply, with nothing of the one before", "[reply]") {
  ReplyParser parser;
  for (const std::string body : {"first", "", "third"}) {
    parser.begin();
    CHECK_FALSE(parser.any_bytes());
    REQUIRE(parser.feed(with("Content-Length: " + std::to_string(body.size()) + "\r\n", body)) == State::complete);
    CHECK(parser.any_bytes());
    CHECK(parser.body() == body);
    CHECK(parser.keep_alive());
  }
}

TEST_CASE("headers are read back in order, without the blanks around their values", "[reply]") {
  using Pairs = std::vector<std::pair<std::string_view, std::string_view>>;
  CHECK(headers_in("HTTP/1.1 302 Found\r\nLocation: /home\r\nSet-Cookie:\t a=1 \r\nSet-Cookie: b=2\r\n\r\n") ==
        Pairs{{"Location", "/home"}, {"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}});
  CHECK(headers_in("HTTP/1.1 200 OK\r\n\r\n").empty());
}

TEST_CASE("no bytes whatever lead out of the parser's states", "[reply]") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    std::string text = with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
    if (rng.chance(0.7)) text = with("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
    for (std::uint64_t i = 0; i < 1 + rng.below(4); ++i) text[rng.below(text.size())] = static_cast<char>(rng.below(256));
    INFO("seed " << seed);
    const Read whole = read_in_pieces(text, text.size(), true);
    CHECK(whole.state != State::wants_more);
    // Bytes after the end are noticed only when they come with it.
    Read pieces = read_in_pieces(text, 1 + rng.below(5), true);
    pieces.keep_alive = whole.keep_alive;
    CHECK(pieces == whole);
  }
}
