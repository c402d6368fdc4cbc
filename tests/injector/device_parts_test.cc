#include "injector/net/device_parts.h"

#include <catch2/catch.hpp>

using namespace capsize;

TEST_CASE("an ifb's alias says whose it is, and where clsact is ours", "[device_parts]") {
  const std::string name = "capsize_0123456789ab";
  CHECK(device_alias(name, {}) == name);
  CHECK(device_alias(name, {1, 2, 3, 7, 9, 10}) == name + " clsact 1-3,7,9-10");
  for (const std::set<int>& links : std::vector<std::set<int>>{{}, {1}, {1, 2, 3, 7, 9, 10}, {4'000'000}}) CHECK(clsact_from_alias(device_alias(name, links)) == links);
  CHECK(is_alias_of(device_alias(name, {1}), name));
  CHECK(is_alias_of(name, name));
  CHECK(!is_alias_of(name + "c", name));
  CHECK(!is_alias_of("", name));
}

TEST_CASE("an alias never grows beyond what the kernel takes: what does not fit is left out", "[device_parts]") {
  std::set<int> odd;
  for (int i = 1; i < 1000; i += 2) odd.insert(i);
  const std::string alias = device_alias("capsize_0123456789ab", odd);
  CHECK(alias.size() <= 255);
  const std::set<int> read = clsact_from_alias(alias);
  CHECK(read.size() > 40);
  CHECK(std::includes(odd.begin(), odd.end(), read.begin(), read.end()));
}

TEST_CASE("what is no list of devices is read as far as it is one", "[device_parts]") {
  CHECK(clsact_from_alias("capsize_0123456789ab clsact ").empty());
  CHECK(clsact_from_alias("capsize_0123456789ab clsact x,3").empty());
  CHECK(clsact_from_alias("capsize_0123456789ab clsact 3,x") == std::set<int>{3});
  CHECK(clsact_from_alias("capsize_0123456789ab clsact 5-3").empty());
  CHECK(clsact_from_alias("capsize_0123456789ab clsact 1-4000000000").empty());
  CHECK(clsact_from_alias("capsize_0123456789ab clsact -5").empty());
}

TEST_CASE("the devices of one impairment have names that fit, and differ", "[device_parts]") {
  Impairment impairment;
  impairment.name = "capsize_0123456789ab";
  CHECK(device_name(impairment) == "cpz0123456789ab");
  CHECK(leave_device_name(impairment) == "cpzg123456789ab");
  impairment.name = "capsize_f123456789ab";
  CHECK(leave_device_name(impairment) == "cpzv123456789ab");
  CHECK(impairment_of_device(device_name(impairment)) == "f123456789ab");
  CHECK(impairment_of_device(leave_device_name(impairment)) == "f123456789ab");
  for (const char* other : {"", "cpz", "ifb0", "cpz0123456789", "cpzw123456789ab", "cpz0g23456789ab", "abc0123456789ab"}) CHECK(impairment_of_device(other).empty());
}
