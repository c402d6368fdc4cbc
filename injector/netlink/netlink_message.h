// Bytes of netlink messages, written and read. Two kernels' worth of attributes are nothing but type, length and bytes: this needs no library.
#pragma once
#include <arpa/inet.h>
#include <endian.h>
#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "injector/base/error.h"

namespace capsize {

using Bytes = std::vector<std::uint8_t>;
using BytesView = std::span<const std::uint8_t>;

// Attributes one behind another, nested or not.
class AttributeWriter {
 public:
  const Bytes& bytes() const { return bytes_; }

  void raw(BytesView data) {  // padded to four bytes
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    bytes_.resize((bytes_.size() + 3) & ~std::size_t{3});
  }
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void pod(const T& value) {
    raw({reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
  }
  void data(int type, BytesView value) {
    header(type, value.size());
    raw(value);
  }
  void text(int type, std::string_view value) {  // with its final zero
    const std::string whole(value);
    data(type, {reinterpret_cast<const std::uint8_t*>(whole.c_str()), whole.size() + 1});
  }
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void value(int type, const T& host_order) {
    data(type, {reinterpret_cast<const std::uint8_t*>(&host_order), sizeof host_order});
  }
  void be16(int type, std::uint16_t number) { value(type, htons(number)); }
  void be32(int type, std::uint32_t number) { value(type, htonl(number)); }
  void be64(int type, std::uint64_t number) { value(type, htobe64(number)); }
  void flag(int type) { header(type, 0); }
  template <class F>
  void nest(int type, F&& inside) {
    const std::size_t at = bytes_.size();
    header(type | NLA_F_NESTED, 0);
    inside();
    const std::size_t length = bytes_.size() - at;
    CAPSIZE_CHECK(length <= 0xffff);
    const auto short_length = static_cast<std::uint16_t>(length);
    std::memcpy(bytes_.data() + at, &short_length, sizeof short_length);
  }

 protected:
  void header(int type, std::size_t payload) {
    CAPSIZE_CHECK(payload + sizeof(nlattr) <= 0xffff);
    pod(nlattr{static_cast<std::uint16_t>(payload + sizeof(nlattr)), static_cast<std::uint16_t>(type)});
  }
  Bytes bytes_;
};

// Whole messages one behind another; their sequence numbers are written when they are sent.
class NetlinkWriter : public AttributeWriter {
 public:
  // Begins a message and ends the one before it. `header` is the family's own: nfgenmsg, ifinfomsg, tcmsg ...
  template <class Header>
  void message(int type, int flags, const Header& family_header) {
    end();
    begun_ = bytes_.size();
    pod(nlmsghdr{0, static_cast<std::uint16_t>(type), static_cast<std::uint16_t>(flags | NLM_F_REQUEST), 0, 0});
    pod(family_header);
  }
  void add_flags_to_last(int flags) {
    at(begun_).nlmsg_flags = static_cast<std::uint16_t>(at(begun_).nlmsg_flags | flags);
  }
  // Numbers all messages from `first`; returns the number behind the last one.
  std::uint32_t number(std::uint32_t first) {
    end();
    for (std::size_t place = 0; place < bytes_.size(); place += at(place).nlmsg_len) at(place).nlmsg_seq = first++;
    return first;
  }
  bool empty() const { return bytes_.empty(); }
  std::size_t size_of_last() const { return bytes_.size() - begun_; }

 private:
  nlmsghdr& at(std::size_t place) { return *reinterpret_cast<nlmsghdr*>(bytes_.data() + place); }
  void end() {
    if (!bytes_.empty()) at(begun_).nlmsg_len = static_cast<std::uint32_t>(bytes_.size() - begun_);
  }
  std::size_t begun_ = 0;
};

// The attributes in some bytes; what is cut short ends the list.
class Attributes {
 public:
  struct Attribute {
    int type = 0;  // without the flags
    BytesView data;
  };
  explicit Attributes(BytesView bytes) {
    while (bytes.size() >= sizeof(nlattr)) {
      nlattr header;
      std::memcpy(&header, bytes.data(), sizeof header);
      if (header.nla_len < sizeof header || header.nla_len > bytes.size()) break;
      all_.push_back({header.nla_type & NLA_TYPE_MASK, bytes.subspan(sizeof header, header.nla_len - sizeof header)});
      bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), (header.nla_len + 3u) & ~3u));
    }
  }

  const std::vector<Attribute>& all() const { return all_; }
  std::optional<BytesView> find(int type) const {
    for (const Attribute& attribute : all_) {
      if (attribute.type == type) return attribute.data;
    }
    return std::nullopt;
  }
  Attributes nested(int type) const { return Attributes(find(type).value_or(BytesView())); }
  std::string text(int type) const {
    const BytesView data = find(type).value_or(BytesView());
    if (data.empty()) return "";
    return std::string(reinterpret_cast<const char*>(data.data()), ::strnlen(reinterpret_cast<const char*>(data.data()), data.size()));
  }
  template <class T>
  std::optional<T> value(int type) const {  // in host order, as it is
    const auto data = find(type);
    if (!data || data->size() < sizeof(T)) return std::nullopt;
    T out;
    std::memcpy(&out, data->data(), sizeof out);
    return out;
  }
  std::uint32_t be32(int type) const { return ntohl(value<std::uint32_t>(type).value_or(0)); }
  std::uint64_t be64(int type) const { return be64toh(value<std::uint64_t>(type).value_or(0)); }

 private:
  std::vector<Attribute> all_;
};

}  // namespace capsize
