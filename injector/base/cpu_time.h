// How long the calling thread has run: not the time, which is the Clock's, but what was made of it.
#pragma once
#include "injector/base/clock.h"

namespace capsize {

Duration thread_cpu_time();  // user and system time of this thread since it began

}  // namespace capsize
