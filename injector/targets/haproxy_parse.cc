// What HAProxy's runtime API prints, as values. Columns are found by name: versions add some in the middle.
#include <charconv>
#include <map>

#include "injector/targets/haproxy.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxServers = 20000;

Error not_understood(const std::string& what, std::string_view found) {
  return Error(ErrorKind::unavailable, "HAProxy's answer is not understood: " + what + ", found \"" + printable(found, 120) + "\"",
               "check that the socket is HAProxy's runtime API, version 2.4 or later");
}

std::int64_t number(std::string_view text, std::string_view column) {
  if (text.empty() || text == "-") return 0;
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) throw not_understood("a number for " + std::string(column), text);
  return value;
}

std::int64_t bounded(std::string_view text, std::string_view column, std::int64_t least, std::int64_t most) {
  const std::int64_t value = number(text, column);
  if (value < least || value > most) throw not_understood(fmt::format("{} between {} and {}", column, least, most), text);
  return value;
}

std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

using Row = std::vector<std::string>;

// One CSV line: fields may be quoted, a quote in a quoted field is doubled.
Row csv_row(std::string_view line) {
  Row row(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      row.back() += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      row.emplace_back();
    } else {
      row.back() += c;
    }
  }
  return row;
}

Row spaced_row(std::string_view line) {
  Row row;
  while (!line.empty()) {
    const std::size_t end = line.find(' ');
    if (end != 0) row.emplace_back(line.substr(0, end));
    line = end == std::string_view::npos ? std::string_view{} : line.substr(end + 1);
  }
  return row;
}

class Table {
 public:
  Table(std::string what, Row header) : what_(std::move(what)) {
    for (std::size_t i = 0; i < header.size(); ++i) columns_.emplace(std::move(header[i]), i);
  }
  // Missing at the end of a row, or a column this version does not have: empty, unless it is one we cannot do without.
  std::string_view at(const Row& row, const std::string& column, bool needed = true) const {
    const auto it = columns_.find(column);
    if (it == columns_.end() || it->second >= row.size()) {
      if (needed) throw not_understood("a column " + column + " in " + what_, row.empty() ? std::string_view{} : std::string_view(row.front()));
      return {};
    }
    return row[it->second];
  }
  std::int64_t count(const Row& row, const std::string& column) const { return number(at(row, column, false), column); }

 private:
  std::string what_;
  std::map<std::string, std::size_t, std::less<>> columns_;
};

// The part of a reply that one command printed: parts end with an empty line.
std::vector<std::string_view> parts_of(std::string_view reply) {
  std::vector<std::string_view> parts;
  const char* begin = nullptr;
  while (!reply.empty()) {
    const std::string_view line = next_line(reply);
    if (line.empty()) {
      begin = nullptr;
      continue;
    }
    if (begin == nullptr) {
      begin = line.data();
      parts.push_back(line);
    } else {
      parts.back() = std::string_view(begin, static_cast<std::size_t>(line.data() + line.size() - begin));
    }
  }
  return parts;
}

// `part`: "1\n# be_id be_name ...\n3 be 1 b1 ..."
void read_servers_state(std::string_view part, BackendState& out) {
  const std::string_view version = next_line(part);
  if (version != "1") throw not_understood("version 1 of the servers' state", version);
  std::string_view header = next_line(part);
  if (!header.starts_with("# ")) throw not_understood("a header of the servers' state", header);
  header.remove_prefix(2);
  const Table table("show servers state", spaced_row(header));
  while (!part.empty()) {
    const std::string_view line = next_line(part);
    if (line.empty()) continue;
    const Row row = spaced_row(line);
    if (table.at(row, "be_name") != out.name) continue;
    if (out.servers.size() >= kMaxServers) throw not_understood("at most 20000 servers", line);
    ServerState server;
    server.backend = out.name;
    server.name = table.at(row, "srv_name");
    if (std::holds_alternative<Mistake>(parse_name(server.name))) throw not_understood("a server's name", server.name);
    server.id = number(table.at(row, "srv_id"), "srv_id");
    server.address = printable(table.at(row, "srv_addr"));
    server.port = number(table.at(row, "srv_port", false), "srv_port");
    server.weight = bounded(table.at(row, "srv_uweight"), "srv_uweight", 0, kMaxWeight);
    server.initial_weight = bounded(table.at(row, "srv_iweight"), "srv_iweight", 0, kMaxWeight);
    server.admin_state = static_cast<int>(bounded(table.at(row, "srv_admin_state"), "srv_admin_state", 0, 255));
    server.op_state = static_cast<int>(bounded(table.at(row, "srv_op_state"), "srv_op_state", 0, 255));
    server.agent_state = static_cast<int>(bounded(table.at(row, "srv_agent_state", false), "srv_agent_state", 0, 255));
    if (out.find(server.name) != nullptr) throw not_understood("one line a server", line);
    out.servers.push_back(std::move(server));
  }
}

void read_server_row(const Table& table, const Row& row, ServerState& server) {
  server.status = printable(table.at(row, "status"), 40);
  server.backup = table.count(row, "bck") > 0;
  server.max_connections = table.count(row, "slim");
  server.current_sessions = table.count(row, "scur");
  server.queued = table.count(row, "qcur");
  server.total_sessions = number(table.at(row, "stot"), "stot");
  server.balanced = table.count(row, "lbtot");
  server.connect_errors = table.count(row, "econ");
  server.response_errors = table.count(row, "eresp");
}

// `part`: "# pxname,svname,...\nbe,b1,...\nbe,BACKEND,..."
void read_stat(std::string_view part, BackendState& out) {
  std::string_view header = next_line(part);
  header.remove_prefix(2);
  const Table table("show stat", csv_row(header));
  std::size_t seen = 0;
  bool backend_seen = false;
  while (!part.empty()) {
    const std::string_view line = next_line(part);
    if (line.empty()) continue;
    const Row row = csv_row(line);
    if (table.at(row, "pxname") != out.name) continue;
    const std::string_view name = table.at(row, "svname");
    if (name == "BACKEND") {
      out.algorithm = printable(table.at(row, "algo", false), 40);
      out.status = printable(table.at(row, "status"), 40);
      out.current_sessions = table.count(row, "scur");
      out.queued = table.count(row, "qcur");
      out.total_sessions = number(table.at(row, "stot"), "stot");
      backend_seen = true;
      continue;
    }
    for (ServerState& server : out.servers) {
      if (server.name != name) continue;
      read_server_row(table, row, server);
      ++seen;
    }
  }
  if (!backend_seen || seen != out.servers.size()) throw not_understood("a line for the backend and for each of its servers", header);
}

}  // namespace

const ServerState* BackendState::find(std::string_view server) const {
  for (const ServerState& candidate : servers) {
    if (candidate.name == server) return &candidate;
  }
  return nullptr;
}

HaproxyProcess parse_haproxy_info(std::string_view text) {
  HaproxyProcess process;
  const std::string_view whole = text;
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    const std::size_t colon = line.find(": ");
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 2);
    if (key == "Pid") process.pid = number(value, key);
    if (key == "Start_time_sec") process.start = number(value, key);
    if (key == "Version") process.version = printable(value, 100);
  }
  if (process.pid <= 0) throw not_understood("a Pid in show info", whole);
  return process;
}

BackendState parse_backend_reply(std::string_view reply, std::string_view backend) {
  BackendState out;
  out.name = backend;
  bool state_seen = false;
  bool stat_seen = false;
  std::string_view stat;
  for (const std::string_view part : parts_of(reply)) {
    if (part.starts_with("Name: ")) {
      out.process = parse_haproxy_info(part);
    } else if (part.starts_with("1\n# ")) {
      read_servers_state(part, out);
      state_seen = true;
    } else if (part.starts_with("# pxname")) {
      stat = part;
      stat_seen = true;
    } else if (part.starts_with("Can't find backend") || part.starts_with("No such proxy")) {
      throw Error(ErrorKind::unavailable, "HAProxy has no backend " + std::string(backend), "look at `show backend` on its socket for the names it has");
    } else if (part.find("Permission denied") != std::string_view::npos) {
      throw Error(ErrorKind::privilege, "HAProxy denies the command on this socket", "use a stats socket of `level admin`");
    }
  }
  if (out.process.pid <= 0 || !state_seen || !stat_seen) throw not_understood("info, servers and statistics", reply);
  read_stat(stat, out);
  return out;
}

std::string rejection(std::string_view reply) {
  while (!reply.empty()) {
    const std::string_view line = next_line(reply);
    const bool numbered = line.size() >= 4 && line[0] == '[' && line[1] >= '0' && line[1] <= '3' && line[2] == ']' && line[3] == ':';
    const bool unknown = line.find("Unknown command") != std::string_view::npos || line.find("Permission denied") != std::string_view::npos;
    if (!numbered && !unknown) continue;
    const std::size_t text = line.find(": ");
    return printable(text == std::string_view::npos ? line : line.substr(text + 2));
  }
  return {};
}

void check_haproxy_name(std::string_view what, std::string_view name) {
  const auto parsed = parse_name(name);
  if (const auto* mistake = std::get_if<Mistake>(&parsed)) throw Error(ErrorKind::refused, std::string(what) + " " + mistake->fact, mistake->remedy);
}

}  // namespace capsize
