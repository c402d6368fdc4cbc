// Which packets a fault of the network meets, and where. Packets that stay on this machine are met once, when they arrive.
#include <fmt/format.h>

#include <algorithm>

#include "injector/faults/net.h"

namespace capsize {
namespace {

constexpr PortRange kClientPorts{32768, 60999};  // that a kernel gives to who connects, by default

using Blocks = std::vector<AddressBlock>;

bool overlap(const AddressBlock& one, const AddressBlock& other) { return contains(one, other) || contains(other, one); }

struct Parted {
  Blocks here;    // on this machine
  Blocks away;
  Blocks inside;  // addresses of this machine within blocks of `away`
};

Parted part(const Blocks& blocks, const NetGround& ground) {
  Parted out;
  for (const AddressBlock& block : blocks) (is_own(block, ground) ? out.here : out.away).push_back(block);
  for (const AddressBlock& mine : ground.own) {
    if (std::any_of(out.away.begin(), out.away.end(), [&](const AddressBlock& block) { return contains(block, mine); })) out.inside.push_back(mine);
  }
  return out;
}

bool is_loopback(const AddressBlock& block) {
  static const AddressBlock v4 = std::get<AddressBlock>(parse_address_block("127.0.0.0/8"));
  static const AddressBlock v6 = std::get<AddressBlock>(parse_address_block("::1"));
  return contains(v4, block) || contains(v6, block);
}

Blocks resolved(const std::vector<NetworkPeer>& peers, const NetGround& ground) {
  Blocks out;
  for (const NetworkPeer& peer : peers) {
    const Blocks blocks = addresses_of(peer.text, ground);
    if (blocks.empty()) {
      const auto problem = ground.problems.find(peer.text);
      throw Error(ErrorKind::unavailable, fmt::format("{} resolves to nothing on this machine{}", peer.text, problem == ground.problems.end() ? "" : " (" + problem->second + ")"),
                  "check the name, or write addresses");
    }
    out.insert(out.end(), blocks.begin(), blocks.end());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Side side_of(const std::vector<NetworkPeer>& peers, const std::vector<PortRange>& ports, const NetGround& ground) {
  Side side;
  side.addresses = resolved(peers, ground);
  side.ports = ports;
  return side;
}

class Meeting {
 public:
  Meeting(const NetAim& aim, const NetGround& ground) : ground_(ground) {
    like_.protocol = aim.protocol;
    if (aim.user) like_.user = ground.user;
    like_.cgroup = aim.cgroup;
  }

  // `to_here`: where no addresses are given, the destination is this machine.
  void flow(const Side& source, const Side& destination, bool to_here) {
    if (like_.user || like_.cgroup) return add(Hook::leave, source, destination);
    if (destination.addresses.empty() && to_here) return add(Hook::arrive, source, destination);
    const Parted to = part(destination.addresses, ground_);
    if (!to.here.empty()) add(Hook::arrive, source, {to.here, destination.ports});
    if (to.away.empty() && !destination.addresses.empty()) return;
    const Parted from = part(source.addresses, ground_);
    const Side elsewhere{to.away, destination.ports};
    if (!from.away.empty()) add(Hook::arrive, {from.away, source.ports}, elsewhere);
    if (source.addresses.empty() || !from.here.empty()) sent_from_here({from.here, source.ports}, elsewhere, destination.addresses.empty() ? ground_.own : to.inside);
  }

  MetTraffic take() { return std::move(out_); }

 private:
  // What leaves; of it, what comes to `own` of this machine is met when it arrives.
  void sent_from_here(const Side& source, const Side& destination, const Blocks& own) {
    const bool stays_here = !source.addresses.empty() && std::all_of(source.addresses.begin(), source.addresses.end(), is_loopback);
    if (!stays_here) add(Hook::leave, source, destination);
    if (own.empty()) return;
    add(Hook::arrive, {source.addresses.empty() ? ground_.own : source.addresses, source.ports}, {own, destination.ports});
    if (stays_here) return;
    PacketMatch stays;
    stays.hook = Hook::leave;
    stays.destination.addresses = ground_.own;
    if (std::find(out_.exempt.begin(), out_.exempt.end(), stays) == out_.exempt.end()) out_.exempt.push_back(std::move(stays));
  }

  void add(Hook hook, const Side& source, const Side& destination) {
    PacketMatch match = like_;
    match.hook = hook;
    match.source = source;
    match.destination = destination;
    if (std::find(out_.affected.begin(), out_.affected.end(), match) == out_.affected.end()) out_.affected.push_back(std::move(match));
  }

  const NetGround& ground_;
  PacketMatch like_;
  MetTraffic out_;
};

bool addresses_meet(const Blocks& one, const Blocks& other) {
  if (one.empty() || other.empty()) return true;
  return std::any_of(one.begin(), one.end(), [&](const AddressBlock& a) { return std::any_of(other.begin(), other.end(), [&](const AddressBlock& b) { return overlap(a, b); }); });
}

bool ports_meet(const std::vector<PortRange>& one, const std::vector<PortRange>& other) {
  if (one.empty() || other.empty()) return true;
  return std::any_of(one.begin(), one.end(), [&](const PortRange& a) { return std::any_of(other.begin(), other.end(), [&](const PortRange& b) { return a.first <= b.last && b.first <= a.last; }); });
}

bool protocols_meet(Protocol one, Protocol other) { return one == Protocol::any || other == Protocol::any || one == other; }

// The end of a client: a port that a service listens at is not one that a client gets.
bool could_be_client(const std::vector<PortRange>& ports) {
  return ports.empty() || std::any_of(ports.begin(), ports.end(), [](const PortRange& range) { return range.first != range.last && range.first <= kClientPorts.last && kClientPorts.first <= range.last; });
}

bool covers(const PacketMatch& match, const GuardedPath& path) {
  if (!protocols_meet(match.protocol, path.protocol)) return false;
  const auto one_way = [](const Side& here, const Side& there, const GuardedPath& guarded) {
    const bool ends = addresses_meet(here.addresses, guarded.here.addresses) && addresses_meet(there.addresses, guarded.there.addresses) && ports_meet(there.ports, guarded.there.ports);
    return ends && (guarded.here.ports.empty() ? could_be_client(here.ports) : ports_meet(here.ports, guarded.here.ports));
  };
  return one_way(match.source, match.destination, path) || one_way(match.destination, match.source, path);
}

}  // namespace

MetTraffic meet_traffic(const NetAim& aim, const NetIntent& intent, const NetGround& ground) {
  if ((aim.user || aim.cgroup) && intent.direction != Direction::out) {
    throw Error(ErrorKind::refused, "\"user\" and \"cgroup\" select by the socket that sends, so only what is sent", "write \"direction\": \"out\"");
  }
  const Side local = side_of(aim.local, aim.local_ports, ground);
  const Side peers = side_of(aim.peers, aim.peer_ports, ground);
  Meeting meeting(aim, ground);
  // A service without an address is every address of this machine; the other end of any traffic is elsewhere or here.
  if (intent.direction != Direction::out) meeting.flow(peers, local, true);
  if (intent.direction != Direction::in) meeting.flow(local, peers, false);
  return meeting.take();
}

bool may_meet(const PacketMatch& one, const PacketMatch& other) {
  return one.hook == other.hook && protocols_meet(one.protocol, other.protocol) && addresses_meet(one.source.addresses, other.source.addresses) &&
         addresses_meet(one.destination.addresses, other.destination.addresses) && ports_meet(one.source.ports, other.source.ports) && ports_meet(one.destination.ports, other.destination.ports);
}

std::vector<PacketMatch> packets_of(const GuardedPath& path) {
  std::vector<PacketMatch> out;
  for (const Hook hook : {Hook::arrive, Hook::leave}) {
    PacketMatch match;
    match.hook = hook;
    match.protocol = path.protocol;
    if (!path.here.ports.empty()) match.source = path.here;
    match.destination = path.there;
    out.push_back(match);
    std::swap(match.source, match.destination);
    out.push_back(std::move(match));
  }
  return out;
}

void refuse_lock_out(const MetTraffic& traffic, const NetGround& ground) {
  for (const GuardedPath& path : ground.control) {
    for (const PacketMatch& match : traffic.affected) {
      if (!covers(match, path)) continue;
      throw Error(ErrorKind::refused, fmt::format("this fault would meet {}: it selects {}", path.what, describe(match)),
                  "select less, or run capsize over another way; where it is meant, write \"allow\": [\"control_path\"] and a \"reason\" in this fault: then the agent undoes by itself when it hears nothing more");
    }
  }
}

}  // namespace capsize
