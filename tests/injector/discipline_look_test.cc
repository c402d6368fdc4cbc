// What the kernel tells of devices, queueing disciplines and filters, read from made bytes.
#include <catch2/catch.hpp>

#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>

#include "injector/netlink/discipline_look.h"

using namespace capsize;

namespace {

Bytes discipline(const std::string& kind, const std::function<void(AttributeWriter&)>& options, std::uint32_t parent = kRootParent, std::uint32_t handle = 0x80010000) {
  AttributeWriter out;
  tcmsg head{};
  head.tcm_ifindex = 5;
  head.tcm_parent = parent;
  head.tcm_handle = handle;
  out.pod(head);
  out.text(TCA_KIND, kind);
  AttributeWriter inside;
  options(inside);
  out.data(TCA_OPTIONS, inside.bytes());
  return out.bytes();
}

tc_netem_qopt netem(std::uint32_t loss = 0) {
  tc_netem_qopt out{};
  out.limit = 1000;
  out.loss = loss;
  return out;
}

Bytes filter(int list, const std::function<void(AttributeWriter&)>& action, const std::string& action_kind) {
  AttributeWriter out;
  tcmsg head{};
  head.tcm_ifindex = 5;
  head.tcm_parent = kClsactOut;
  head.tcm_handle = 1;
  head.tcm_info = 49152u << 16 | __builtin_bswap16(0x0800);
  out.pod(head);
  out.text(TCA_KIND, "bpf");
  out.nest(TCA_OPTIONS, [&] {
    out.nest(list, [&] {
      out.nest(1, [&] {
        out.text(TCA_ACT_KIND, action_kind);
        out.nest(TCA_ACT_OPTIONS, [&] { action(out); });
      });
    });
  });
  return out.bytes();
}

}  // namespace

TEST_CASE("a device is its name, its kind and whether it is up", "[doctor]") {
  AttributeWriter out;
  ifinfomsg head{};
  head.ifi_index = 7;
  head.ifi_flags = 1;
  out.pod(head);
  out.text(IFLA_IFNAME, "cpz0123456789ab");
  out.nest(IFLA_LINKINFO, [&] { out.text(IFLA_INFO_KIND, "ifb"); });
  const auto device = parse_device(out.bytes());
  REQUIRE(device);
  CHECK(device->index == 7);
  CHECK(device->name == "cpz0123456789ab");
  CHECK(device->kind == "ifb");
  CHECK(device->up);
  CHECK_FALSE(parse_device(BytesView(out.bytes()).first(8)));
  CHECK_FALSE(parse_device({}));
}

TEST_CASE("netem tells its settings in people's words, the old and the exact ones", "[doctor]") {
  const auto old_ticks = parse_discipline(discipline("netem", [](AttributeWriter& out) {
    tc_netem_qopt base = netem(0x80000000u);
    base.latency = 1562500;  // 100 ms in ticks of 64 ns
    base.jitter = 156250;
    out.pod(base);
  }));
  REQUIRE(old_ticks);
  CHECK(old_ticks->kind == "netem");
  CHECK(old_ticks->settings == "delay 100ms, jitter 10ms, loss 50 %");
  CHECK(show_handle(old_ticks->handle) == "8001:");

  const auto exact = parse_discipline(discipline("netem", [](AttributeWriter& out) {
    out.pod(netem());
    out.value(TCA_NETEM_LATENCY64, std::int64_t{2500000});
    out.nest(TCA_NETEM_LOSS, [&] { out.value(NETEM_LOSS_GE, tc_netem_gemodel{0x0ccccccc, 0x33333333, 0, 0}); });
    out.value(TCA_NETEM_CORRUPT, tc_netem_corrupt{0x19999999, 0});
    out.value(TCA_NETEM_REORDER, tc_netem_reorder{0x40000000, 0});
    tc_netem_rate rate{};
    rate.rate = 125000;
    out.value(TCA_NETEM_RATE, rate);
  }, 0x10003, 0x300000));
  REQUIRE(exact);
  CHECK(exact->settings == "delay 2.5ms, loss gemodel 5 % 20 %, reorder 25 %, corrupt 10 %, rate 125000 bytes/s");
  CHECK(show_handle(exact->parent) == "1:3");
  CHECK(parse_discipline(discipline("netem", [](AttributeWriter& out) { out.pod(netem()); }))->settings == "no impairment");
}

TEST_CASE("tbf tells its rate, also one beyond 32 bits", "[doctor]") {
  const auto slow = parse_discipline(discipline("tbf", [](AttributeWriter& out) {
    tc_tbf_qopt base{};
    base.rate.rate = 125000;
    out.value(TCA_TBF_PARMS, base);
  }));
  CHECK(slow->settings == "rate 125000 bytes/s");
  const auto fast = parse_discipline(discipline("tbf", [](AttributeWriter& out) {
    out.value(TCA_TBF_PARMS, tc_tbf_qopt{});
    out.value(TCA_TBF_RATE64, std::uint64_t{5000000000});
  }));
  CHECK(fast->settings == "rate 5000000000 bytes/s");
}

TEST_CASE("a filter tells where it redirects to, and what it drops by chance, whatever its kind calls the list of its actions", "[doctor]") {
  tc_mirred redirect{};
  redirect.eaction = TCA_EGRESS_REDIR;
  redirect.ifindex = 9;
  for (const int list : {static_cast<int>(TCA_BPF_ACT), static_cast<int>(TCA_U32_ACT), static_cast<int>(TCA_FLOWER_ACT), static_cast<int>(TCA_MATCHALL_ACT)}) {
    const auto found = parse_filter(filter(list, [&](AttributeWriter& out) { out.value(TCA_MIRRED_PARMS, redirect); }, "mirred"));
    REQUIRE(found);
    CHECK(found->redirects_to == 9);
    CHECK(found->preference == 49152);
    CHECK(found->protocol == 0x0800);
    CHECK(found->drops == 0);
  }
  redirect.eaction = TCA_EGRESS_MIRROR;  // a copy: the packet itself goes its way
  CHECK(parse_filter(filter(TCA_BPF_ACT, [&](AttributeWriter& out) { out.value(TCA_MIRRED_PARMS, redirect); }, "mirred"))->redirects_to == 0);
  tc_gact_p chance{};
  chance.ptype = PGACT_NETRAND;
  chance.pval = 4;
  chance.paction = TC_ACT_SHOT;
  CHECK(parse_filter(filter(TCA_U32_ACT, [&](AttributeWriter& out) { out.value(TCA_GACT_PROB, chance); }, "gact"))->drops == 0.25);
}

TEST_CASE("cut off bytes of devices, disciplines and filters harm nobody", "[doctor]") {
  tc_mirred redirect{};
  const std::vector<Bytes> samples = {
      discipline("netem", [](AttributeWriter& out) { out.pod(netem()); out.value(TCA_NETEM_LATENCY64, std::int64_t{1}); }),
      discipline("tbf", [](AttributeWriter& out) { out.value(TCA_TBF_PARMS, tc_tbf_qopt{}); }),
      filter(TCA_BPF_ACT, [&](AttributeWriter& out) { out.value(TCA_MIRRED_PARMS, redirect); }, "mirred"),
  };
  for (const Bytes& sample : samples) {
    for (std::size_t size = 0; size <= sample.size(); ++size) {
      const Bytes part(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(size));  // a copy: a read beyond it is seen
      const auto one = parse_discipline(part);
      const auto other = parse_filter(part);
      CHECK(one.has_value() == other.has_value());
    }
  }
}
