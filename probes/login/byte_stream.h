// One connection, plain or TLS, that carries bytes: for protocols other than HTTP. Nothing here throws for what the other side does.
// Cancelled, it throws operation_aborted, and is good for nothing but destruction.
#pragma once
#include <memory>
#include <string>

#include "probes/http/connection.h"

namespace capsize {

struct BytesRead {
  boost::system::error_code error;  // end of file too
  std::string bytes;
};

// Thread: its executor's.
class ByteStream {
 public:
  ByteStream(const asio::any_io_executor& executor, std::shared_ptr<const Origin> origin);

  Task<ConnectResult> connect();  // without TLS, even to an origin that has it
  Task<ConnectResult> secure();   // TLS, with the origin's; the handshake begins with the next byte that comes
  Task<boost::system::error_code> write(std::string bytes);  // all of them
  Task<BytesRead> read();                                    // what is there, at least a byte
  void write_and_forget(const std::string& bytes);           // what the socket takes at once: a farewell

 private:
  const std::shared_ptr<const Origin> origin_;
  Readiness& readiness_;
  std::unique_ptr<Socket> socket_;
};

}  // namespace capsize
