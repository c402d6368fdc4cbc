// Work in another network namespace: a socket made there stays there. The calling thread is moved there and back.
#pragma once
#include <functional>

#include "injector/base/unique_fd.h"
#include "injector/net/traffic.h"

namespace capsize {

// Opens it and proves its inode (0: none to prove). Throws Error: unavailable (no such file), changed (another one now), privilege.
UniqueFd open_network_namespace(const NetworkNamespace& place);
NetworkNamespace look_up_network_namespace(std::string path);  // with its inode

// Runs `work` on this thread inside the namespace; always comes back, else aborts. `work` must not suspend a coroutine. Throws what `work` does.
void in_network_namespace(const NetworkNamespace& place, const std::function<void()>& work);
// A new, empty one, gone when `work` returns and no descriptor refers to it.
void in_scratch_namespace(const std::function<void()>& work);

}  // namespace capsize
