#include "injector/net/tcp_table.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <sstream>

namespace capsize {
namespace {

constexpr unsigned kListen = 0x0A;

template <class T>
std::optional<T> hex(std::string_view text, int base = 16) {
  T value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0100007F:1F90": words of 32 bits, each printed as the machine reads it.
std::optional<TcpEnd> parse_end(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon != 8 && colon != 32) return std::nullopt;
  TcpEnd end;
  end.address.v6 = colon == 32;
  end.address.prefix = end.address.v6 ? 128 : 32;
  for (std::size_t word = 0; word * 8 < colon; ++word) {
    const auto value = hex<std::uint32_t>(text.substr(word * 8, 8));
    if (!value) return std::nullopt;
    std::memcpy(end.address.bytes.data() + word * 4, &*value, 4);
  }
  const auto port = hex<std::uint16_t>(text.substr(colon + 1));
  if (!port) return std::nullopt;
  end.port = *port;
  end.address = without_mapping(end.address);
  return end;
}

}  // namespace

AddressBlock without_mapping(const AddressBlock& address) {
  constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (!address.v6 || address.prefix < 96 || !std::equal(kMapped.begin(), kMapped.end(), address.bytes.begin())) return address;
  AddressBlock out;
  out.prefix = address.prefix - 96;
  std::copy(address.bytes.begin() + 12, address.bytes.end(), out.bytes.begin());
  return out;
}

std::vector<TcpTableEntry> parse_tcp_table(std::string_view text) {
  std::vector<TcpTableEntry> out;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string slot, local, peer, state, queues, timer, retransmits, user, probes, inode;
    if (!(words >> slot >> local >> peer >> state >> queues >> timer >> retransmits >> user >> probes >> inode)) continue;
    const auto here = parse_end(local);
    const auto there = parse_end(peer);
    const auto code = hex<unsigned>(state);
    const auto number = hex<std::uint64_t>(inode, 10);
    if (!here || !there || !code || !number) continue;
    out.push_back({*here, *there, *code == kListen, *number});
  }
  return out;
}

}  // namespace capsize
