// Kernel structures within the bytes of a received message. Total: what is cut short is nothing.
#pragma once
#include <cstring>
#include <optional>
#include <type_traits>

#include "injector/netlink/netlink_message.h"

namespace capsize {

template <class T>
std::optional<T> structure_at(BytesView bytes, std::size_t offset = 0) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T out;
  std::memcpy(&out, bytes.data() + offset, sizeof out);
  return out;
}

// What is behind a structure at the begin, aligned as netlink aligns.
template <class T>
BytesView behind(BytesView bytes) {
  const std::size_t size = NLMSG_ALIGN(sizeof(T));
  return size > bytes.size() ? BytesView() : bytes.subspan(size);
}

inline BytesView payload_of(const Attributes& attributes, int type) { return attributes.find(type).value_or(BytesView()); }

}  // namespace capsize
