#include "injector/base/located_json.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "injector/base/error.h"
#include "injector/base/unique_fd.h"
#include "injector/base/utf8.h"

namespace capsize {
std::optional<Mistake> text_mistake(std::string_view text, std::size_t* where) {
  for (std::size_t at = 0; at < text.size();) {
    unsigned point = 0;
    const std::size_t length = utf8_sequence(text, at, point);
    if (where != nullptr) *where = at;
    if (length == 0) return Mistake{"bytes that are not UTF-8", "save it as UTF-8"};
    if (point < 0x20 || (point >= 0x7f && point < 0xa0)) return Mistake{fmt::format("a control character (U+{:04X})", point), "leave it out"};
    at += length;
  }
  return std::nullopt;
}

std::size_t LocatedJson::find(std::string_view pointer) const {
  std::size_t node = 0;
  while (!pointer.empty()) {
    const std::size_t end = std::min(pointer.find('/', 1), pointer.size());
    std::string key;
    for (std::size_t i = 1; i < end; ++i) {
      const bool escaped = pointer[i] == '~' && i + 1 < end;
      key += escaped ? (pointer[i + 1] == '1' ? '/' : '~') : pointer[i];
      if (escaped) ++i;
    }
    const auto child = children_.find({node, key});
    if (child == children_.end()) break;
    node = child->second;
    pointer.remove_prefix(end);
  }
  return node;
}

Position LocatedJson::value_at(std::string_view pointer) const { return nodes_.empty() ? Position{1, 1} : nodes_[find(pointer)].value; }

Position LocatedJson::key_at(std::string_view pointer) const {
  if (nodes_.empty()) return {1, 1};
  const Node& node = nodes_[find(pointer)];
  return node.key.line > 0 ? node.key : node.value;
}

void LocatedJson::locate(Diagnostics& diagnostics) const {
  for (Diagnostic& diagnostic : diagnostics.all()) {
    if (diagnostic.line > 0) continue;
    const Position place = diagnostic.about_key ? key_at(diagnostic.pointer) : value_at(diagnostic.pointer);
    diagnostic.line = place.line;
    diagnostic.column = place.column;
  }
}

std::string read_document(const std::filesystem::path& file) {
  const std::string name = printable(file.string());
  // O_NONBLOCK: a fifo with no writer must be an error, not a wait.
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) throw system_error(errno, "cannot open " + name, errno == ENOENT ? "check the path" : "");
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw system_error(errno, "cannot look at " + name);
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::unavailable, name + " is not a regular file", "name a JSON file");
  std::string text;
  std::vector<char> block(64 * 1024);
  const auto too_large = [&] {
    return Error(ErrorKind::refused, fmt::format("{} is larger than {} bytes", name, kMaxDocumentBytes), "split it, or leave out what it does not need");
  };
  if (static_cast<std::uint64_t>(status.st_size) > kMaxDocumentBytes) throw too_large();
  for (;;) {
    const ssize_t got = ::read(fd.get(), block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(errno, "cannot read " + name);
    if (got == 0) return text;
    text.append(block.data(), static_cast<std::size_t>(got));
    if (text.size() > kMaxDocumentBytes) throw too_large();  // it grew meanwhile
  }
}

}  // namespace capsize
