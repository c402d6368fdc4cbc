// Where one coroutine waits until it is told to go on, at once and on the spot: what Wake does with a timer and a turn of the loop, at a
// tenth of the price. For what is done tens of thousands of times a second.
#pragma once
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "injector/base/task.h"

namespace capsize {

// One that waits. Destroyed without having gone on, it takes its coroutine with it.
class Parked {
 public:
  explicit Parked(std::size_t& count) : count_(count) { ++count_; }
  virtual ~Parked() { --count_; }
  Parked(const Parked&) = delete;
  Parked& operator=(const Parked&) = delete;
  // Runs the coroutine to where it waits next, on the executor's thread, where this is called from. Once.
  virtual void go_on(boost::system::error_code error) = 0;
  virtual asio::any_io_executor executor() const = 0;

 private:
  std::size_t& count_;
};

// Thread: that of the executor of whoever waits.
class Parking {
 public:
  // `count`: how many are parked, here and wherever else it counts. `gave_up`: told, after the coroutine, of one that was cancelled.
  explicit Parking(std::size_t& count, std::function<void()> gave_up = {}) : count_(count), gave_up_(std::move(gave_up)) {}
  Parking(const Parking&) = delete;
  Parking& operator=(const Parking&) = delete;

  std::unique_ptr<Parked> take() { return std::exchange(parked_, nullptr); }
  void go_on() {
    if (const auto parked = take()) parked->go_on({});
  }

  // Of one coroutine at a time. Completes with operation_aborted when cancelled.
  template <class Token>
  auto async_wait(Token&& token) {
    return asio::async_initiate<Token, void(boost::system::error_code)>([this](auto handler) { this->park(std::move(handler)); }, token);
  }

 private:
  template <class Handler>
  struct Waiting final : Parked {
    Waiting(std::size_t& count, Handler&& waits) : Parked(count), handler(std::move(waits)) {}
    void go_on(boost::system::error_code error) override {
      auto slot = asio::get_associated_cancellation_slot(handler);
      if (slot.is_connected()) slot.clear();
      Handler last(std::move(handler));
      last(error);
    }
    asio::any_io_executor executor() const override { return asio::get_associated_executor(handler); }
    Handler handler;
  };

  template <class Handler>
  void park(Handler handler) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.assign([this](asio::cancellation_type) { give_up(); });
    parked_ = std::make_unique<Waiting<Handler>>(count_, std::move(handler));
  }

  // Not on the spot: whoever cancels is in the midst of something.
  void give_up() {
    auto parked = take();
    if (!parked) return;
    const auto executor = parked->executor();
    asio::post(executor, [gone = std::move(parked), told = gave_up_]() mutable {  // the parking may be gone by then
      std::exchange(gone, nullptr)->go_on(asio::error::operation_aborted);
      if (told) told();
    });
  }

  std::size_t& count_;
  const std::function<void()> gave_up_;
  std::unique_ptr<Parked> parked_;
};

}  // namespace capsize
