// net.watch: what impairments have done so far, and how long our own connections take. An echo of ours meets the fault too, so what it
// causes is told apart from the traffic that the fault is for.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <map>

#include "injector/base/error.h"
#include "injector/base/within.h"
#include "injector/net/held_impairments.h"
#include "injector/net/packet_rules.h"
#include "injector/netlink/network_namespace.h"
#include "injector/ops/net_looks.h"

namespace capsize {
namespace {

using tcp = asio::ip::tcp;

constexpr int kMaxAttempts = 20;
constexpr Duration kMaxLimit = std::chrono::seconds(4);

struct Knock {
  explicit Knock(tcp::socket made) : socket(std::move(made)) {}
  tcp::socket socket;
  TimePoint begun;
  Duration took{};
  boost::system::error_code problem;
  bool over = false;
};

// Closes what is still waiting when nobody waits for it any more.
struct Knocks {
  explicit Knocks(const asio::any_io_executor& executor) : finished(executor) { finished.expires_at(asio::steady_timer::time_point::max()); }
  void close() {
    for (Knock& knock : all) {
      boost::system::error_code ignored;
      knock.socket.close(ignored);
    }
  }
  std::vector<Knock> all;
  std::size_t waiting = 0;
  asio::steady_timer finished;
};

struct CloseAtEnd {
  std::shared_ptr<Knocks> knocks;
  ~CloseAtEnd() { knocks->close(); }
};

Task<> until_all_are_over(std::shared_ptr<Knocks> knocks) {
  while (knocks->waiting > 0) {  // a cancelled coroutine throws at its next await
    boost::system::error_code ignored;
    co_await knocks->finished.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

std::vector<tcp::socket> sockets_at(const NetworkNamespace& place, const asio::any_io_executor& executor, const tcp::endpoint& where, int attempts) {
  std::vector<tcp::socket> out;
  in_network_namespace(place, [&] {
    for (int i = 0; i < attempts; ++i) {
      tcp::socket socket(executor);
      boost::system::error_code problem;
      socket.open(where.protocol(), problem);
      if (problem) throw system_error(problem.value(), "cannot make a connection of our own to see the effect by");
      out.push_back(std::move(socket));
    }
  });
  return out;
}

void start(const std::shared_ptr<Knocks>& knocks, std::size_t index, const tcp::endpoint& where, Clock& clock) {
  Knock& knock = knocks->all[index];
  knock.begun = clock.now();
  knock.socket.async_connect(where, [knocks, index, &clock](boost::system::error_code problem) {
    Knock& mine = knocks->all[index];
    mine.problem = problem;
    mine.took = problem == asio::error::operation_aborted ? Duration{} : clock.now() - mine.begun;
    mine.over = true;
    if (--knocks->waiting == 0) knocks->finished.cancel();
  });
}

double milliseconds(Duration duration) { return static_cast<double>(duration.count()) / 1e6; }

Json result_of(const Knocks& knocks, const std::string& where, Duration limit) {
  std::vector<Duration> times;
  int refused = 0;
  int timed_out = 0;
  std::string problem;
  for (const Knock& knock : knocks.all) {
    if (!knock.over) ++timed_out;
    else if (!knock.problem) times.push_back(knock.took);
    else ++refused, problem = knock.problem.message();
  }
  std::sort(times.begin(), times.end());
  Json out = {{"connect", where}, {"attempts", knocks.all.size()}, {"connected", times.size()}, {"refused", refused}, {"timed_out", timed_out}, {"limit_ms", milliseconds(limit)}};
  if (!times.empty()) out["p50_ms"] = milliseconds(times[times.size() / 2]), out["min_ms"] = milliseconds(times.front());
  if (!problem.empty()) out["problem"] = problem;
  return out;
}

Task<Json> knock(std::string text, NetworkNamespace place, int attempts, Duration limit, OpContext& context) {
  const auto parsed = parse_address(text);
  const auto* address = std::get_if<Address>(&parsed);
  if (address == nullptr) throw Error(ErrorKind::bug, "net.watch: " + std::get<Mistake>(parsed).fact);
  boost::system::error_code problem;
  const tcp::endpoint where(asio::ip::make_address(address->host, problem), address->port);
  if (problem) throw Error(ErrorKind::bug, "net.watch connects to addresses, not to " + address->host);
  const auto executor = co_await asio::this_coro::executor;
  const auto knocks = std::make_shared<Knocks>(executor);
  const CloseAtEnd closing{knocks};
  for (tcp::socket& socket : sockets_at(place, executor, where, attempts)) knocks->all.emplace_back(std::move(socket));
  knocks->waiting = knocks->all.size();
  for (std::size_t i = 0; i < knocks->all.size(); ++i) start(knocks, i, where, context.clock);
  co_await within(context.clock, limit, until_all_are_over(knocks));
  co_return result_of(*knocks, text, limit);
}

// Per impairment: packets met while our own connections were under way. What else was sent meanwhile is counted as ours, never the reverse.
std::map<std::string, std::uint64_t>& met_by_echo() {
  static std::map<std::string, std::uint64_t> table;
  return table;
}

struct Counted {
  std::string name;
  Json answer;
  std::optional<ImpairCounts> counts;
};

Counted count(const Impairment& impairment, Clock& clock) {
  Counted out;
  out.name = impairment.name;
  out.answer = {{"name", impairment.name}, {"counts", nullptr}, {"there", look_for_table(impairment.place, impairment.name).there}};
  const auto now = find_held(impairment.name);
  if (!now) {
    out.answer["problem"] = "it is not in force";
    return out;
  }
  try {
    out.counts = now->held->counts();
    out.answer["counts"] = to_json(*out.counts);
    out.answer["held_ms"] = milliseconds(clock.now() - now->since);
  } catch (const Error& error) {
    out.answer["problem"] = error.fact();
  }
  return out;
}

Task<Json> look(Json args, OpContext& context) {
  std::vector<Impairment> impairments;
  for (const Json& json : args.value("impairments", Json::array())) impairments.push_back(impairment_from_json(json));
  if (impairments.empty()) throw Error(ErrorKind::bug, "net.watch without an impairment");
  const int attempts = std::clamp(args.value("attempts", 1), 1, kMaxAttempts);
  const auto limit_text = parse_duration(args.value("limit", "1s"));
  const Duration limit = std::holds_alternative<Duration>(limit_text) ? std::min(std::get<Duration>(limit_text), kMaxLimit) : kMaxLimit;
  std::vector<Counted> counted;
  for (const Impairment& one : impairments) counted.push_back(count(one, context.clock));
  Json answer = Json::object();
  answer["echo"] = Json::array();
  for (const Json& echo : args.value("echo", Json::array())) {
    Json result = co_await knock(echo.at("connect").get<std::string>(), impairments.front().place, attempts, limit, context);
    answer["echo"].push_back(std::move(result));
  }
  answer["impairments"] = Json::array();
  for (std::size_t i = 0; i < impairments.size(); ++i) {
    Counted& earlier = counted[i];
    if (earlier.counts) {
      const Counted now = count(impairments[i], context.clock);
      std::uint64_t& ours = met_by_echo()[earlier.name];
      earlier.answer["others"] = earlier.counts->matched - std::min(earlier.counts->matched, ours);
      if (now.counts && !answer["echo"].empty()) ours += now.counts->matched - std::min(now.counts->matched, earlier.counts->matched);
      const Json others = earlier.answer["others"];
      earlier.answer = now.answer;
      earlier.answer["others"] = others;
    }
    answer["impairments"].push_back(std::move(earlier.answer));
  }
  co_return answer;
}

}  // namespace

OpType net_watch() {
  OpType type{"net.watch", Lasts::look, "what impairments have done so far, and how long connections of our own take"};
  type.look = look;
  return type;
}

}  // namespace capsize
