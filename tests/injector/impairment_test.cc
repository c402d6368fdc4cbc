#include "injector/net/impairment.h"

#include <catch2/catch.hpp>

#include "injector/base/error.h"

using namespace capsize;
using namespace std::chrono_literals;

namespace {

Impairment full() {
  Impairment out;
  out.name = "capsize_0123456789ab";
  out.mark = 0xfedcba98;
  out.place = {"/run/netns/blue", 4026531999};
  PacketMatch match{Hook::leave, {}, {{std::get<AddressBlock>(parse_address_block("fd00::/8"))}, {{80, 90}}}, Protocol::tcp, 7u, {}};
  out.affected = {match, PacketMatch{}};
  out.exempt = {PacketMatch{Hook::arrive, {{}, {{22, 22}}}, {}, Protocol::tcp, {}, {}}};
  out.backend = ImpairBackend::device;
  out.effect.delay = DelayEffect{1500001ns, 7ns, DelayDistribution::paretonormal, 0.25, true};
  out.effect.loss = LossEffect{0.1, LossEffect::Burst{0.01, 0.2, 0.001, 0.9}};
  out.effect.duplicate = 0.001;
  out.effect.corrupt = 1.0 / 3;
  out.effect.reorder = ReorderEffect{0.5, 1'234'567'890'123ns};
  out.effect.rate = RateEffect{1'000'000, 64'000, 200ms};
  out.effect.refusal = Refusal::prohibited;
  out.effect.dns = DnsEffect{{"db.staging", "*.staging"}, DnsAnswer::servfail, 2s};
  out.seed = ~0ull;
  return out;
}

}  // namespace

TEST_CASE("an impairment goes through JSON unchanged, every effect and every digit", "[impairment]") {
  for (Impairment impairment : {full(), Impairment{"capsize_ffffffffffff", 0, {}, {}, {}, ImpairBackend::rules, {}, 1}}) {
    for (const ImpairBackend backend : {ImpairBackend::rules, ImpairBackend::queue, ImpairBackend::device}) {
      impairment.backend = backend;
      CHECK(impairment_from_json(Json::parse(to_json(impairment).dump())) == impairment);
    }
  }
  Impairment impairment = full();
  for (const Refusal refusal : {Refusal::silent, Refusal::tcp_reset, Refusal::unreachable, Refusal::prohibited}) {
    for (const DelayDistribution distribution : {DelayDistribution::constant, DelayDistribution::uniform, DelayDistribution::normal, DelayDistribution::pareto}) {
      impairment.effect.refusal = refusal;
      impairment.effect.delay->distribution = distribution;
      CHECK(impairment_from_json(to_json(impairment)) == impairment);
    }
  }
  CHECK(to_json(full())["effect"]["rate"]["queue"] == "200ms");
}

TEST_CASE("an undo finds an impairment by a few words, however many addresses it has", "[impairment]") {
  Impairment impairment = full();
  impairment.affected.assign(10'000, impairment.affected[0]);
  const Json identity = identity_json(impairment);
  CHECK(identity.dump().size() < 300);
  const Impairment back = impairment_from_json(identity);
  CHECK(back.name == impairment.name);
  CHECK(back.mark == impairment.mark);
  CHECK(back.place == impairment.place);
  CHECK(back.backend == impairment.backend);
  CHECK(device_name(back) == "cpz0123456789ab");
}

TEST_CASE("an impairment of another name is not ours", "[impairment]") {
  for (const char* name : {"", "filter", "capsize_", "capsize_0123456789a", "capsize_0123456789abc", "capsize_0123456789aB", "capsize_0123456789a;", "xapsize_0123456789ab"}) {
    Json json = to_json(full());
    json["name"] = name;
    INFO(name);
    CHECK_THROWS_AS(impairment_from_json(json), Error);
  }
}

TEST_CASE("shares outside 0 to 1 and unknown words are not taken", "[impairment]") {
  const std::vector<std::pair<const char*, Json>> wrong = {{"/effect/loss/share", 1.01}, {"/effect/loss/share", -0.1}, {"/effect/duplicate", 2}, {"/effect/loss/burst/leave", "x"}, {"/effect/delay/distribution", "flat"},
                                                           {"/effect/delay/delay", 5},   {"/effect/refusal", "polite"}, {"/effect/colour", 1},   {"/backend", "magic"},          {"/mark", 1ull << 32},
                                                           {"/seed", -1},                {"/affected", Json::object()}, {"/effect/rate/queue", "soon"}};
  for (const auto& [where, value] : wrong) {
    Json json = to_json(full());
    json[Json::json_pointer(where)] = value;
    INFO(where << " = " << value);
    CHECK_THROWS_AS(impairment_from_json(json), Error);
  }
}
