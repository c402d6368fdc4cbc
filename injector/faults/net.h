// What the faults of the network have in common: from what a playbook selects and what was seen of the host to Impairments, the back end
// that carries them out with the reason, and the proof that they bite. Planning is pure once the host has been looked at.
#pragma once
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "injector/fault.h"
#include "injector/net/impairment.h"
#include "injector/targets/network.h"

namespace capsize {

// As seen from the local side, or from the service: what is sent to it, what it sends, or each way.
enum class Direction { in, out, both };
template <>
struct EnumWords<Direction> {
  static constexpr std::array<std::pair<Direction, std::string_view>, 3> words = {{{Direction::in, "in"}, {Direction::out, "out"}, {Direction::both, "both"}}};
};
inline constexpr const char* kDirectionDoc = "\"in\": what is sent to it; \"out\": what it sends; \"both\": each way";

// Whom a fault is aimed at, from either type of target.
struct NetAim {
  std::vector<NetworkPeer> local;
  std::vector<NetworkPeer> peers;
  std::vector<PortRange> local_ports;
  std::vector<PortRange> peer_ports;
  Protocol protocol = Protocol::any;
  std::optional<UserRef> user;
  std::optional<std::string> cgroup;
  std::optional<std::string> network_namespace;
  std::optional<ProcessRef> namespace_of;
  bool in_container = false;  // of the request: packets are met in its network namespace
  bool is_service = false;  // `local` is the service, on whichever machine
  std::string words;        // "127.0.0.1:8081": what an error or a summary calls it; empty: say what the packets are
};
NetAim aim_at(std::string_view target_type, const Json& target);
NetAim aim_at_service(const std::string& host, std::uint16_t port);

// What a fault wants done.
struct NetIntent {
  Direction direction = Direction::in;
  PacketEffect effect;
  std::string words;             // "are 200ms late": behind what the packets are
  bool meets_resolver = false;   // net.dns: queries to the resolver are what it is about
};

// A connection that must not be cut: packets between these two ends.
struct GuardedPath {
  std::string what;   // "the SSH session that capsize was started from"
  Protocol protocol = Protocol::tcp;
  Side here;          // no ports: any that a client of this machine gets
  Side there;
  bool resolver = false;
};

struct NetCapabilities {
  bool cap_net_admin = false, rules = false, egress_rules = false, queue = false, ifb = false, clsact = false, netem = false, tbf = false, sock_destroy = false;
  std::map<std::string, std::string> missing;  // capability -> what brings it
  std::string nonce;
  std::uint32_t mark = 0;
};

// What was seen of the host.
struct NetGround {
  std::map<std::string, std::vector<AddressBlock>> addresses;  // of each name
  std::map<std::string, std::string> problems;                 // of names
  std::vector<AddressBlock> own;                               // addresses whose packets stay on the machine
  NetworkNamespace place;
  bool own_namespace = true;  // the place is where the agent is
  std::string place_words;    // "/run/netns/blue", "container auth2"; empty: where the agent is
  std::optional<std::uint32_t> user;
  NetCapabilities can;
  std::vector<GuardedPath> control;
};

// The container that a request is aimed at, and how the ground becomes its own.
struct NetContainer {
  std::string name;
  int pid = 0;  // of its first process
  std::uint64_t network_namespace = 0;
  bool host_network = false;  // that of process 1, wherever the agent is
};
NetContainer container_from_json(const FaultRequest& request, const Json& answer);
void move_into(const NetContainer& container, NetGround& ground);  // throws Error: changed, refused (it has the host's network)

Op resolve_query(const NetAim& aim, const FaultRequest& request);
// What an address, a block or a name stands for; nothing: a name that stands for none.
std::vector<AddressBlock> addresses_of(const std::string& text, const NetGround& ground);
bool is_own(const AddressBlock& block, const NetGround& ground);
// Each answers what it was made of; throws Error::bug for what is none.
void read_resolved(const Json& answer, NetGround& ground);
NetCapabilities capabilities_from_json(const Json& answer);
void read_control_path(const Json& answer, const std::vector<std::string>& keep_open, NetGround& ground);

// Where the packets are met: pure, net_traffic.cc.
struct MetTraffic {
  std::vector<PacketMatch> affected;
  std::vector<PacketMatch> exempt;  // what leaves for this machine itself is met when it arrives
};
MetTraffic meet_traffic(const NetAim& aim, const NetIntent& intent, const NetGround& ground);
bool may_meet(const PacketMatch& one, const PacketMatch& other);  // whether a packet could match both
// The packets of a guarded path, at both hooks.
std::vector<PacketMatch> packets_of(const GuardedPath& path);
// Throws Error::refused when `traffic` covers a guarded path.
void refuse_lock_out(const MetTraffic& traffic, const NetGround& ground);

// Which permissions of `allow` are needed; throws Error::refused for one that is not there.
std::vector<std::string> network_permissions(const NetAim& aim, const NetGround& ground, const MetTraffic& traffic, const std::set<std::string>& allow);
std::string named_traffic(const std::vector<PacketMatch>& matches);  // the first few of them, in words

// Which back end does it: pure, net_choice.cc. Throws Error::unavailable for what cannot be done faithfully, naming what is missing.
struct BackendChoice {
  ImpairBackend backend = ImpairBackend::rules;
  std::string because;           // "queue: this kernel has no netem"
  bool other_way = false;        // what leaves cannot be held: what comes back is, which gives the same round trip
};
BackendChoice choose_backend(const PacketEffect& effect, Hook hook, Protocol protocol, const NetCapabilities& can);

// Pure: everything that is refused is refused here.
FaultPlan decide_net(const NetIntent& intent, const NetAim& aim, const NetGround& ground, const std::set<std::string>& allow);
// Everything there is to see before deciding.
Task<NetGround> look_at_ground(NetAim aim, FaultRequest request, HostView& host);
// Looks, then decides.
Task<FaultPlan> plan_net(NetIntent intent, NetAim aim, FaultRequest request, HostView& host);

// Pure: net_effect.cc. A fault of the network bites when traffic other than our own has met it, and what was intended is what is counted
// and what our own echo sees.
Effect judge_net(const FaultPlan& plan, const Json& before, const Json& after);

std::string share_in_words(double share);              // "10%"
Rule<Share> some_share();                              // more than none
std::string late_by(Duration delay, Duration jitter);  // "200ms late, give or take 20ms"

// What the faults of the network have in common, all but their plan. `example`: its parameters, and what differs from a service "auth1" for 30 s.
FaultType net_fault(std::string_view name, std::string_view doc, const AnySpec& (*spec)(), Json example);

// One that is no more than a NetIntent. `params` is its Spec<P>; `intend`, a NetIntent(const P&, NetAim&), says what P does to the packets
// of its target; it may refuse that target, or narrow it.
template <auto params, auto intend>
FaultType net_fault(std::string_view name, std::string_view doc, Json example) {
  const auto spec = []() -> const AnySpec& { return params(); };
  FaultType type = net_fault(name, doc, spec, std::move(example));
  type.plan = [](FaultRequest request, HostView& host) -> Task<FaultPlan> {
    NetAim aim = aim_at(request.target_type, request.target);
    NetIntent intent = intend(params().parse_or_throw(request.params), aim);
    return plan_net(std::move(intent), std::move(aim), std::move(request), host);
  };
  return type;
}

}  // namespace capsize
