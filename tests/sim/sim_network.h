// The network of the simulated world: the impairments in force, what they do to a message between two addresses, and the ops that put
// them there. Faults of the network plan, journal and prove themselves as ever; only packets are modelled.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "injector/base/clock.h"
#include "injector/base/param_types.h"
#include "injector/base/rng.h"
#include "injector/net/backends.h"
#include "injector/net/impairment.h"
#include "injector/op_type.h"

namespace capsize {

// One at a time: the ops act on the one that is there.
class SimNetwork {
 public:
  explicit SimNetwork(Clock& clock);
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  bool undisturbed() const { return held_.empty(); }
  // One message of a TCP connection. Returns when it has arrived: a packet that is lost is sent again after 200 ms, then 400 ms, and so on,
  // for as long as it takes. False: the connection was reset.
  Task<bool> carry(Address from, Address to);
  // How long a connection takes to come about and one message each way; nothing: longer than `limit`, or refused.
  std::optional<Duration> round_trips(const Address& from, const Address& to, int messages, Duration limit);

  struct HeldNow {
    Impairment impairment;
    ImpairCounts counts;
    TimePoint since;
  };
  const HeldNow* find(const std::string& name) const;
  void hold(Impairment impairment);
  void release(const std::string& name) { held_.erase(name); }
  std::uint64_t next_nonce() { return ++nonces_; }

 private:
  enum class Fate { arrives, lost, reset };
  struct Sent {
    Fate fate = Fate::arrives;
    Duration delay{};
  };
  Sent send(const Address& from, const Address& to);

  Clock& clock_;
  Rng rng_{1};
  std::map<std::string, HeldNow> held_;
  std::uint64_t nonces_ = 0;
};

const std::vector<OpType>& sim_network_ops();

}  // namespace capsize
