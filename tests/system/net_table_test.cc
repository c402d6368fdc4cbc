// Every fault of the network on this kernel, for IPv4 and IPv6: injected while somebody else's traffic flows, proved by measurement, taken
// back, and the traffic whole again. `system_tests "[net.table]"` with CAPSIZE_TABLE=FILE writes what was intended and measured as a table.
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include "tests/system/net_injection.h"

using namespace capsize;
using namespace capsize::net_test;

namespace {

enum class Kind { tcp, udp, dns };

std::string query_for(const std::string& first, const std::string& second) {
  std::string out("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  for (const std::string& label : {first, second}) out += static_cast<char>(label.size()), out += label;
  return out + std::string("\x00\x00\x01\x00\x01", 5);
}

// Somebody's traffic with the service, until it is dropped: a new connection every 20 ms of which the last ones stay open, or bursts of datagrams.
class Traffic {
 public:
  Traffic(const BoundSocket& service, int family, Kind kind) : service_(service), family_(family), kind_(kind), thread_([this] { flow(); }) {}
  ~Traffic() {
    over_ = true;
    thread_.join();
  }
  int rounds() const { return rounds_; }

 private:
  void flow() {
    std::vector<UniqueFd> open;
    while (!over_) {
      if (kind_ == Kind::tcp) {
        for (int accepted; (accepted = ::accept4(service_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) open.emplace_back(accepted);
        UniqueFd fd(::socket(family_, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const SocketAddress where = loopback(family_, service_.port);
        ::connect(fd.get(), where.get(), where.size);
        open.push_back(std::move(fd));
        if (open.size() > 200) open.erase(open.begin(), open.begin() + 100);
      } else {
        send_datagrams(family_, service_.port, 50, kind_ == Kind::dns ? query_for("db", "staging") : std::string(200, 'x'));
        service_.drain();
      }
      ++rounds_;
      ::usleep(20000);
    }
  }

  const BoundSocket& service_;
  int family_;
  Kind kind_;
  std::atomic<bool> over_ = false;
  std::atomic<int> rounds_ = 0;
  std::thread thread_;
};

struct Case {
  const char* fault;
  Kind kind;
  Json params;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"net.delay", Kind::tcp, {{"delay", "40ms"}, {"direction", "both"}}},
      {"net.delay", Kind::udp, {{"delay", "40ms"}, {"jitter", "10ms"}, {"distribution", "normal"}, {"correlation", "25%"}}},
      {"net.loss", Kind::udp, {{"share", "20%"}}},
      {"net.loss", Kind::udp, {{"enter_bad", "10%"}, {"leave_bad", "30%"}}},
      {"net.duplicate", Kind::udp, {{"share", "20%"}}},
      {"net.corrupt", Kind::udp, {{"share", "20%"}}},
      {"net.reorder", Kind::udp, {{"share", "20%"}, {"delay", "5ms"}}},
      {"net.rate", Kind::udp, {{"rate", "200kbit/s"}, {"queue", "100ms"}}},
      {"net.partition", Kind::tcp, Json::object()},
      {"net.blackhole", Kind::tcp, Json::object()},
      {"net.reject", Kind::tcp, {{"with", "tcp_reset"}}},
      {"net.reject", Kind::udp, {{"with", "unreachable"}}},
      {"net.cut", Kind::tcp, Json::object()},
      {"net.dns", Kind::dns, {{"names", {"db.staging"}}}},
      {"net.dns", Kind::dns, {{"names", {"*.staging"}}, {"answer", "nxdomain"}}},
      {"net.dns", Kind::dns, {{"names", {"db.staging"}}, {"answer", "delay"}, {"delay", "50ms"}}},
      {"backend.latency", Kind::tcp, {{"later", "60ms"}}},
  };
  return all;
}

// The service is selected as a service, and by net.partition as what lies between two sets of addresses.
std::unique_ptr<Injection> inject(const Case& one, const BoundSocket& service, int family) {
  const char* protocol = one.kind == Kind::tcp ? "tcp" : "udp";
  if (std::string(one.fault) != "net.partition") return std::make_unique<Injection>(one.fault, "service", service.target(protocol), one.params);
  const char* own = family == AF_INET6 ? "::1" : "127.0.0.1";
  return std::make_unique<Injection>(one.fault, "network", Json{{"local", {own}}, {"peers", {own}}, {"peer_ports", {service.port}}, {"protocol", protocol}}, one.params);
}

bool whole_again(const BoundSocket& service, int family, Kind kind) {
  if (kind == Kind::tcp) return connect_to(family, service.port, 10000) == Outcome::connected;
  service.drain();
  send_datagrams(family, service.port, 50, "after");
  return service.drain() == 50;
}

void write_row(const Case& one, int family, const Injection& injection, const Effect& effect) {
  const char* file = std::getenv("CAPSIZE_TABLE");
  if (file == nullptr) return;
  const Json args = injection.plan.steps.at(0).apply.args;
  const std::string backend = injection.plan.steps[0].apply.type == "net.cut" ? "sock_diag" : std::string(to_string(injection.impairment().backend));
  std::ofstream(file, std::ios::app) << "| " << one.fault << ' ' << one.params.dump() << " | " << (family == AF_INET6 ? "IPv6" : "IPv4") << " | " << backend << " | "
                                     << effect.intended.dump() << " | " << effect.because << " |\n";
}

}  // namespace

TEST_CASE("every fault of the network is proved by measurement and leaves nothing, in IPv4 and IPv6", "[net.table]") {
  for (const Case& one : cases()) {
    for (const int family : {AF_INET, AF_INET6}) {
      INFO(one.fault << ' ' << one.params.dump() << (family == AF_INET6 ? " IPv6" : " IPv4"));
      const BoundSocket service(family, one.kind == Kind::tcp ? SOCK_STREAM : SOCK_DGRAM);
      {
        const Traffic traffic(service, family, one.kind);
        SystemClock clock;
        const TimePoint end = clock.now() + process_test::kPatience;
        while (traffic.rounds() < 3 && clock.now() < end) ::usleep(1000);
        const auto injection = inject(one, service, family);
        const Effect effect = injection->effect_in_time();
        INFO(effect.because);
        CHECK(effect.bites);
        CHECK_FALSE(effect.intended.empty());
        CHECK_FALSE(effect.measured.empty());
        write_row(one, family, *injection, effect);
        if (std::string(one.fault) == "net.cut") injection->undo();  // what is cut stays cut: there is no table
        else check_gone(*injection);
      }
      CHECK(whole_again(service, family, one.kind));
    }
  }
}
