#include "tests/sim/sim_network.h"

#include <fmt/format.h>

#include <algorithm>

#include "injector/base/error.h"

namespace capsize {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFirstRetransmission = 200ms;
constexpr Duration kFirstSynRetransmission = 1s;

SimNetwork* current = nullptr;

double milliseconds(Duration duration) { return static_cast<double>(duration.count()) / 1e6; }

AddressBlock block_of(const std::string& host) {
  const auto parsed = parse_address_block(host);
  if (const auto* mistake = std::get_if<Mistake>(&parsed)) throw Error(ErrorKind::bug, mistake->fact);
  return std::get<AddressBlock>(parsed);
}

bool admits(const Side& side, const Address& end) {
  const AddressBlock block = block_of(end.host);
  const bool address = side.addresses.empty() || std::any_of(side.addresses.begin(), side.addresses.end(), [&](const AddressBlock& one) { return contains(one, block); });
  const bool port = side.ports.empty() || std::any_of(side.ports.begin(), side.ports.end(), [&](const PortRange& range) { return range.first <= end.port && end.port <= range.last; });
  return address && port;
}

// All are on one machine: a packet leaves it, and arrives at it.
bool meets(const Impairment& impairment, const Address& from, const Address& to) {
  const auto met_at = [&](Hook hook) {
    const auto matches = [&](const PacketMatch& match) {
      return match.hook == hook && (match.protocol == Protocol::any || match.protocol == Protocol::tcp) && admits(match.source, from) && admits(match.destination, to);
    };
    return std::any_of(impairment.affected.begin(), impairment.affected.end(), matches) && std::none_of(impairment.exempt.begin(), impairment.exempt.end(), matches);
  };
  return met_at(Hook::leave) || met_at(Hook::arrive);
}

struct SimHeldImpairment final : Held {
  explicit SimHeldImpairment(std::string name_) : name(std::move(name_)) {}
  void release() noexcept override {
    if (current != nullptr) current->release(name);
  }
  std::string name;
};

Task<Json> sim_capabilities(Json args, OpContext&) {
  Json out = {{"cap_net_admin", true}, {"rules", true}, {"egress_rules", true}, {"queue", true}, {"ifb", false}, {"clsact", false}, {"netem", false}, {"tbf", false}, {"ipv6", true}, {"sock_destroy", true}};
  out["missing"] = Json::object();
  out["kernel"] = "sim";
  out["nonce"] = fmt::format("{:012x}", current->next_nonce() * 16);
  out["mark"] = 7;
  out["place"] = args.value("place", Json::object());
  co_return out;
}

Task<Json> sim_resolve(Json, OpContext&) {
  Json out = {{"addresses", Json::object()}, {"problems", Json::object()}, {"own_namespace", true}};
  out["local"] = Json::array({"127.0.0.0/8", "::1"});
  NetworkNamespace place;
  place.inode = 1;
  out["place"] = to_json(place);
  co_return out;
}

Task<Json> sim_control_path(Json, OpContext&) {
  Json out = Json::object();
  out["connections"] = Json::array();
  out["resolvers"] = Json::array();
  co_return out;
}

Task<Applied> sim_impair(Json args, OpContext&) {
  const Impairment impairment = impairment_from_json(args);
  current->hold(impairment);
  Applied applied;
  applied.held = std::make_unique<SimHeldImpairment>(impairment.name);
  co_return applied;
}

Task<UndoResult> sim_restore(Json args, OpContext&) {
  const bool there = current->find(impairment_from_json(args).name) != nullptr;
  UndoResult result;
  result.state = there ? UndoState::failed : UndoState::undone;
  result.because = there ? "it is still in force" : "the table is gone";
  co_return result;
}

Json echo(const std::string& where, int attempts, Duration limit) {
  std::vector<Duration> times;
  const Address target = std::get<Address>(parse_address(where));
  for (int i = 0; i < attempts; ++i) {
    if (const auto took = current->round_trips({"127.0.0.1", 59'999}, target, 0, limit)) times.push_back(*took);
  }
  std::sort(times.begin(), times.end());
  Json out = {{"connect", where}, {"attempts", attempts}, {"connected", times.size()}, {"refused", 0}, {"timed_out", static_cast<std::size_t>(attempts) - times.size()}, {"limit_ms", milliseconds(limit)}};
  if (!times.empty()) {
    out["p50_ms"] = milliseconds(times[times.size() / 2]);
    out["min_ms"] = milliseconds(times.front());
  }
  return out;
}

Task<Json> sim_watch(Json args, OpContext& context) {
  Json out = Json::object();
  out["impairments"] = Json::array();
  for (const Json& json : args.at("impairments")) {
    const std::string name = impairment_from_json(json).name;
    Json one = {{"name", name}, {"counts", nullptr}, {"there", false}};
    if (const auto* now = current->find(name)) {
      one["there"] = true;
      one["counts"] = to_json(now->counts);
      one["held_ms"] = milliseconds(context.clock.now() - now->since);
      one["others"] = now->counts.matched;
    }
    out["impairments"].push_back(std::move(one));
  }
  const auto limit = parse_duration(args.value("limit", "1s"));
  out["echo"] = Json::array();
  for (const Json& one : args.at("echo")) out["echo"].push_back(echo(one.at("connect"), args.value("attempts", 1), std::get<Duration>(limit)));
  co_return out;
}

}  // namespace

SimNetwork::SimNetwork(Clock& clock) : clock_(clock) { current = this; }

SimNetwork::~SimNetwork() { current = nullptr; }

const SimNetwork::HeldNow* SimNetwork::find(const std::string& name) const {
  const auto found = held_.find(name);
  return found == held_.end() ? nullptr : &found->second;
}

void SimNetwork::hold(Impairment impairment) {
  const std::string name = impairment.name;
  held_[name] = HeldNow{std::move(impairment), {}, clock_.now()};
}

SimNetwork::Sent SimNetwork::send(const Address& from, const Address& to) {
  Sent sent;
  for (auto& [name, now] : held_) {
    if (!meets(now.impairment, from, to)) continue;
    const PacketEffect& effect = now.impairment.effect;
    ++now.counts.matched;
    if (effect.loss && rng_.chance(effect.loss->share)) sent.fate = Fate::lost;
    if (effect.refusal) sent.fate = *effect.refusal == Refusal::silent ? Fate::lost : Fate::reset;
    if (sent.fate != Fate::arrives) {
      ++now.counts.dropped;
      return sent;
    }
    if (!effect.delay) continue;
    ++now.counts.delayed;
    now.counts.mean_delay_ms = milliseconds(effect.delay->delay);
    sent.delay += effect.delay->delay;
  }
  return sent;
}

Task<bool> SimNetwork::carry(Address from, Address to) {
  Duration patience = kFirstRetransmission;
  for (;;) {
    const Sent sent = send(from, to);
    if (sent.fate == Fate::reset) co_return false;
    if (sent.fate == Fate::lost) {
      co_await clock_.sleep(patience);
      patience *= 2;
      continue;
    }
    if (sent.delay == Duration::zero()) co_return true;
    co_await clock_.sleep(sent.delay);
    co_return true;
  }
}

std::optional<Duration> SimNetwork::round_trips(const Address& from, const Address& to, int messages, Duration limit) {
  Duration total{};
  for (int way = 0; way < 2 + 2 * messages; ++way) {
    Duration patience = way < 2 ? kFirstSynRetransmission : kFirstRetransmission;
    for (;;) {
      const Sent sent = way % 2 == 0 ? send(from, to) : send(to, from);
      if (sent.fate == Fate::reset) return std::nullopt;
      total += sent.fate == Fate::lost ? patience : sent.delay;
      if (total > limit) return std::nullopt;
      if (sent.fate == Fate::arrives) break;
      patience *= 2;
    }
  }
  return total;
}

const std::vector<OpType>& sim_network_ops() {
  static const std::vector<OpType> table = {
      {"net.capabilities", Lasts::look, "", sim_capabilities, nullptr, nullptr},
      {"net.resolve", Lasts::look, "", sim_resolve, nullptr, nullptr},
      {"net.control_path", Lasts::look, "", sim_control_path, nullptr, nullptr},
      {"net.watch", Lasts::look, "", sim_watch, nullptr, nullptr},
      {"net.impair", Lasts::while_held, "", nullptr, sim_impair, nullptr},
      {"net.restore", Lasts::while_held, "", nullptr, nullptr, sim_restore},
  };
  return table;
}

}  // namespace capsize
