// net.connections, net.cut and net.cut_done: connections that are ended as by a network that forgot them: both ends get a reset.
#include "injector/ops/net_cut.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "injector/base/error.h"
#include "injector/net/connections.h"

namespace capsize {
namespace {

constexpr std::size_t kSample = 10;
constexpr std::size_t kMostFailures = 10;
constexpr int kRounds = 3;  // what is accepted while we cut is cut by the next one

Task<Json> look_connections(Json args, OpContext&) {
  const SortedConnections found = find_connections(connection_match_from_json(args));
  Json cookies = Json::array();
  Json sample = Json::array();
  std::size_t v6 = 0;
  std::vector<std::uint64_t> sorted;
  for (const TcpSocket& socket : found.affected) {
    sorted.push_back(socket.identity.cookie);
    v6 += socket.remote.v6 ? 1 : 0;
    if (sample.size() < kSample) sample.push_back(describe(socket));
  }
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < std::min(sorted.size(), kMostCookies); ++i) cookies.push_back(fmt::format("{:x}", sorted[i]));
  co_return Json{{"matching", found.affected.size()}, {"exempt", found.exempt}, {"others", found.others}, {"v4", found.affected.size() - v6}, {"v6", v6},
                 {"cookies", cookies}, {"listed", sorted.size() <= kMostCookies}, {"sample", sample}};
}

struct CutTally {
  std::size_t matching = 0, cut = 0, already_gone = 0, exempt = 0;
  Json failed = Json::array();
};

// False: there was nothing left to cut.
bool cut_round(const ConnectionMatch& match, CutTally& tally) {
  const SortedConnections found = find_connections(match);
  tally.exempt = std::max(tally.exempt, found.exempt);
  if (found.affected.empty()) return false;
  tally.matching += found.affected.size();
  const auto answers = cut_tcp_sockets(match.place, found.affected);
  std::size_t failed = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    tally.cut += answers[i].cut == Cut::done ? 1 : 0;
    tally.already_gone += answers[i].cut == Cut::already_gone ? 1 : 0;
    if (answers[i].cut != Cut::refused) continue;
    ++failed;
    if (tally.failed.size() < kMostFailures) tally.failed.push_back(fmt::format("{}: {}", describe(found.affected[i]), std::strerror(answers[i].error)));
  }
  return failed < answers.size();  // none of them can be cut: another round would not help
}

Task<Applied> apply_cut(Json args, OpContext& context) {
  const ConnectionMatch match = connection_match_from_json(args);
  const TimePoint begun = context.clock.now();
  CutTally tally;
  for (int round = 0; round < kRounds && cut_round(match, tally); ++round) continue;
  Applied applied;
  applied.detail = {{"matching", tally.matching}, {"cut", tally.cut}, {"already_gone", tally.already_gone}, {"exempt", tally.exempt}, {"failed", tally.failed},
                    {"took_ms", seconds(context.clock.now() - begun) * 1e3}};
  if (tally.cut == 0 && !tally.failed.empty()) {
    throw Error(ErrorKind::unavailable, "no connection could be cut: " + tally.failed.front().get<std::string>(), "look at them with: ss -tnp");
  }
  co_return applied;
}

Task<UndoResult> undo_cut(Json args, OpContext&) {
  connection_match_from_json(args);  // what is not ours is still refused
  UndoResult result;
  result.state = UndoState::nothing_to_undo;
  result.because = "a connection that was cut stays cut: whoever lost one connects again, and nothing keeps it from that";
  co_return result;
}

std::vector<std::string> cookies_of(const Json& answer) {
  const auto cookies = answer.find("cookies");
  if (!answer.is_object() || cookies == answer.end() || !cookies->is_array()) throw Error(ErrorKind::bug, "not an answer of net.connections");
  std::vector<std::string> out;
  for (const Json& cookie : *cookies) {
    if (!cookie.is_string()) throw Error(ErrorKind::bug, "not an answer of net.connections");
    out.push_back(cookie.get<std::string>());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

CutCount count_cut(const Json& before, const Json& after) {
  const auto first = cookies_of(before);
  const auto second = cookies_of(after);
  CutCount out;
  out.before = first.size();
  out.whole = before.value("listed", false) && after.value("listed", false);
  for (const std::string& cookie : first) out.gone += std::binary_search(second.begin(), second.end(), cookie) ? 0 : 1;
  return out;
}

OpType net_connections() {
  OpType type{"net.connections", Lasts::look, "which TCP connections a choice of packets concerns"};
  type.look = look_connections;
  return type;
}

OpType net_cut() {
  OpType type{"net.cut", Lasts::until_restart, "ends established TCP connections at once, both ends with a reset"};
  type.apply = apply_cut;
  return type;
}

OpType net_cut_done() {
  OpType type{"net.cut_done", Lasts::until_restart, "says that a cut connection stays cut: there is nothing to undo"};
  type.undo = undo_cut;
  return type;
}

}  // namespace capsize
