#include "injector/net/impairment.h"

#include "injector/net/backends.h"
#include "injector/net/json_parts.h"

namespace capsize {
namespace {

constexpr std::string_view kNameStart = "capsize_";
constexpr std::size_t kDigits = 12;

constexpr std::array<std::pair<ImpairBackend, std::string_view>, 3> kBackends = {
    {{ImpairBackend::rules, "rules"}, {ImpairBackend::queue, "queue"}, {ImpairBackend::device, "device"}}};
constexpr std::array<std::pair<DelayDistribution, std::string_view>, 5> kDistributions = {{{DelayDistribution::constant, "constant"},
                                                                                          {DelayDistribution::uniform, "uniform"},
                                                                                          {DelayDistribution::normal, "normal"},
                                                                                          {DelayDistribution::pareto, "pareto"},
                                                                                          {DelayDistribution::paretonormal, "paretonormal"}}};
constexpr std::array<std::pair<Refusal, std::string_view>, 4> kRefusals = {
    {{Refusal::silent, "silent"}, {Refusal::tcp_reset, "tcp_reset"}, {Refusal::unreachable, "unreachable"}, {Refusal::prohibited, "prohibited"}}};
constexpr std::array<std::pair<DnsAnswer, std::string_view>, 4> kAnswers = {
    {{DnsAnswer::silence, "silence"}, {DnsAnswer::delay, "delay"}, {DnsAnswer::nxdomain, "nxdomain"}, {DnsAnswer::servfail, "servfail"}}};

// As a person writes it, where that loses nothing.
std::string exactly(Duration duration) {
  const std::string text = show(duration);
  const auto back = parse_duration(text);
  const auto* same = std::get_if<Duration>(&back);
  return same != nullptr && *same == duration ? text : std::to_string(duration.count()) + "ns";
}

Json to_json(const DelayEffect& effect) {
  return {{"delay", exactly(effect.delay)}, {"jitter", exactly(effect.jitter)}, {"distribution", word_for(kDistributions, effect.distribution)}, {"correlation", effect.correlation}, {"may_reorder", effect.may_reorder}};
}
Json to_json(const LossEffect& effect) {
  Json out = {{"share", effect.share}};
  if (effect.burst) out["burst"] = {{"enter", effect.burst->enter}, {"leave", effect.burst->leave}, {"loss_in_good", effect.burst->loss_in_good}, {"loss_in_bad", effect.burst->loss_in_bad}};
  return out;
}
Json to_json(const ReorderEffect& effect) { return {{"share", effect.share}, {"delay", exactly(effect.delay)}}; }
Json to_json(const RateEffect& effect) { return {{"bytes_per_second", effect.bytes_per_second}, {"burst_bytes", effect.burst_bytes}, {"queue", exactly(effect.queue)}}; }
Json to_json(const DnsEffect& effect) { return {{"names", effect.names}, {"answer", word_for(kAnswers, effect.answer)}, {"delay", exactly(effect.delay)}}; }

Json to_json(const PacketEffect& effect) {
  Json out = Json::object();
  if (effect.delay) out["delay"] = to_json(*effect.delay);
  if (effect.loss) out["loss"] = to_json(*effect.loss);
  if (effect.duplicate) out["duplicate"] = *effect.duplicate;
  if (effect.corrupt) out["corrupt"] = *effect.corrupt;
  if (effect.reorder) out["reorder"] = to_json(*effect.reorder);
  if (effect.rate) out["rate"] = to_json(*effect.rate);
  if (effect.refusal) out["refusal"] = word_for(kRefusals, *effect.refusal);
  if (effect.dns) out["dns"] = to_json(*effect.dns);
  return out;
}

double share_of(const JsonParts& parts, const char* key) {
  const double value = parts.number<double>(key);
  if (!(value >= 0 && value <= 1)) parts.wrong(fmt::format("\"{}\" is not between 0 and 1", key));
  return value;
}

DelayEffect delay_from_json(const Json& json) {
  const JsonParts parts(json, "a delay", {"delay", "jitter", "distribution", "correlation", "may_reorder"});
  return {parts.duration("delay"), parts.duration("jitter"), parts.word("distribution", kDistributions), share_of(parts, "correlation"), parts.flag("may_reorder")};
}
LossEffect loss_from_json(const Json& json) {
  const JsonParts parts(json, "a loss", {"share", "burst"});
  LossEffect out{share_of(parts, "share"), {}};
  if (parts.has("burst")) {
    const JsonParts burst(parts.at("burst"), "a burst model", {"enter", "leave", "loss_in_good", "loss_in_bad"});
    out.burst = LossEffect::Burst{share_of(burst, "enter"), share_of(burst, "leave"), share_of(burst, "loss_in_good"), share_of(burst, "loss_in_bad")};
  }
  return out;
}
ReorderEffect reorder_from_json(const Json& json) {
  const JsonParts parts(json, "a reordering", {"share", "delay"});
  return {share_of(parts, "share"), parts.duration("delay")};
}
RateEffect rate_from_json(const Json& json) {
  const JsonParts parts(json, "a rate", {"bytes_per_second", "burst_bytes", "queue"});
  return {parts.number<std::uint64_t>("bytes_per_second"), parts.number<std::uint64_t>("burst_bytes"), parts.duration("queue")};
}
DnsEffect dns_from_json(const Json& json) {
  const JsonParts parts(json, "an effect on queries", {"names", "answer", "delay"});
  DnsEffect out{{}, parts.word("answer", kAnswers), parts.duration("delay")};
  for (const Json& item : parts.list("names")) out.names.push_back(parts.text_of(item));
  return out;
}

PacketEffect effect_from_json(const Json& json) {
  const JsonParts parts(json, "an effect on packets", {"delay", "loss", "duplicate", "corrupt", "reorder", "rate", "refusal", "dns"});
  PacketEffect out;
  if (parts.has("delay")) out.delay = delay_from_json(parts.at("delay"));
  if (parts.has("loss")) out.loss = loss_from_json(parts.at("loss"));
  if (parts.has("duplicate")) out.duplicate = share_of(parts, "duplicate");
  if (parts.has("corrupt")) out.corrupt = share_of(parts, "corrupt");
  if (parts.has("reorder")) out.reorder = reorder_from_json(parts.at("reorder"));
  if (parts.has("rate")) out.rate = rate_from_json(parts.at("rate"));
  if (parts.has("refusal")) out.refusal = parts.word("refusal", kRefusals);
  if (parts.has("dns")) out.dns = dns_from_json(parts.at("dns"));
  return out;
}

bool is_name(std::string_view name) {
  return name.size() == kNameStart.size() + kDigits && name.substr(0, kNameStart.size()) == kNameStart &&
         name.find_first_not_of("0123456789abcdef", kNameStart.size()) == std::string_view::npos;
}

}  // namespace

std::string_view to_string(ImpairBackend backend) { return word_for(kBackends, backend); }

Json to_json(const Impairment& impairment) {
  Json out = {{"name", impairment.name}, {"mark", impairment.mark}, {"place", to_json(impairment.place)}, {"affected", Json::array()}, {"exempt", Json::array()},
              {"backend", to_string(impairment.backend)}, {"effect", to_json(impairment.effect)}, {"seed", impairment.seed}};
  for (const PacketMatch& match : impairment.affected) out["affected"].push_back(to_json(match));
  for (const PacketMatch& match : impairment.exempt) out["exempt"].push_back(to_json(match));
  return out;
}

Json identity_json(const Impairment& impairment) {
  return {{"name", impairment.name}, {"mark", impairment.mark}, {"place", to_json(impairment.place)}, {"backend", to_string(impairment.backend)}};
}

Impairment impairment_from_json(const Json& json) {
  const JsonParts parts(json, "an impairment", {"name", "mark", "place", "affected", "exempt", "backend", "effect", "seed"});
  Impairment out;
  out.name = parts.text("name");
  if (!is_name(out.name)) parts.wrong("its name is not \"capsize_\" and 12 hex digits");
  out.mark = parts.number<std::uint32_t>("mark");
  out.place = network_namespace_from_json(parts.at("place"));
  for (const Json& item : parts.list("affected")) out.affected.push_back(packet_match_from_json(item));
  for (const Json& item : parts.list("exempt")) out.exempt.push_back(packet_match_from_json(item));
  out.backend = parts.word("backend", kBackends);
  if (parts.has("effect")) out.effect = effect_from_json(parts.at("effect"));
  if (parts.has("seed")) out.seed = parts.number<std::uint64_t>("seed");
  return out;
}

std::string device_name(const Impairment& impairment) { return "cpz" + impairment.name.substr(std::min(kNameStart.size(), impairment.name.size())); }

Json to_json(const ImpairCounts& counts) {
  return {{"matched", counts.matched},       {"matched_bytes", counts.matched_bytes}, {"dropped", counts.dropped},   {"delayed", counts.delayed},       {"duplicated", counts.duplicated},
          {"corrupted", counts.corrupted},   {"reordered", counts.reordered},         {"answered", counts.answered}, {"overflowed", counts.overflowed}, {"lost_by_us", counts.lost_by_us}, {"mean_delay_ms", counts.mean_delay_ms},
          {"passed_bytes", counts.passed_bytes}, {"held_back", counts.held_back}};
}

}  // namespace capsize
