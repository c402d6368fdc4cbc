#include "probes/login/transport.h"

#include "injector/base/within.h"

namespace capsize {

Task<Answer> answer_by(Clock& clock, TimePoint deadline, Task<Answer> work) {
  const Duration limit = deadline - clock.now();
  if (limit <= Duration::zero()) co_return Answer::timed_out;
  const auto answer = co_await within(clock, limit, std::move(work));
  co_return answer.value_or(Answer::timed_out);
}

}  // namespace capsize
