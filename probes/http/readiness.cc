#include "probes/http/readiness.h"

#include <sys/epoll.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cerrno>

namespace capsize {
namespace {

constexpr std::size_t kScratchBytes = 32 * 1024;
constexpr std::size_t kAtATime = 64;  // between two of them other work of the executor has its turn

int epoll_set() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) throw boost::system::system_error(errno, boost::system::system_category(), "epoll_create1");
  return fd;
}

}  // namespace

Readiness::Readiness(asio::execution_context& context) : service(context), set_(static_cast<asio::io_context&>(context), epoll_set()), scratch_(kScratchBytes) {}

boost::system::error_code Readiness::Entry::watch(int fd) {
  readable = writable = ended = false;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = this;
  const bool watched = ::epoll_ctl(owner_.set_.native_handle(), EPOLL_CTL_ADD, fd, &event) == 0;
  return watched ? boost::system::error_code() : boost::system::error_code(errno, boost::system::system_category());
}

void Readiness::arm() {
  if (armed_) return;
  armed_ = true;
  set_.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
    armed_ = false;
    if (!error) return look();
    if (error == asio::error::operation_aborted && waiting_ > 0) arm();  // who came after rest()
  });
}

// The wait for the set is work of the context: with nobody who waits for a socket, it must not keep the context from its end.
void Readiness::rest() {
  if (!armed_ || waiting_ > 0) return;
  boost::system::error_code ignored;
  set_.cancel(ignored);
}

// All is noted before anyone goes on: who does may close any of the sockets.
void Readiness::look() {
  std::array<epoll_event, kAtATime> events;
  const int count = ::epoll_wait(set_.native_handle(), events.data(), static_cast<int>(events.size()), 0);
  std::array<std::unique_ptr<Parked>, kAtATime> woken;
  for (int i = 0; i < count; ++i) {
    const auto told = events[static_cast<std::size_t>(i)].events;
    Entry& entry = *static_cast<Entry*>(events[static_cast<std::size_t>(i)].data.ptr);
    entry.ended = entry.ended || (told & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    entry.readable = entry.readable || entry.ended || (told & EPOLLIN) != 0;
    entry.writable = entry.writable || (told & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    woken[static_cast<std::size_t>(i)] = entry.parking_.take();
  }
  for (auto& parked : woken) {
    if (parked) std::exchange(parked, nullptr)->go_on({});
  }
  if (waiting_ > 0) arm();
}

// The context is being destroyed, and with it whoever waits.
void Readiness::shutdown() {
  std::vector<std::unique_ptr<Parked>> gone;
  for (Entry& entry : entries_) gone.push_back(entry.parking_.take());
  gone.clear();
  boost::system::error_code ignored;
  set_.close(ignored);
}

}  // namespace capsize
