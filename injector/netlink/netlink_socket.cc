#include "injector/netlink/netlink_socket.h"

#include <fmt/format.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>

#include "injector/netlink/network_namespace.h"

namespace capsize {
namespace {

constexpr int kSendBuffer = 32 << 20;  // a limit, not an allocation: a batch goes in one piece, and 10,000 addresses take about 400 KiB
constexpr int kReceiveBuffer = 4 << 20;
constexpr std::size_t kMostBytesAtOnce = 256 << 10;
constexpr int kMostTimesAsked = 20;    // for a list that changes while it is told
constexpr time_t kPatienceSeconds = 10;  // the kernel answers within the call; this is for a kernel that never does

std::string remedy_for(int code) {
  if (code == EPERM || code == EACCES) return "run capsize as root, or give it CAP_NET_ADMIN in that network namespace";
  return "";
}

// What the kernel adds to an errno: "Invalid argument: Unknown device type".
std::string extended_text(const nlmsghdr& header, BytesView payload) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0 || payload.size() < sizeof(nlmsgerr)) return "";
  nlmsgerr answer;
  std::memcpy(&answer, payload.data(), sizeof answer);
  const std::size_t echoed = (header.nlmsg_flags & NLM_F_CAPPED) != 0 ? 0 : (answer.msg.nlmsg_len - std::min<std::size_t>(answer.msg.nlmsg_len, sizeof(nlmsghdr)) + 3) & ~std::size_t{3};
  const std::size_t skip = std::min(payload.size(), sizeof answer + echoed);
  return Attributes(payload.subspan(skip)).text(NLMSGERR_ATTR_MSG);
}

NetlinkError kernel_error(int code, const std::string& what, const std::string& more = {}) {
  return NetlinkError(code, fmt::format("{}: {}{}{}", what, std::strerror(code), more.empty() ? "" : ": ", more), remedy_for(code));
}

void force(int fd, int option, int forced_option, int value) {
  if (::setsockopt(fd, SOL_SOCKET, forced_option, &value, sizeof value) != 0) ::setsockopt(fd, SOL_SOCKET, option, &value, sizeof value);
}

// What arrives from the kernel, message by message.
class Inbox {
 public:
  Inbox(int fd, const std::string& what) : fd_(fd), what_(what) {}

  // Calls `take(header, payload)` for each message of one datagram; false when `flags` has MSG_DONTWAIT and nothing is there.
  template <class F>
  bool receive(int flags, F&& take) {
    const ssize_t size = ::recv(fd_, nullptr, 0, flags | MSG_PEEK | MSG_TRUNC);
    if (size < 0) return quiet(flags) ? false : receive(flags, take);
    CAPSIZE_CHECK(static_cast<std::size_t>(size) <= kMostBytesAtOnce);
    buffer_.resize(static_cast<std::size_t>(size));
    sockaddr_nl from{};
    socklen_t from_size = sizeof from;
    const ssize_t got = ::recvfrom(fd_, buffer_.data(), buffer_.size(), flags, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (got < 0) return quiet(flags) ? false : receive(flags, take);
    if (from.nl_pid != 0) return true;  // not from the kernel
    BytesView rest(buffer_.data(), static_cast<std::size_t>(got));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr header;
      std::memcpy(&header, rest.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) break;
      take(header, rest.subspan(sizeof header, header.nlmsg_len - sizeof header));
      rest = rest.subspan(std::min<std::size_t>(rest.size(), (header.nlmsg_len + 3u) & ~3u));
    }
    return true;
  }

 private:
  // True: nothing there. False: try again. Throws for anything else.
  bool quiet(int flags) {
    if (errno == EINTR) return false;
    if ((errno == EAGAIN || errno == EWOULDBLOCK) && (flags & MSG_DONTWAIT) != 0) return true;
    throw kernel_error(errno, what_ + ": reading the kernel's answer");
  }

  int fd_;
  const std::string& what_;
  Bytes buffer_;
};

struct Answer {
  int code = 0;  // errno
  std::string more;
};

Answer answer_in(const nlmsghdr& header, BytesView payload) {
  std::int32_t code = 0;
  if (payload.size() >= sizeof code) std::memcpy(&code, payload.data(), sizeof code);
  return {-code, code == 0 ? "" : extended_text(header, payload)};
}

}  // namespace

NetlinkError::NetlinkError(int code, std::string fact, std::string remedy)
    : Error(code == EPERM || code == EACCES ? ErrorKind::privilege : ErrorKind::unavailable, std::move(fact), std::move(remedy)), code_(code) {}

void NetlinkSocket::Closer::operator()(nl_sock* socket) const { nl_socket_free(socket); }

NetlinkSocket::NetlinkSocket(int protocol) { open(protocol); }

NetlinkSocket::NetlinkSocket(int protocol, const NetworkNamespace& place) {
  in_network_namespace(place, [&] { open(protocol); });
}

void NetlinkSocket::open(int protocol) {
  socket_.reset(nl_socket_alloc());
  CAPSIZE_CHECK(socket_ != nullptr);
  const int result = nl_connect(socket_.get(), protocol);
  if (result < 0) throw NetlinkError(EPROTONOSUPPORT, fmt::format("opening a netlink socket of protocol {}: {}", protocol, nl_geterror(result)), "the kernel may lack it: for NETLINK_NETFILTER, modprobe nfnetlink");
  const int on = 1;
  ::setsockopt(fd(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  ::setsockopt(fd(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  force(fd(), SO_SNDBUF, SO_SNDBUFFORCE, kSendBuffer);
  force(fd(), SO_RCVBUF, SO_RCVBUFFORCE, kReceiveBuffer);
  const timeval patience{kPatienceSeconds, 0};
  ::setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

int NetlinkSocket::fd() const { return nl_socket_get_fd(socket_.get()); }
std::uint32_t NetlinkSocket::port() const { return nl_socket_get_local_port(socket_.get()); }

std::uint32_t NetlinkSocket::send(NetlinkWriter& messages, const std::string& what) {
  CAPSIZE_CHECK(!messages.empty());
  next_ = messages.number(next_);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent = 0;
  do {
    sent = ::sendto(fd(), messages.bytes().data(), messages.bytes().size(), 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) throw kernel_error(errno, what);
  return next_ - 1;
}

std::vector<NetlinkReply> NetlinkSocket::request(NetlinkWriter message, const std::string& what) {
  message.add_flags_to_last(NLM_F_ACK);
  const std::uint32_t number = send(message, what);
  std::vector<NetlinkReply> replies;
  std::optional<Answer> answer;
  Inbox inbox(fd(), what);
  while (!answer) {
    inbox.receive(0, [&](const nlmsghdr& header, BytesView payload) {
      if (header.nlmsg_seq != number) return;
      if (header.nlmsg_type == NLMSG_ERROR) answer = answer_in(header, payload);
      else replies.push_back({header.nlmsg_type, Bytes(payload.begin(), payload.end())});
    });
  }
  if (answer->code != 0) throw kernel_error(answer->code, what, answer->more);
  return replies;
}

std::vector<NetlinkReply> NetlinkSocket::dump(NetlinkWriter message, const std::string& what) {
  message.add_flags_to_last(NLM_F_DUMP);
  for (int asked = 1;; ++asked) {
    const std::uint32_t number = send(message, what);
    std::vector<NetlinkReply> replies;
    std::optional<Answer> answer;
    bool changed = false;  // meanwhile: something may be missing
    Inbox inbox(fd(), what);
    while (!answer) {
      inbox.receive(0, [&](const nlmsghdr& header, BytesView payload) {
        if (header.nlmsg_seq != number) return;
        changed = changed || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) answer = answer_in(header, payload);
        else replies.push_back({header.nlmsg_type, Bytes(payload.begin(), payload.end())});
      });
    }
    if (answer->code == EINTR || (answer->code == 0 && changed)) {
      if (asked == kMostTimesAsked) throw kernel_error(EINTR, what, "it changed all the while");
      continue;
    }
    if (answer->code != 0) throw kernel_error(answer->code, what, answer->more);
    return replies;
  }
}

void NetlinkSocket::transact(NetlinkWriter batch, const std::string& what) {
  send(batch, what);
  // All answers were queued within the call: one for each message that failed, and those that were asked for.
  std::optional<Answer> first;
  bool answered = false;
  Inbox inbox(fd(), what);
  const auto take = [&](const nlmsghdr& header, BytesView payload) {
    if (header.nlmsg_type != NLMSG_ERROR) return;
    answered = true;
    const Answer answer = answer_in(header, payload);
    if (answer.code != 0 && !first) first = answer;
  };
  inbox.receive(0, take);
  while (inbox.receive(MSG_DONTWAIT, take)) {
  }
  if (first) throw kernel_error(first->code, what, first->more);
  CAPSIZE_CHECK(answered);
}

}  // namespace capsize
