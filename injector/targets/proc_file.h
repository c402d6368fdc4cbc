// A small file of /proc read whole, with why not.
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "injector/base/unique_fd.h"

namespace capsize {

struct FileRead {
  std::string text;
  int error = 0;
  bool gone() const { return error == ENOENT || error == ESRCH; }
};

// At most `limit` bytes of it.
inline FileRead read_file(const std::string& path, std::size_t limit, int flags = 0) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
  if (!file) return {{}, errno};
  constexpr std::size_t kChunk = 64 * 1024;  // `limit` may be megabytes, and most files are small
  FileRead out;
  std::size_t filled = 0;
  while (filled < limit) {
    if (filled == out.text.size()) out.text.resize(std::min(limit, filled + kChunk));
    const ssize_t got = ::read(file.get(), out.text.data() + filled, out.text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {{}, errno};
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  out.text.resize(filled);
  return out;
}

}  // namespace capsize
