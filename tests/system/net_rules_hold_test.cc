// Who holds a network fault, and what becomes of it: killed, meddled with, undone; and that nothing of anybody else's changes.
#include <catch2/catch.hpp>

#include <fstream>
#include <iostream>

#include "injector/net/kernel_trials.h"
#include "injector/net/packet_rules.h"
#include "tests/system/net_rules.h"
#include "tests/system/process_children.h"

using namespace capsize;
using namespace capsize::net_test;
using process_test::Control;

namespace {

// Asks until an answer comes: true as soon as a datagram went there and arrived.
class Pinger {
 public:
  Pinger(const NetPair& net, const std::string& host) : receiver_(bound_in(net.far, host, kPort, SOCK_DGRAM)), sender_(connected_in(net.near, host, kPort, SOCK_DGRAM)) {}
  bool arrives() const {
    char byte = 0;
    ::send(sender_.get(), "x", 1, 0);
    return ::recv(receiver_.get(), &byte, 1, MSG_DONTWAIT) == 1;
  }
  bool stays_away(int tries = 20) const {
    ::usleep(5000);  // for those on their way before
    char byte = 0;
    while (::recv(receiver_.get(), &byte, 1, MSG_DONTWAIT) == 1) {
    }
    for (int i = 0; i < tries; ++i) {
      if (arrives()) return false;
      ::usleep(200);
    }
    return true;
  }

 private:
  UniqueFd receiver_;
  UniqueFd sender_;
};

std::vector<Hook> both_hooks() { return {Hook::arrive, Hook::leave}; }

// An operator's host: tables of every family, chains at the hooks that are used here, sets, maps, counters, address translation.
constexpr const char* kMess = R"(
table ip filter {
  set blocked { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 }; }
  chain input { type filter hook input priority filter; policy accept; ip saddr @blocked counter drop; tcp dport 22 ct state new limit rate 10/minute accept; }
  chain early { type filter hook prerouting priority -310; policy accept; counter comment "ours" ; }
}
table ip nat {
  chain prerouting { type nat hook prerouting priority dstnat; policy accept; tcp dport 8443 redirect to :443; }
  chain postrouting { type nat hook postrouting priority srcnat; policy accept; oifname "nowhere" masquerade; }
}
table ip6 filter {
  chain output { type filter hook output priority filter; policy accept; ip6 daddr 2001:db8::/32 reject; }
}
table inet mangle {
  map marks { type inet_service : mark; elements = { 80 : 0x1, 443 : 0x2 }; }
  counter web { packets 0 bytes 0; }
  chain post { type filter hook postrouting priority 310; policy accept; tcp dport 80 counter name "web"; meta mark set tcp dport map @marks; }
}
table netdev guard {
  chain in { type filter hook ingress device "v0" priority -500; policy accept; ip saddr 203.0.113.0/24 drop; }
}
table bridge b {
  chain c { type filter hook forward priority 0; policy accept; }
}
table arp a {
  chain c { type filter hook input priority 0; policy accept; }
}
)";

void make_a_mess(const NetworkNamespace& place) {
  const std::string file = "/tmp/capsize-mess-" + std::to_string(::getpid());
  std::ofstream(file) << kMess;
  const std::string said = nft(place, {"-f", file});
  ::unlink(file.c_str());
  if (!said.empty()) throw std::runtime_error("nft: " + said);
}

std::vector<PacketEffect> all_effects() {
  return {refusal_of(Refusal::silent), refusal_of(Refusal::tcp_reset), refusal_of(Refusal::unreachable), refusal_of(Refusal::prohibited), loss_of(0.5)};
}

}  // namespace

TEST_CASE("traffic is normal at once when the holder is killed, by the kernel alone", "[net.rules]") {
  const ReadyPair net;
  for (const Hook hook : both_hooks()) {
    for (const std::string& host : {kFar4, kFar6}) {
      const Pinger ping(net, host);
      const SystemClock clock;
      std::vector<double> took;
      for (int i = 0; i < 15; ++i) {
        const Impairment cut = by_rules(net, hook, refusal_of(Refusal::silent));
        Holder holder(cut);
        REQUIRE(ping.stays_away());
        const TimePoint killed = clock.now();
        holder.kill(false);
        REQUIRE(eventually([&] { return ping.arrives(); }));
        took.push_back(seconds(clock.now() - killed) * 1e3);
        holder.reap();
        CHECK_FALSE(look_for_table(cut.place, cut.name).there);
      }
      std::cout << "SIGKILL to normal traffic, " << (hook == Hook::leave ? "leaving " : "arriving ") << host << ": median " << median(took) << " ms of " << took.size() << "\n";
      CHECK(median(took) < 100);
    }
  }
}

TEST_CASE("nobody else's nft flushes or deletes a fault, and a flush takes only what is not ours", "[net.rules]") {
  const ReadyPair net;
  const Pinger ping(net, kFar4);
  for (const Hook hook : both_hooks()) {
    const Impairment cut = by_rules(net, hook, refusal_of(Refusal::silent));
    make_a_mess(cut.place);
    const auto held = hold_by_rules(cut);
    REQUIRE(ping.stays_away());
    const std::string table = nft(cut.place, {"-s", "list", "table", "inet", cut.name});
    CHECK(nft(cut.place, {"delete", "table", "inet", cut.name}).find("exit status") != std::string::npos);
    CHECK(nft(cut.place, {"flush", "table", "inet", cut.name}).find("exit status") != std::string::npos);
    CHECK(nft(cut.place, {"flush", "ruleset"}).empty());
    CHECK(ping.stays_away());
    CHECK(nft(cut.place, {"-s", "list", "table", "inet", cut.name}) == table);
    held->counts();
    held->release();
    CHECK(ping.arrives());
    CHECK(ruleset(cut.place).empty());
  }
}

TEST_CASE("a program that the holder started does not keep a fault alive", "[net.rules]") {
  const ReadyPair net;
  const Pinger ping(net, kFar4);
  for (const Hook hook : both_hooks()) {
    int ends[2];
    must(::pipe(ends) == 0, "pipe");  // inherited on purpose: it closes when the program ends
    std::unique_ptr<HeldImpairment> held;
    Keeper keeper([&] {
      held = hold_by_rules(by_rules(net, hook, refusal_of(Refusal::silent)));
      const pid_t pid = ::fork();
      if (pid == 0) {
        ::execlp("sleep", "sleep", "600", nullptr);
        ::_exit(127);
      }
      must(::write(ends[1], &pid, sizeof pid) == sizeof pid, "write");
    });
    pid_t child = 0;
    REQUIRE(::read(ends[0], &child, sizeof child) == sizeof child);
    ::close(ends[1]);
    REQUIRE(eventually([&] { return output_of_tool({"cat", fmt::format("/proc/{}/comm", child)}) == "sleep\n"; }));
    REQUIRE(ping.stays_away());
    keeper.kill();
    CHECK(eventually([&] { return ping.arrives(); }));
    CHECK(::kill(child, 0) == 0);
    ::kill(child, SIGKILL);
    char byte = 0;
    CHECK(::read(ends[0], &byte, 1) == 0);
    ::close(ends[0]);
  }
}

TEST_CASE("an operator's rules are the same, byte for byte, whatever was injected and taken back beside them", "[net.rules]") {
  const ReadyPair net;
  for (const NetworkNamespace& place : {net.near, net.far}) make_a_mess(place);
  const std::string near = ruleset(net.near), far = ruleset(net.far);
  REQUIRE(near.size() > 1000);
  Rng chance(kSeed);
  for (int round = 0; round < 20; ++round) {
    INFO("round " << round << " of seed " << kSeed);
    std::vector<std::unique_ptr<HeldImpairment>> held;
    for (std::uint64_t i = 1 + chance.below(4); i > 0; --i) {
      const auto effects = all_effects();
      held.push_back(hold_by_rules(by_rules(net, chance.chance(0.5) ? Hook::arrive : Hook::leave, effects[chance.below(effects.size())], chance.chance(0.5) ? Protocol::any : Protocol::tcp)));
    }
    try_to_connect(net.near, kFar4, kPort, 10);
    while (!held.empty()) {
      const auto it = held.begin() + static_cast<std::ptrdiff_t>(chance.below(held.size()));
      (*it)->release();
      held.erase(it);
    }
    REQUIRE(ruleset(net.near) == near);
    REQUIRE(ruleset(net.far) == far);
  }
}

TEST_CASE("a table that cannot be made leaves nothing, and the one whose name it wanted stays", "[net.rules]") {
  const ReadyPair net;
  const Impairment cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
  const auto held = hold_by_rules(cut);
  const std::string before = ruleset(net.far);
  const auto again = [&] { hold_by_rules(cut); };
  CHECK_THROWS_WITH(again(), Catch::Contains("a table " + cut.name + " is there already"));
  CHECK(ruleset(net.far) == before);
  Impairment elsewhere = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
  elsewhere.place.inode += 1;
  CHECK_THROWS_WITH(hold_by_rules(elsewhere), Catch::Contains("is another one now"));
  elsewhere.place.path = "/run/netns/capsize-never";
  CHECK_THROWS_WITH(hold_by_rules(elsewhere), Catch::Contains("there is no such network namespace"));
  CHECK(ruleset(net.far) == before);
}

TEST_CASE("rules that are disarmed let packets pass, keep their counts, and go", "[net.rules]") {
  const ReadyPair net;
  const Pinger ping(net, kFar4);
  PacketRules rules(by_rules(net, Hook::arrive, {}), {RuleAction::Kind::drop, 1, 0});
  CHECK(ping.stays_away(7));
  rules.disarm();
  CHECK(ping.arrives());
  rules.disarm();
  CHECK(rules.counts().matched == 7);
  CHECK(rules.counts().acted == 7);
  CHECK(ruleset(net.far).find("hook prerouting") != std::string::npos);
  rules.remove();
  rules.remove();
  CHECK(ruleset(net.far).empty());
}

TEST_CASE("the undo of an impairment: alone it changes nothing, while it is held it says by whom, and afterwards it proves it gone", "[net.rules]") {
  const ReadyPair net;
  const Pinger ping(net, kFar4);
  Control control;
  make_a_mess(net.far);
  const std::string before = ruleset(net.far);
  const Impairment cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
  const Op impair{"net.impair", to_json(cut)}, restore{"net.restore", identity_json(cut)};
  for (int times = 0; times < 2; ++times) CHECK(control.undo(restore).state == UndoState::nothing_to_undo);
  CHECK(ruleset(net.far) == before);

  Applied applied = control.apply(impair);
  REQUIRE(applied.held);
  CHECK(applied.detail == Json{{"backend", "rules"}, {"table", cut.name}});
  CHECK(ping.stays_away());
  const UndoResult early = control.undo(restore);
  CHECK(early.state == UndoState::failed);
  CHECK(early.because == "the nftables table " + cut.name + " is still held by this capsize");

  applied.held->release();
  CHECK(ping.arrives());
  for (int times = 0; times < 2; ++times) CHECK(control.undo(restore).state == UndoState::undone);
  CHECK(ruleset(net.far) == before);
}

TEST_CASE("a table that another process holds is not undone, and that process is named", "[net.rules]") {
  const ReadyPair net;
  Control control;
  const Impairment cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
  Holder holder(cut);
  const UndoResult result = control.undo({"net.restore", identity_json(cut)});
  INFO(result.because);
  CHECK(result.state == UndoState::failed);
  CHECK(result.remedy.find(fmt::format("kill {}", holder.pid())) != std::string::npos);
  holder.kill();
  CHECK(control.undo({"net.restore", identity_json(cut)}).state == UndoState::nothing_to_undo);
}

TEST_CASE("a table of our name that nobody owns is somebody else's, and stays", "[net.rules]") {
  const ReadyPair net;
  Control control;
  const Impairment cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
  REQUIRE(nft(net.far, {"add", "table", "inet", cut.name}).empty());
  CHECK(control.undo({"net.restore", identity_json(cut)}).state == UndoState::refused);
  CHECK(ruleset(net.far).find(cut.name) != std::string::npos);
}

TEST_CASE("nothing is left to undo where the namespace has ended or is another one", "[net.rules]") {
  Control control;
  Impairment cut;
  {
    const ReadyPair net;
    cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
    Impairment other = cut;
    other.place.inode += 1;
    CHECK(control.undo({"net.restore", identity_json(other)}).state == UndoState::nothing_to_undo);
  }
  CHECK(control.undo({"net.restore", identity_json(cut)}).state == UndoState::nothing_to_undo);
}

TEST_CASE("what the kernel can do is tried, said with what is missing, and names are fresh", "[net.rules]") {
  const ReadyPair net;
  Control control;
  const std::string before = ruleset(net.far);
  const Json first = control.look({"net.capabilities", {{"place", to_json(net.far)}}});
  const Json second = control.look({"net.capabilities", Json::object()});
  INFO(first.dump());
  CHECK(first["cap_net_admin"] == true);
  CHECK(first["rules"] == true);
  CHECK(first["egress_rules"] == true);
  CHECK(first["place"] == to_json(net.far));
  CHECK(first["nonce"].get<std::string>().find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(first["nonce"].get<std::string>().size() == 12);
  CHECK(first["nonce"] != second["nonce"]);
  CHECK(first["mark"] != second["mark"]);
  CHECK(second["place"]["inode"] == look_up_network_namespace("/proc/self/ns/net").inode);
  for (const char* part : {"rules", "egress_rules", "queue", "ifb", "clsact", "netem", "tbf", "ipv6", "sock_destroy"}) {
    INFO(part);
    CHECK(first[part].get<bool>() != first["missing"].contains(part));
  }
  CHECK(ruleset(net.far) == before);
}

TEST_CASE("without CAP_NET_ADMIN nothing is touched, and the message names it", "[net.rules]") {
  const ReadyPair net;
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
  const pid_t pid = ::fork();
  if (pid == 0) {
    must(::setresuid(65534, 65534, 65534) == 0, "setresuid");
    std::string said;
    Impairment cut = by_rules(net, Hook::arrive, refusal_of(Refusal::silent));
    for (const NetworkNamespace& place : {NetworkNamespace{}, net.far}) {
      cut.place = place;
      try {
        hold_by_rules(cut);
        said += "held ";
      } catch (const Error& error) {
        said += std::string(to_string(error.kind())) + ": " + error.what() + "\n";
      }
    }
    said += may_administer({}) ? "may" : "may not";
    must(::write(ends[1], said.data(), said.size()) > 0, "write");
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said(4096, 0);
  said.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(ends[0], said.data(), said.size()))));
  ::close(ends[0]);
  ::waitpid(pid, nullptr, 0);
  INFO(said);
  CHECK(said.find("privilege: adding the nftables table") == 0);
  CHECK(said.find("CAP_NET_ADMIN") != std::string::npos);
  CHECK(said.find("CAP_SYS_ADMIN") != std::string::npos);  // to enter another namespace
  CHECK(said.find("held") == std::string::npos);
  CHECK(said.find("may not") != std::string::npos);
}

TEST_CASE("a fault is injected and taken back in about a millisecond", "[net.rules]") {
  const ReadyPair net;
  const SystemClock clock;
  try_kernel();  // as a plan does
  for (const Hook hook : both_hooks()) {
    for (const Refusal refusal : {Refusal::silent, Refusal::tcp_reset}) {
      std::vector<double> inject, revert;
      for (int i = 0; i < 100; ++i) {
        const Impairment cut = by_rules(net, hook, refusal_of(refusal));
        const TimePoint begun = clock.now();
        const auto held = hold_by_rules(cut);
        const TimePoint there = clock.now();
        held->release();
        revert.push_back(seconds(clock.now() - there) * 1e3);
        inject.push_back(seconds(there - begun) * 1e3);
        if (hook == Hook::leave && refusal == Refusal::silent) ::usleep(60'000);  // or it waits for the kernel to forget the table before
      }
      std::cout << (hook == Hook::leave ? "leave " : "arrive ") << (refusal == Refusal::silent ? "silent" : "reset") << ": inject " << median(inject) << " ms, revert " << median(revert) << " ms (medians of 100)\n";
      CHECK(median(inject) < 20);
      CHECK(median(revert) < 20);
    }
  }
}
