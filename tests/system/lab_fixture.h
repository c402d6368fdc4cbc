// What tests against real processes need: a folder of their own, waiting for a condition, and a lab.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

#include "experiments/lab/lab.h"
#include "injector/base/clock.h"
#include "injector/base/error.h"

namespace capsize {

// A folder that is there as long as this object.
class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "capsize-test.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw system_error(errno, "cannot make a folder like " + name);
    path_ = name;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// Whether `condition` came true within `limit`.
inline bool eventually(const std::function<bool()>& condition, Duration limit = std::chrono::seconds(10)) {
  const SystemClock clock;
  for (const TimePoint deadline = clock.now() + limit;;) {
    if (condition()) return true;
    if (clock.now() > deadline) return false;
    ::poll(nullptr, 0, 5);
  }
}

inline LabOptions lab_options(const std::filesystem::path& dir, const std::string& profile = "as-it-was") {
  LabOptions options;
  options.profile = profile;
  options.dir = dir;
  options.programs = CAPSIZE_BINARY_DIR;
  return options;
}

// A lab of the test's own: it ends with the test, or with the test's process.
class LabFixture {
 public:
  explicit LabFixture(const std::string& profile = "as-it-was") : lab_(lab_options(folder_ / "lab", profile)) {}
  explicit LabFixture(LabOptions options) : lab_(at(std::move(options), folder_ / "lab")) {}

  const Json& info() const { return lab_.info(); }                                                            // lab.json
  std::string variable(const std::string& name) const { return info().at("variables").at(name); }             // "login_url", "auth1_pid" ...
  std::filesystem::path file() const { return folder_ / "lab" / "lab.json"; }
  const std::filesystem::path& folder() const { return folder_.path(); }  // for files of the test

 private:
  static LabOptions at(LabOptions options, std::filesystem::path dir) {
    options.dir = std::move(dir);
    options.programs = CAPSIZE_BINARY_DIR;
    return options;
  }

  TestFolder folder_;
  OwnedLab lab_;
};

}  // namespace capsize
