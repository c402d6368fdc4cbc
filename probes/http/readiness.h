// Tells which sockets have become readable or writable. Asio's own reactor asks the kernel once more before each wait; at tens of thousands of
// requests a second those calls are a tenth of the price of a request. Here each socket is registered once, edge-triggered, in an epoll set of
// its own, and Asio waits for the set.
#pragma once
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/intrusive/list.hpp>
#include <vector>

#include "injector/base/task.h"
#include "probes/http/parking.h"

namespace capsize {

// One of each io_context: asio::use_service<Readiness>(context). Thread: the one that runs the context.
class Readiness final : public asio::execution_context::service {
 public:
  // Of one socket, as far as the kernel has told; whoever reads or writes until it would block takes that back.
  class Entry : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
   public:
    explicit Entry(Readiness& owner) : owner_(owner), parking_(owner.waiting_, [&owner] { owner.rest(); }) { owner.entries_.push_back(*this); }

    boost::system::error_code watch(int fd);  // until it is closed
    // Until the kernel has something new to tell; of one coroutine at a time. Completes with operation_aborted when cancelled.
    template <class Token>
    auto async_wait(Token&& token) {
      owner_.arm();
      return parking_.async_wait(std::forward<Token>(token));
    }

    bool readable = false;
    bool writable = false;
    bool ended = false;  // the other side has closed, or the connection is broken: there will be no further event

   private:
    friend class Readiness;
    Readiness& owner_;
    Parking parking_;
  };

  inline static asio::execution_context::id id;
  explicit Readiness(asio::execution_context& context);  // an io_context; throws boost::system::system_error

  // For what is read and digested without a wait in between: thousands of connections share it.
  std::vector<char>& scratch() { return scratch_; }

 private:
  void shutdown() override;
  void arm();
  void look();
  void rest();

  asio::posix::stream_descriptor set_;
  boost::intrusive::list<Entry, boost::intrusive::constant_time_size<false>> entries_;
  std::size_t waiting_ = 0;
  bool armed_ = false;
  std::vector<char> scratch_;
};

}  // namespace capsize
