// One socket to the kernel: requests, dumps, and batches that are one transaction. What nf_tables or nfnetlink_queue made through it with
// the owner's flag lives exactly as long as this socket, so it is never inherited by a child that runs another program (CLOEXEC).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "injector/base/error.h"
#include "injector/net/traffic.h"
#include "injector/netlink/netlink_message.h"

struct nl_sock;

namespace capsize {

// The kernel said no; `code` is the errno. Kind: privilege for EPERM and EACCES, else unavailable.
class NetlinkError : public Error {
 public:
  NetlinkError(int code, std::string fact, std::string remedy);
  int code() const { return code_; }

 private:
  int code_;
};

struct NetlinkReply {
  std::uint16_t type = 0;
  Bytes payload;  // behind the nlmsghdr: the family's own header, then attributes
  template <class Header>
  Attributes attributes() const {
    constexpr std::size_t kSkip = (sizeof(Header) + 3) & ~std::size_t{3};
    return Attributes(payload.size() < kSkip ? BytesView() : BytesView(payload).subspan(kSkip));
  }
};

// `what`, in all of these: what is tried, for messages: "adding the table capsize_1". They throw NetlinkError. Thread: one at a time.
// Replies are read until the kernel's last word on what was asked; anything else that arrives meanwhile is dropped, so a socket that
// packets are queued to is not asked anything while they flow.
class NetlinkSocket {
 public:
  explicit NetlinkSocket(int protocol);                        // in the network namespace of the calling thread; NETLINK_ROUTE, NETLINK_NETFILTER ...
  NetlinkSocket(int protocol, const NetworkNamespace& place);  // made there, stays there
  NetlinkSocket(NetlinkSocket&& other) noexcept = default;
  NetlinkSocket& operator=(NetlinkSocket&& other) noexcept = default;

  int fd() const;
  std::uint32_t port() const;  // by which the kernel names it as an owner

  // One message: waits for its acknowledgement; replies that came before that (of a GET) are returned.
  std::vector<NetlinkReply> request(NetlinkWriter message, const std::string& what);
  // All that a GET with NLM_F_DUMP answers; asked again when it changed meanwhile, as something may be missing then.
  std::vector<NetlinkReply> dump(NetlinkWriter message, const std::string& what);
  // Several messages in one sendmsg: nf_tables takes all of a batch or nothing. Throws the first error.
  void transact(NetlinkWriter batch, const std::string& what);

 private:
  struct Closer {
    void operator()(nl_sock* socket) const;
  };
  std::uint32_t send(NetlinkWriter& messages, const std::string& what);  // the number of the last one
  void open(int protocol);

  std::unique_ptr<nl_sock, Closer> socket_;
  std::uint32_t next_ = 1;
};

}  // namespace capsize
