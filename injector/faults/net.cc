#include "injector/faults/net.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace capsize {
namespace {

constexpr int kEchoAttempts = 5;
constexpr Duration kShortestEcho = std::chrono::seconds(1);
constexpr Duration kRefusedEcho = std::chrono::milliseconds(500);  // it hangs each time: no longer than it must
constexpr Duration kLongestEcho = std::chrono::milliseconds(3500);  // the look must answer within 5 s
constexpr std::size_t kNamed = 3;

// Packets that one back end meets.
struct Group {
  BackendChoice choice;
  std::vector<PacketMatch> affected;
};

bool selects_nothing(const NetAim& aim) {
  return aim.local.empty() && aim.peers.empty() && aim.local_ports.empty() && aim.peer_ports.empty() && !aim.user && !aim.cgroup && aim.protocol != Protocol::icmp;
}

PacketMatch answering(PacketMatch match) {
  std::swap(match.source, match.destination);
  match.hook = Hook::arrive;
  return match;
}

// One group a back end and a reason; what is done on the way back instead may come to meet the same packets twice, for twice the delay.
std::vector<Group> group_by_backend(const NetIntent& intent, const MetTraffic& traffic, const NetCapabilities& can) {
  std::vector<Group> groups;
  for (const PacketMatch& match : traffic.affected) {
    const BackendChoice choice = choose_backend(intent.effect, match.hook, match.protocol, can);
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const Group& group) { return group.choice.backend == choice.backend && group.choice.other_way == choice.other_way; });
    Group& group = same == groups.end() ? groups.emplace_back(Group{choice, {}}) : *same;
    group.affected.push_back(choice.other_way ? answering(match) : match);
  }
  return groups;
}

// Names are chosen from one nonce: another for each impairment of a plan.
std::string numbered(const std::string& nonce, std::size_t index) {
  std::uint64_t value = 0;
  std::from_chars(nonce.data(), nonce.data() + nonce.size(), value, 16);
  return fmt::format("capsize_{:012x}", (value + index) & 0xffff'ffff'ffff);
}

std::vector<Impairment> impairments(const NetIntent& intent, const NetGround& ground, const MetTraffic& traffic, const std::vector<Group>& groups, bool spare_control_path) {
  std::vector<Impairment> out;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    Impairment one;
    one.name = numbered(ground.can.nonce, i);
    one.mark = ground.can.mark ^ static_cast<std::uint32_t>(i);
    one.place = ground.place;
    one.backend = groups[i].choice.backend;
    one.effect = intent.effect;
    one.seed = ground.can.mark;
    one.affected = groups[i].affected;
    const auto at_a_hook_of_ours = [&](const PacketMatch& match) { return std::any_of(one.affected.begin(), one.affected.end(), [&](const PacketMatch& ours) { return ours.hook == match.hook; }); };
    for (const PacketMatch& match : traffic.exempt) {  // what stays on this machine is met already, when it arrives
      const PacketMatch here = groups[i].choice.other_way ? answering(match) : match;
      if (at_a_hook_of_ours(here)) one.exempt.push_back(here);
    }
    for (const GuardedPath& path : ground.control) {
      if (!spare_control_path) break;
      for (const PacketMatch& match : packets_of(path)) {
        if (at_a_hook_of_ours(match)) one.exempt.push_back(match);
      }
    }
    out.push_back(std::move(one));
  }
  return out;
}

// Where our own echo can knock so that its packets are met; empty: nowhere.
std::vector<std::string> echo_endpoints(const NetAim& aim, const NetGround& ground) {
  const bool over_tcp = aim.protocol == Protocol::any || aim.protocol == Protocol::tcp;
  const bool at_local = aim.peers.empty() && aim.peer_ports.empty();
  const bool at_peer = aim.local.empty() && aim.local_ports.empty();
  const auto& addresses = at_local ? aim.local : aim.peers;
  const auto& ports = at_local ? aim.local_ports : aim.peer_ports;
  if (!over_tcp || aim.user || aim.cgroup || at_local == at_peer || addresses.size() > 1 || ports.size() != 1 || ports[0].first != ports[0].last) return {};
  if (addresses.empty()) return at_local ? std::vector<std::string>{show(Address{"127.0.0.1", ports[0].first})} : std::vector<std::string>();
  for (const AddressBlock& block : addresses_of(addresses[0].text, ground)) {
    if (block.prefix == (block.v6 ? 128 : 32)) return {show(Address{show(block), ports[0].first})};
  }
  return {};
}

std::string kind_of(const PacketEffect& effect) {
  if (effect.dns) return "dns";
  if (effect.refusal) return "refusal";
  if (effect.rate) return "rate";
  if (effect.reorder) return "reorder";
  if (effect.corrupt) return "corrupt";
  if (effect.duplicate) return "duplicate";
  if (effect.loss) return "loss";
  return "delay";
}

double milliseconds(Duration duration) { return static_cast<double>(duration.count()) / 1e6; }

Json intended_json(const NetIntent& intent, const std::vector<Impairment>& all, const std::vector<Group>& groups) {
  const PacketEffect& effect = intent.effect;
  Json out = {{"kind", kind_of(effect)}, {"traffic", Json::array()}, {"back_ends", Json::array()}};
  for (const Impairment& one : all) {
    for (const PacketMatch& match : one.affected) out["traffic"].push_back(describe(match));
  }
  for (const Group& group : groups) out["back_ends"].push_back(group.choice.because);
  // A device counts what it drops, doubles and lets through, but not what it corrupts, lets overtake, or how long it holds.
  const bool by_device = std::any_of(all.begin(), all.end(), [](const Impairment& one) { return one.backend == ImpairBackend::device; });
  out["counted"] = !by_device || effect.loss || effect.duplicate || effect.rate;
  const int ways = intent.direction == Direction::both ? 2 : 1;
  if (effect.delay) {
    out["delay_ms"] = milliseconds(effect.delay->delay);
    out["jitter_ms"] = milliseconds(effect.delay->jitter);
    out["round_trip_ms"] = ways * milliseconds(effect.delay->delay);
  }
  if (effect.loss) out["share"] = effect.loss->share, out["bursts"] = effect.loss->burst.has_value();
  if (effect.duplicate) out["share"] = *effect.duplicate;
  if (effect.corrupt) out["share"] = *effect.corrupt;
  if (effect.reorder) out["share"] = effect.reorder->share;
  if (effect.rate) out["bytes_per_second"] = effect.rate->bytes_per_second, out["burst_bytes"] = effect.rate->burst_bytes;
  return out;
}

std::string summary_of(const NetIntent& intent, const NetGround& ground, const std::vector<Group>& groups) {
  std::string out;
  for (const Group& group : groups) out += fmt::format("{}{} {} ({})", out.empty() ? "" : "; ", named_traffic(group.affected), intent.words, group.choice.because);
  return ground.place_words.empty() ? out : fmt::format("in {}: {}", ground.place_words, out);
}

Op observe_query(const NetIntent& intent, const NetAim& aim, const NetGround& ground, const std::vector<Impairment>& all) {
  Op query{"net.watch", Json::object()};
  query.args["impairments"] = Json::array();
  for (const Impairment& one : all) query.args["impairments"].push_back(identity_json(one));
  query.args["echo"] = Json::array();
  for (const std::string& where : echo_endpoints(aim, ground)) query.args["echo"].push_back({{"connect", where}});
  const Duration longest = intent.effect.delay ? 4 * intent.effect.delay->delay + std::chrono::milliseconds(500) : kShortestEcho;
  query.args["attempts"] = kEchoAttempts;
  const Duration limit = intent.effect.refusal ? kRefusedEcho : std::clamp(longest, kShortestEcho, kLongestEcho);
  query.args["limit"] = show(std::chrono::duration_cast<std::chrono::milliseconds>(limit));
  return query;
}

}  // namespace

std::vector<std::string> network_permissions(const NetAim& aim, const NetGround& ground, const MetTraffic& traffic, const std::set<std::string>& allow) {
  std::vector<std::string> needed;
  if (selects_nothing(aim) && ground.own_namespace) {
    if (!allow.contains("everything")) {
      throw Error(ErrorKind::refused, "this fault selects no traffic in particular: it would meet everything this machine sends or receives",
                  "add \"local\", \"peers\", ports, \"user\" or \"cgroup\" to the target; where everything is meant, write \"allow\": [\"everything\"] and a \"reason\" in this fault");
    }
    needed.emplace_back("everything");
  }
  try {
    refuse_lock_out(traffic, ground);
  } catch (const Error&) {
    if (!allow.contains("control_path")) throw;
    needed.emplace_back("control_path");
  }
  return needed;
}

std::string named_traffic(const std::vector<PacketMatch>& matches) {
  std::string out;
  for (std::size_t i = 0; i < std::min(matches.size(), kNamed); ++i) out += (i == 0 ? "" : ", ") + describe(matches[i]);
  return matches.size() > kNamed ? fmt::format("{} and {} more", out, matches.size() - kNamed) : out;
}

FaultPlan decide_net(const NetIntent& intent, const NetAim& aim, const NetGround& ground, const std::set<std::string>& allow) {
  const MetTraffic traffic = meet_traffic(aim, intent, ground);
  if (traffic.affected.empty()) throw Error(ErrorKind::refused, "no packet can match: what a loopback address sends never leaves this machine", "write other addresses in \"local\" or \"peers\"");
  FaultPlan plan;
  plan.allowed = network_permissions(aim, ground, traffic, allow);
  if (!ground.can.cap_net_admin) {
    throw Error(ErrorKind::privilege, "the network of this machine may not be changed: CAP_NET_ADMIN is missing", "run capsize there as root, or give its agent CAP_NET_ADMIN");
  }
  const bool spare_control_path = std::find(plan.allowed.begin(), plan.allowed.end(), "control_path") == plan.allowed.end();
  const std::vector<Group> groups = group_by_backend(intent, traffic, ground.can);
  const std::vector<Impairment> all = impairments(intent, ground, traffic, groups, spare_control_path);
  for (const Impairment& one : all) {
    Step step;
    step.apply = {"net.impair", to_json(one)};
    step.undo = {"net.restore", identity_json(one)};
    plan.steps.push_back(std::move(step));
  }
  plan.intended = intended_json(intent, all, groups);
  plan.summary = summary_of(intent, ground, groups);
  plan.observe = observe_query(intent, aim, ground, all);
  return plan;
}

std::string share_in_words(double share) { return show(Share{share}); }

std::string late_by(Duration delay, Duration jitter) {
  return jitter.count() > 0 ? fmt::format("{} late, give or take {}", show(delay), show(jitter)) : fmt::format("{} late", show(delay));
}

Rule<Share> some_share() {
  return {[](const Share& share) -> std::optional<Mistake> {
            if (share.value > 0) return std::nullopt;
            return Mistake{"a share of nothing", "write more than \"0%\""};
          },
          {{"anyOf", Json::array({{{"pattern", "[1-9]"}}, {{"pattern", "\\$\\{"}}})}}};
}

FaultType net_fault(std::string_view name, std::string_view doc, const AnySpec& (*spec)(), Json example) {
  FaultType type;
  type.name = name;
  type.doc = doc;
  type.target_types = {"service", "network", "container"};
  type.spec = spec;
  type.example = {{"fault", name}, {"target", "auth1"}, {"at", "0s"}, {"for", "30s"}};
  type.example.update(example);
  type.effect = judge_net;
  type.undo_doc = "lets packets that are held go, and takes the rules away; by itself the kernel does so as soon as the agent is gone, however it dies";
  type.stacks = true;
  return type;
}

Task<NetGround> look_at_ground(NetAim aim, FaultRequest request, HostView& host) {
  std::optional<NetContainer> container;
  if (aim.in_container) {
    Op search{"container.identify", request.target};
    const Json answer = co_await host.inspect(std::move(search));
    container = container_from_json(request, answer);
    aim.namespace_of = ProcessRef{std::to_string(container->pid)};
  }
  Op query = resolve_query(aim, request);
  const Json resolved = co_await host.inspect(std::move(query));
  NetGround ground;
  read_resolved(resolved, ground);
  if (container) move_into(*container, ground);
  Op ability{"net.capabilities", Json::object()};
  ability.args["place"] = to_json(ground.place);
  const Json capabilities = co_await host.inspect(std::move(ability));
  ground.can = capabilities_from_json(capabilities);
  Op control_query{"net.control_path", Json::object()};
  const Json control = co_await host.inspect(std::move(control_query));
  read_control_path(control, request.keep_open, ground);
  co_return ground;
}

Task<FaultPlan> plan_net(NetIntent intent, NetAim aim, FaultRequest request, HostView& host) {
  NetGround ground = co_await look_at_ground(aim, request, host);
  if (intent.meets_resolver) std::erase_if(ground.control, [](const GuardedPath& path) { return path.resolver; });
  co_return decide_net(intent, aim, ground, request.allow);
}

}  // namespace capsize
