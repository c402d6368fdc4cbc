#include "experiments/timeline.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#include "injector/base/error.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxTimelineBytes = 1u << 30;

std::string line_of(const Json& event) { return event.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

bool write_all(int fd, const std::string& text) {
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = ::write(fd, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    written += static_cast<std::size_t>(count);
  }
  return true;
}

}  // namespace

Timeline::Timeline(Clock& clock) : clock_(clock), start_(clock.now()) {}

Timeline::Timeline(Clock& clock, const std::filesystem::path& file) : Timeline(clock) {
  path_ = file;
  file_.reset(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) throw system_error(errno, fmt::format("cannot make {}", file.string()), "choose another folder with --out");
}

double Timeline::now_seconds() const { return std::round(seconds(clock_.now() - start_) * 1e3) / 1e3; }

void Timeline::add(std::string event, Json fields) {
  fields["t"] = now_seconds();
  fields["event"] = std::move(event);
  events_.push_back(std::move(fields));
  if (!veil) {
    show(events_.back());
  } else if (const auto seen = veil(events_.back())) {
    show(*seen);
  }
}

void Timeline::show(const Json& event) {
  if (file_ && write_problem_.empty() && !write_all(file_.get(), line_of(event))) {
    write_problem_ = fmt::format("the timeline file is cut off: {}", std::strerror(errno));
  }
  if (on_event) on_event(event);
}

void Timeline::unveil() {
  if (!std::exchange(veil, nullptr) || !file_) return;
  const std::filesystem::path whole = path_.string() + ".new";
  UniqueFd file(::open(whole.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file || !write_all(file.get(), text()) || ::rename(whole.c_str(), path_.c_str()) != 0) {
    write_problem_ = fmt::format("the timeline file lacks what was sealed: {}", std::strerror(errno));
    return;
  }
  file_ = std::move(file);
}

std::string Timeline::text() const {
  std::string out;
  for (const Json& event : events_) out += line_of(event);
  return out;
}

std::vector<Json> read_timeline(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(ErrorKind::unavailable, fmt::format("cannot read {}", file.string()), "name a run, or the folder of one");
  std::vector<Json> events;
  std::size_t total = 0;
  for (std::string line; std::getline(in, line);) {
    if (in.eof()) break;  // no line end: cut off while it was written
    total += line.size();
    if (total > kMaxTimelineBytes) throw Error(ErrorKind::unavailable, fmt::format("{} is larger than 1 GiB", file.string()));
    Json event = Json::parse(line, nullptr, false);
    if (!event.is_object() || !event.contains("event") || !event.contains("t")) {
      throw Error(ErrorKind::unavailable, fmt::format("{}: line {} is not an event", file.string(), events.size() + 1), "the file was changed or is not a timeline");
    }
    events.push_back(std::move(event));
  }
  if (events.empty() || events.front()["event"] != "run") throw Error(ErrorKind::unavailable, fmt::format("{} does not begin as a timeline", file.string()));
  return events;
}

}  // namespace capsize
