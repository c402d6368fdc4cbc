// The folder where capsize keeps what must outlive it on this machine. Reached step by step without following a symbolic link, owned
// by us, closed to others: what is in its `undo` folder is carried out with our privileges.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "injector/base/unique_fd.h"

namespace capsize {

// CAPSIZE_STATE, else /var/lib/capsize for root, else $XDG_STATE_HOME/capsize or ~/.local/state/capsize. Throws Error.
std::filesystem::path default_state_path();

class StateDir {
 public:
  static StateDir open(const std::filesystem::path& path);  // makes what is missing; throws Error
  static std::optional<StateDir> open_existing(const std::filesystem::path& path);  // nothing: there is no undo folder; throws Error
  StateDir(UniqueFd undo, std::filesystem::path path) : undo_(std::move(undo)), path_(std::move(path)) {}

  int undo_fd() const { return undo_.get(); }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path undo_path() const { return path_ / "undo"; }
  StateDir duplicate() const;

 private:
  UniqueFd undo_;
  std::filesystem::path path_;
};

}  // namespace capsize
