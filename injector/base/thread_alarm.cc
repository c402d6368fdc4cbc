#include "injector/base/thread_alarm.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "injector/base/error.h"

namespace capsize {
namespace {

timespec timespec_of(Duration duration) {
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {static_cast<time_t>(whole.count()), static_cast<long>((duration - whole).count())};
}

void do_nothing(int) {}

}  // namespace

ThreadAlarm::ThreadAlarm() {
  struct sigaction action = {};
  action.sa_handler = do_nothing;  // without SA_RESTART: the wait is what has to end
  sigset_t urgent;
  sigemptyset(&urgent);
  sigaddset(&urgent, SIGURG);
  if (::sigaction(SIGURG, &action, nullptr) != 0 || ::pthread_sigmask(SIG_UNBLOCK, &urgent, nullptr) != 0) throw system_error(errno, "SIGURG could not be handled");
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGURG;
  event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) throw system_error(errno, "a timer could not be made");
}

ThreadAlarm::~ThreadAlarm() { ::timer_delete(timer_); }

void ThreadAlarm::set(TimePoint when, Duration again) {
  itimerspec spec{};
  spec.it_value = timespec_of(std::max(when.time_since_epoch(), Duration(1)));
  spec.it_interval = timespec_of(again);
  CAPSIZE_CHECK(::timer_settime(timer_, TIMER_ABSTIME, &spec, nullptr) == 0);
}

}  // namespace capsize
