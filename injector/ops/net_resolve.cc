// net.resolve: what names stand for on this host, once, when a fault is planned: addresses of both families, a user, a network namespace;
// and which addresses are the host's own.
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <cstring>

#include "injector/base/error.h"
#include "injector/base/within.h"
#include "injector/net/cgroup_folder.h"
#include "injector/netlink/network_namespace.h"
#include "injector/ops/net_looks.h"
#include "injector/targets/network.h"

namespace capsize {
namespace {

constexpr Duration kResolveLimit = std::chrono::seconds(5);
constexpr std::size_t kMaxNames = 200;

struct Found {
  std::vector<AddressBlock> addresses;
  std::string problem;  // empty: none
};

AddressBlock block_of(const asio::ip::address& address) {
  AddressBlock block;
  block.v6 = address.is_v6();
  block.prefix = block.v6 ? 128 : 32;
  if (block.v6) {
    const auto bytes = address.to_v6().to_bytes();
    std::copy(bytes.begin(), bytes.end(), block.bytes.begin());
  } else {
    const auto bytes = address.to_v4().to_bytes();
    std::copy(bytes.begin(), bytes.end(), block.bytes.begin());
  }
  return block;
}

Task<Found> find_addresses(std::string name) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  boost::system::error_code problem;
  const auto entries = co_await resolver.async_resolve(name, "", asio::redirect_error(asio::use_awaitable, problem));
  Found found;
  if (problem) found.problem = problem.message();
  for (const auto& entry : entries) found.addresses.push_back(block_of(entry.endpoint().address()));
  std::sort(found.addresses.begin(), found.addresses.end());
  found.addresses.erase(std::unique(found.addresses.begin(), found.addresses.end()), found.addresses.end());
  co_return found;
}

std::optional<AddressBlock> block_of(const sockaddr* address) {
  AddressBlock block;
  if (address == nullptr) return std::nullopt;
  if (address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof v4);
    std::memcpy(block.bytes.data(), &v4.sin_addr, 4);
    block.prefix = 32;
    return block;
  }
  if (address->sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6{};
  std::memcpy(&v6, address, sizeof v6);
  std::memcpy(block.bytes.data(), &v6.sin6_addr, 16);
  block.v6 = true;
  block.prefix = 128;
  return block;
}

// Packets to these stay on the machine. All of 127.0.0.0/8 does, whatever of it is configured.
std::vector<AddressBlock> own_addresses(const NetworkNamespace& place) {
  std::vector<AddressBlock> out;
  in_network_namespace(place, [&out] {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) throw system_error(errno, "cannot list this machine's addresses");
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      if (const auto block = block_of(entry->ifa_addr)) out.push_back(*block);
    }
    ::freeifaddrs(list);
  });
  AddressBlock loopback;
  loopback.bytes[0] = 127;
  loopback.prefix = 8;
  std::erase_if(out, [&](const AddressBlock& block) { return contains(loopback, block); });
  out.push_back(loopback);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::uint32_t user_number(const std::string& user) {
  if (user.find_first_not_of("0123456789") == std::string::npos) return static_cast<std::uint32_t>(std::strtoul(user.c_str(), nullptr, 10));
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 16384> room{};
  const int problem = ::getpwnam_r(user.c_str(), &entry, room.data(), room.size(), &found);
  if (problem != 0) throw system_error(problem, "cannot look up the user " + user);
  if (found == nullptr) throw Error(ErrorKind::unavailable, "there is no user " + user + " on this machine", "write one of /etc/passwd, or a number");
  return found->pw_uid;
}

std::string namespace_path(const Json& args) {
  if (args.contains("network_namespace") && args.contains("namespace_of")) {
    throw Error(ErrorKind::refused, "\"network_namespace\" and \"namespace_of\" say the same thing twice", "keep one of them");
  }
  if (args.contains("network_namespace")) return args["network_namespace"].get<std::string>();
  if (!args.contains("namespace_of")) return "";
  const auto& process = args["namespace_of"].get_ref<const std::string&>();
  const ProcFs proc;
  const int pid = process.starts_with('/') ? proc.pid_from_file(process) : parse_pid(process).value_or(0);
  if (pid == 0) throw Error(ErrorKind::refused, "\"" + printable(process, 60) + "\" is not a process", "write a process id or a pid file");
  proc.identify(pid);  // says so when there is none
  return fmt::format("/proc/{}/ns/net", pid);
}

Task<Json> look(Json args, OpContext& context) {
  const Json names = args.value("names", Json::array());
  if (!names.is_array() || names.size() > kMaxNames) throw Error(ErrorKind::refused, fmt::format("more than {} names to resolve", kMaxNames), "write addresses or blocks instead");
  Json answer = {{"addresses", Json::object()}, {"problems", Json::object()}};
  const NetworkNamespace place = look_up_network_namespace(namespace_path(args));
  const NetworkNamespace own = look_up_network_namespace("");
  answer["place"] = to_json(place);
  answer["own_namespace"] = place.inode == own.inode;
  answer["local"] = Json::array();
  for (const AddressBlock& block : own_addresses(place)) answer["local"].push_back(show(block));
  if (args.contains("user")) answer["user"] = user_number(args["user"].get<std::string>());
  if (args.contains("cgroup")) cgroup_folder(args["cgroup"].get<std::string>());  // says so when there is none
  for (const Json& item : names) {
    const auto name = item.get<std::string>();
    auto found = co_await within(context.clock, kResolveLimit, find_addresses(name));
    if (!found) found.emplace().problem = fmt::format("no answer within {}", show(kResolveLimit));
    Json shown = Json::array();
    for (const AddressBlock& block : found->addresses) shown.push_back(show(block));
    answer["addresses"][name] = std::move(shown);
    if (!found->problem.empty()) answer["problems"][name] = found->problem;
  }
  co_return answer;
}

}  // namespace

OpType net_resolve() {
  OpType type{"net.resolve", Lasts::look, "what host names, a user and a network namespace are on this machine, and its own addresses"};
  type.look = look;
  return type;
}

}  // namespace capsize
