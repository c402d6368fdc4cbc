#include "injector/base/json_lines.h"

#include <fcntl.h>

#include <boost/asio/detached.hpp>
#include <csignal>

#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/base/spawn.h"

using namespace capsize;

namespace {

void put(int fd, const std::string& text) { REQUIRE(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size())); }

struct Read {
  std::vector<Json> values;
  bool ended = false;
  std::string problem;
};

Task<> read_all(JsonLineReader& reader, Read& read) {
  for (;;) {
    const auto settled = co_await settle(reader.read());
    if (settled->error) {
      try {
        std::rethrow_exception(settled->error);
      } catch (const Error& error) {
        read.problem = error.what();
      }
      co_return;
    }
    if (!*settled->value) break;
    read.values.push_back(**settled->value);
  }
  read.ended = true;
}

Read read_back(const std::vector<std::string>& chunks) {
  asio::io_context io;
  Pipe pipe = make_pipe();
  JsonLineReader reader(io.get_executor(), std::move(pipe.read));
  Read read;
  asio::co_spawn(io, read_all(reader, read), asio::detached);
  for (const std::string& chunk : chunks) {
    put(pipe.write.get(), chunk);
    io.poll();
  }
  pipe.write.reset();
  io.run();
  return read;
}

}  // namespace

TEST_CASE("lines are the same wherever the stream is cut", "[json_lines]") {
  const std::string text = "{\"a\":1}\n[2,\"x\\n\"]\n\"three\"\n";
  const std::vector<Json> expected = {Json({{"a", 1}}), Json::array({2, "x\n"}), Json("three")};
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const Read read = read_back({text.substr(0, cut), text.substr(cut)});
    INFO(cut);
    CHECK(read.values == expected);
    CHECK(read.ended);
  }
}

TEST_CASE("a line cut off by the end of the stream is no line", "[json_lines]") {
  const Read read = read_back({"{\"a\":1}\n{\"b\":"});
  CHECK(read.values.size() == 1);
  CHECK(read.ended);
}

TEST_CASE("garbage is an error that shows its beginning", "[json_lines]") {
  for (const std::string& garbage : {std::string("Welcome to edge-1!\n"), std::string("{\"a\":}\n"), std::string("{\"a\":\"\xff\"}\n"), std::string("\n")}) {
    const Read read = read_back({garbage});
    CHECK_THAT(read.problem, Catch::Contains("not JSON"));
    CHECK(!read.ended);
  }
}

TEST_CASE("a value may be 32 deep and no deeper, and brackets in strings do not count", "[json_lines]") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK_NOTHROW(parse_json_line(nested(32)));
  CHECK_THROWS_WITH(parse_json_line(nested(33)), Catch::Contains("deeper than 32"));
  CHECK_THROWS_AS(parse_json_line(nested(1'000'000)), Error);
  CHECK_NOTHROW(parse_json_line("\"" + nested(100) + "\\\"" + nested(100) + "\""));
}

TEST_CASE("a line longer than 1 MiB ends the reading, with or without its end", "[json_lines]") {
  asio::io_context io;
  Pipe pipe = make_pipe();
  fcntl(pipe.write.get(), F_SETPIPE_SZ, 1 << 20);
  JsonLineReader reader(io.get_executor(), std::move(pipe.read));
  Read read;
  asio::co_spawn(io, read_all(reader, read), asio::detached);
  const std::string block(std::size_t{1} << 16, 'x');
  for (int i = 0; i < 17; ++i) {
    put(pipe.write.get(), block);
    io.poll();
  }
  CHECK_THAT(read.problem, Catch::Contains("longer than 1048576 bytes"));
}

TEST_CASE("what many send at once arrives in lines that are whole and in order", "[json_lines]") {
  asio::io_context io;
  Pipe pipe = make_pipe();
  JsonLineReader reader(io.get_executor(), std::move(pipe.read));
  Read read;
  asio::co_spawn(io, read_all(reader, read), asio::detached);
  {
    JsonLineWriter writer(io.get_executor(), std::move(pipe.write));
    for (int i = 0; i < 500; ++i) REQUIRE(writer.send({{"n", i}, {"fill", std::string(1000, 'f')}}));
    asio::co_spawn(io, writer.drain(), [&](std::exception_ptr) { writer.close(); });
    io.run();
  }
  REQUIRE(read.values.size() == 500);
  for (int i = 0; i < 500; ++i) REQUIRE(read.values[static_cast<std::size_t>(i)]["n"] == i);
  CHECK(read.ended);
}

TEST_CASE("a reader that does not read fills a bounded backlog and is given up", "[json_lines]") {
  asio::io_context io;
  Pipe pipe = make_pipe();
  JsonLineWriter writer(io.get_executor(), std::move(pipe.write));
  const Json line = std::string(500'000, 'x');
  int sent = 0;
  while (writer.send(line)) {
    io.poll();
    REQUIRE(++sent < 100);
  }
  CHECK(sent >= 15);
  CHECK(writer.broken());
}

TEST_CASE("a reader that is gone breaks the writer and nothing else", "[json_lines]") {
  signal(SIGPIPE, SIG_IGN);
  asio::io_context io;
  Pipe pipe = make_pipe();
  pipe.read.reset();
  JsonLineWriter writer(io.get_executor(), std::move(pipe.write));
  CHECK(writer.send(1));
  io.run();
  CHECK(!writer.send(2));
}

TEST_CASE("a line that would be too long is refused before a byte of it is sent", "[json_lines]") {
  asio::io_context io;
  Pipe pipe = make_pipe();
  JsonLineWriter writer(io.get_executor(), std::move(pipe.write));
  CHECK_THROWS_AS(writer.send(std::string(kMaxLineBytes, 'x')), Error);
  CHECK(writer.send(1));
}
