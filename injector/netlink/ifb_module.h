// Making an ifb device may load the kernel's module ifb, which then adds two more, ifb0 and ifb1, to the first network namespace. While
// one of these lives, such gifts go again when it ends: nobody asked for them.
#pragma once
#include <set>
#include <string>

namespace capsize {

class IfbModuleGifts {
 public:
  IfbModuleGifts();
  ~IfbModuleGifts();
  IfbModuleGifts(const IfbModuleGifts&) = delete;
  IfbModuleGifts& operator=(const IfbModuleGifts&) = delete;

 private:
  bool may_come_ = false;
  std::set<std::string> before_;
};

}  // namespace capsize
