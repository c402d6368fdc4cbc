// What a device fault adds beside its table: ifb devices, clsact, filters. Inert without the table. Knows how to take it away again, both by the one who
// added it and by anybody later, who knows it by name, kind, alias, mark and program.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "injector/net/backends.h"
#include "injector/netlink/traffic_control.h"

namespace capsize {

// Packets that leave have a device of their own beside device_name(), so that directions neither share a rate nor wait for each other.
std::string leave_device_name(const Impairment& impairment);
// The 12 digits of the impairment that a device of this name belongs to, of either direction; empty: it is not called like one of ours.
std::string impairment_of_device(std::string_view name);

// Of an ifb of ours: whose it is, and on which devices we added clsact, by index: "capsize_0123456789ab clsact 1-3,7". What does not fit the
// kernel's 255 characters is left out.
std::string device_alias(const std::string& name, const std::set<int>& clsact);
std::set<int> clsact_from_alias(const std::string& alias);
bool is_alias_of(const std::string& alias, const std::string& name);

class DeviceParts {
 public:
  DeviceParts(TrafficControl& control, const Impairment& impairment) : control_(control), impairment_(impairment) {}
  ~DeviceParts();  // takes all of it away again, unless keep() was called
  DeviceParts(const DeviceParts&) = delete;
  DeviceParts& operator=(const DeviceParts&) = delete;

  // All throw NetlinkError.
  int add_ifb(const std::string& name);
  void add_clsact(const std::set<int>& links);  // where there is none
  void add_redirect(int link, std::uint16_t priority, int to, bool unmark);
  void keep() { kept_ = true; }  // for sweep_device(): removing a device takes the kernel 20 ms, and packets may wait in it

  const std::vector<int>& ifbs() const { return ifbs_; }
  bool added_clsact(int link) const { return clsact_.count(link) != 0; }

 private:
  TrafficControl& control_;
  const Impairment& impairment_;
  std::vector<int> ifbs_;
  std::set<int> clsact_;
  bool kept_ = false;
};

}  // namespace capsize
