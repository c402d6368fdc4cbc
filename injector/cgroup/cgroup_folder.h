// One cgroup, opened: what is read and written through it can meet no other, even if it is removed and made anew under the same name.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/json.h"
#include "injector/base/unique_fd.h"

namespace capsize {

struct CgroupRef {
  std::string folder;       // absolute
  std::uint64_t inode = 0;  // of this cgroup alone within a boot; 0: whichever has this name, since the name is ours
  friend bool operator==(const CgroupRef&, const CgroupRef&) = default;
};
Json to_json(const CgroupRef& ref);
CgroupRef cgroup_ref_from_json(const Json& json);  // throws Error::bug

// Thread: any.
class CgroupFolder {
 public:
  // Nothing: there is none of that name, or it is another one by now. Throws Error for what cannot be told, and for what is no cgroup.
  static std::optional<CgroupFolder> open(const CgroupRef& ref);

  CgroupRef ref() const { return ref_; }
  std::optional<std::string> read(const std::string& file) const;        // without the last newline; nothing: no such file. Throws Error
  void write(const std::string& file, const std::string& text) const;    // in one write; throws Error, with what the kernel said
  std::vector<int> processes() const;                                    // of this cgroup alone; 0: one of another pid namespace
  std::vector<int> processes_below() const;                              // of this cgroup and all below
  std::vector<std::string> children() const;                             // names
  void make_child(const std::string& name) const;                        // throws Error, also when it exists
  int remove_child(const std::string& name) const;                       // errno; 0: removed

 private:
  CgroupFolder(CgroupRef ref, UniqueFd fd) : ref_(std::move(ref)), fd_(std::move(fd)) {}
  CgroupRef ref_;
  UniqueFd fd_;
};

}  // namespace capsize
