#include "tests/sim/fake_haproxy.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>
#include <stdexcept>

namespace capsize {
namespace {

constexpr std::int64_t kCycleScale = 16;  // HAProxy's BE_WEIGHT_SCALE

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> out(1);
  for (const char c : text) {
    if (c == by) out.emplace_back();
    else out.back() += c;
  }
  return out;
}

std::vector<std::string> words_of(const std::string& command) {
  std::istringstream in(command);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

std::string trouble(bool numbered, const std::string& text) { return (numbered ? "[3]: " : "") + text + "\n"; }

std::optional<std::int64_t> whole_number(const std::string& text) {
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

FakeHaproxy::FakeHaproxy(std::string backend, std::vector<Server> servers) : backend_(std::move(backend)), servers_(std::move(servers)) {
  for (Server& server : servers_) {
    server.weight = server.initial_weight;
    server.max_connections = server.initial_max_connections;
  }
  end_cycle();
}

FakeHaproxy::Server& FakeHaproxy::server(std::string_view name) {
  for (Server& server : servers_) {
    if (server.name == name) return server;
  }
  throw std::out_of_range("no server " + std::string(name));
}

void FakeHaproxy::reload(bool keep_settings) {
  pid_ += 7;
  start_ += 60;
  queued_ = 0;
  for (Server& server : servers_) {
    server.current_sessions = 0;
    server.total_sessions = 0;
    server.max_connections = server.initial_max_connections;  // a server-state file does not hold it
    if (keep_settings) continue;
    server.weight = server.initial_weight;
    server.admin_state = 0;
  }
  end_cycle();
}

std::int64_t FakeHaproxy::weights() const {
  std::int64_t sum = 0;
  for (const Server& server : servers_) sum += server.in_service() ? server.weight : 0;
  return sum;
}

void FakeHaproxy::end_cycle() {
  cycle_weights_ = weights();
  cycle_position_ = 0;
  for (Server& server : servers_) server.exiled = false;
}

// Smooth weighted round-robin among those that may take one.
std::optional<std::size_t> FakeHaproxy::pick() {
  std::optional<std::size_t> best;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    Server& server = servers_[i];
    if (!server.in_service() || server.exiled || server.full()) continue;
    server.credit += server.weight;
    sum += server.weight;
    if (!best || server.credit > servers_[*best].credit) best = i;
  }
  if (best) servers_[*best].credit -= sum;
  return best;
}

std::optional<std::size_t> FakeHaproxy::arrive() {
  ++queued_total_;
  if (queued_ > 0) {  // HAProxy does not let a newcomer overtake
    ++queued_;
    return std::nullopt;
  }
  if (cycle_position_ >= kCycleScale * cycle_weights_) end_cycle();
  std::optional<std::size_t> chosen = pick();
  if (!chosen) {
    end_cycle();
    chosen = pick();
  }
  if (!chosen) {
    if (weights() > 0) ++queued_;
    return std::nullopt;
  }
  ++cycle_position_;
  ++servers_[*chosen].current_sessions;
  ++servers_[*chosen].total_sessions;
  return chosen;
}

void FakeHaproxy::dequeue_to(std::size_t index) {
  --queued_;
  ++servers_[index].current_sessions;
  ++servers_[index].total_sessions;
}

bool FakeHaproxy::finish(std::size_t index) {
  Server& server = servers_.at(index);
  --server.current_sessions;
  if (queued_ == 0 || !server.in_service() || server.full()) return false;
  dequeue_to(index);
  return true;
}

std::string FakeHaproxy::answer(std::string_view line) {
  bool numbered = false;
  std::string out;
  for (const std::string& command : split(line, ';')) {
    const std::vector<std::string> words = words_of(command);
    if (words.empty()) continue;
    if (words[0] == "set" && words.size() == 3 && words[1] == "severity-output") {
      numbered = words[2] == "number";
      out += "\n";
      continue;
    }
    out += one_command(command, numbered) + "\n";
  }
  return out;
}

std::string FakeHaproxy::one_command(const std::string& command, bool numbered) {
  const std::vector<std::string> words = words_of(command);
  const auto is = [&](std::size_t at, std::string_view word) { return words.size() > at && words[at] == word; };
  if (is(0, "show") && is(1, "info")) return info();
  if (is(0, "show") && is(1, "servers") && is(2, "state")) return words.size() < 4 || words[3] == backend_ ? servers_state() : trouble(numbered, "Can't find backend.");
  if (is(0, "show") && is(1, "stat")) return words.size() < 3 || words[2] == backend_ ? stat() : trouble(numbered, "No such proxy.");
  if (is(0, "show") && is(1, "sess")) {
    std::string out;
    for (int i = 0; i <= other_cli_sessions; ++i) out += fmt::format("0x55d0{:04x}: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 age=0s\n", i);
    return out;
  }
  if (is(0, "set") && words.size() >= 4) {
    if (!admin_level) return trouble(numbered, "Permission denied");
    changes.push_back(command);
    std::string out = set_command(words, numbered);
    if (on_change) on_change(command);
    return out;
  }
  return (numbered ? "[6]: " : std::string()) + "Unknown command: '" + command + "', but maybe one of the following ones is a better match:\n  help\n";
}

std::string FakeHaproxy::set_command(const std::vector<std::string>& words, bool numbered) {
  const bool max_connections = words[1] == "maxconn" && words[2] == "server" && words.size() == 5;
  const bool setting = words[1] == "server" && words.size() == 5;
  if (!max_connections && !setting) return (numbered ? "[6]: " : std::string()) + "Unknown command\n";
  const std::vector<std::string> place = split(max_connections ? words[3] : words[2], '/');
  Server* found = nullptr;
  for (Server& server : servers_) {
    if (place.size() == 2 && place[0] == backend_ && server.name == place[1]) found = &server;
  }
  if (found == nullptr) return trouble(numbered, "No such server.");
  if (max_connections) return set_max_connections(*found, words[4], numbered);
  if (words[3] == "weight") return set_weight(*found, words[4], numbered);
  if (words[3] == "state") return set_state(*found, words[4], numbered);
  return trouble(numbered, "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | health | state | weight");
}

std::string FakeHaproxy::set_weight(Server& server, const std::string& value, bool numbered) {
  const auto weight = whole_number(value);
  if (!weight || *weight < 0 || *weight > 256) return trouble(numbered, "Absolute weight can only be between 0 and 256 inclusive.");
  if (ignores_changes) return {};
  const std::int64_t before = server.weight;
  server.weight = *weight;
  server.credit = 0;
  if (before == 0) {
    server.exiled = false;
  } else if (*weight > 0 && *weight != before) {
    server.exiled = kCycleScale * weights() <= cycle_position_;
  }
  return {};
}

std::string FakeHaproxy::set_state(Server& server, const std::string& value, bool numbered) {
  if (value != "ready" && value != "drain" && value != "maint") return trouble(numbered, "'set server <srv> state' expects 'ready', 'drain' and 'maint'.");
  if (ignores_changes) return {};
  server.admin_state &= ~9;
  if (value == "maint") server.admin_state |= 1;
  if (value == "drain") server.admin_state |= 8;
  server.exiled = false;
  server.credit = 0;
  return {};
}

std::string FakeHaproxy::set_max_connections(Server& server, const std::string& value, bool numbered) {
  const auto limit = whole_number(value);
  if (!limit) return trouble(numbered, "Integer value expected.");
  if (ignores_changes) return {};
  server.max_connections = *limit;
  const auto index = static_cast<std::size_t>(&server - servers_.data());
  while (queued_ > 0 && server.in_service() && !server.full()) {
    dequeue_to(index);
    if (on_dequeue) on_dequeue(index);
  }
  return {};
}

std::string FakeHaproxy::info() const {
  return fmt::format("Name: HAProxy\nVersion: 2.6.12-fake\nNbthread: 1\nPid: {}\nUptime_sec: 1\nStart_time_sec: {}\n", pid_, start_);
}

std::string FakeHaproxy::servers_state() const {
  std::string out =
      "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status "
      "srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord\n";
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    const Server& server = servers_[i];
    const int op_state = server.up && (server.admin_state & 1) == 0 ? 2 : 0;
    out += fmt::format("3 {} {} {} 127.0.0.1 {} {} {} {} 0 1 0 2 0 {} 0 0 - {} -\n", backend_, i + 1, server.name, op_state, server.admin_state, server.weight, server.initial_weight,
                       server.agent_check ? 22 : 0, 20001 + i);
  }
  return out;
}

std::string FakeHaproxy::stat() const {
  std::string out = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,econ,eresp,status,weight,act,bck,lbtot,type,algo,\n";
  std::int64_t sessions = 0;
  for (const Server& server : servers_) {
    const char* status = (server.admin_state & 1) != 0 ? "MAINT" : (server.admin_state & 8) != 0 || server.weight == 0 ? "DRAIN" : server.up ? "UP" : "DOWN";
    out += fmt::format("{},{},0,0,{},0,{},{},0,0,0,0,{},{},{},{},{},2,,\n", backend_, server.name, server.current_sessions,
                       server.max_connections > 0 ? std::to_string(server.max_connections) : "", server.total_sessions, status, server.weight, server.backup ? 0 : 1, server.backup ? 1 : 0,
                       server.total_sessions);
    sessions += server.current_sessions;
  }
  return out + fmt::format("{},BACKEND,{},0,{},0,200,{},0,0,0,0,{},{},{},0,{},1,{},\n", backend_, queued_, sessions + queued_, queued_total_, weights() > 0 ? "UP" : "DOWN", weights(),
                           servers_.size(), queued_total_, algorithm);
}

}  // namespace capsize
