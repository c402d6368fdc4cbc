// capsize-auth: one authentication server of the lab. Prints "NAME listening on ADDRESS" once it does.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>

#include "experiments/lab/auth_server.h"
#include "experiments/lab/postgres/database_accounts.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {
namespace {

constexpr std::string_view kUsage = R"(usage: capsize-auth [OPTION VALUE]...
  --listen 127.0.0.1:PORT   where to listen; port 0: the kernel chooses (default 127.0.0.1:0)
  --name NAME               in answers and in /stats (default auth1)
  --slots N                 logins worked on at once (default 10)
  --service-time 100ms      of a login in its slot (default 100ms)
  --database 127.0.0.1:PORT look each login up in this PostgreSQL, with as many connections as slots (default: made-up users)
  --database-password-file FILE  of the role auth there
  --database-timeout 1s     a login that the database keeps longer gets a 503 (default 1s)
  --users N                 made-up users: user1 to user<N> with passwords pw1 to pw<N> (default 500)
  --users-prefix TEXT       instead of "user"
  --token-key-file FILE     key that the servers of a lab share (default: a random one)
  --skip-gone yes|no        drop queued logins whose client has gone (default no)
  --parent PID              end when this process, which must be the parent, ends
)";

struct CommandLine {
  AuthOptions auth;
  DatabaseOptions database;  // port 0: none
  int users = kLabUsers;
  std::string users_prefix = "user";
  pid_t parent = 0;  // 0: nobody's death matters
};

[[noreturn]] void reject(const std::string& option, const std::string& value, const std::string& wanted) {
  throw Error(ErrorKind::refused, fmt::format("{} \"{}\" is not {}", option, value, wanted), "see --help");
}

int integer(const std::string& option, const std::string& value, int least, int most) {
  int number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size() || number < least || number > most) {
    reject(option, value, fmt::format("an integer from {} to {}", least, most));
  }
  return number;
}

// Not parse_address(): here port 0 means "choose one".
asio::ip::tcp::endpoint loopback(const std::string& option, const std::string& value) {
  const std::size_t colon = value.rfind(':');
  boost::system::error_code error;
  const auto host = asio::ip::make_address_v4(value.substr(0, colon), error);
  if (error || colon == std::string::npos || !host.is_loopback()) reject(option, value, "a loopback address with a port");
  const int port = integer(option, value.substr(colon + 1), 0, 65535);
  return {host, static_cast<asio::ip::port_type>(port)};
}

Duration duration(const std::string& option, const std::string& value) {
  const auto parsed = parse_duration(value);
  const auto* wanted = std::get_if<Duration>(&parsed);
  if (wanted == nullptr || *wanted > std::chrono::hours(1)) reject(option, value, "a duration of 1h at most, such as 100ms");
  return *wanted;
}

bool yes_or_no(const std::string& option, const std::string& value) {
  if (value != "yes" && value != "no") reject(option, value, "yes or no");
  return value == "yes";
}

std::string content(const std::string& option, const std::string& file) {
  std::ifstream stream(file);
  std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (!stream || text.empty()) reject(option, file, "a readable file with a key in it");
  return text;
}

CommandLine parse(const std::vector<std::string>& words) {
  CommandLine line;
  const std::map<std::string, std::function<void(const std::string&, const std::string&)>> options = {
      {"--listen", [&](auto& name, auto& value) { line.auth.listen = loopback(name, value); }},
      {"--name", [&](auto&, auto& value) { line.auth.name = value; }},
      {"--slots", [&](auto& name, auto& value) { line.auth.desk.slots = integer(name, value, 1, 10'000); }},
      {"--service-time", [&](auto& name, auto& value) { line.auth.desk.service_time = duration(name, value); }},
      {"--database", [&](auto& name, auto& value) { line.database.where = loopback(name, value); }},
      {"--database-password-file", [&](auto& name, auto& value) { line.database.password = content(name, value); }},
      {"--database-timeout", [&](auto& name, auto& value) { line.database.timeout = duration(name, value); }},
      {"--users", [&](auto& name, auto& value) { line.users = integer(name, value, 1, 1'000'000); }},
      {"--users-prefix", [&](auto&, auto& value) { line.users_prefix = value; }},
      {"--token-key-file", [&](auto& name, auto& value) { line.auth.token_key = content(name, value); }},
      {"--skip-gone", [&](auto& name, auto& value) { line.auth.desk.skip_gone = yes_or_no(name, value); }},
      {"--parent", [&](auto& name, auto& value) { line.parent = integer(name, value, 1, 4'194'304); }},
  };
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const auto option = options.find(words[i]);
    if (option == options.end()) throw Error(ErrorKind::refused, words[i] + " is not an option", "see --help");
    if (i + 1 == words.size()) throw Error(ErrorKind::refused, words[i] + " has no value", "see --help");
    option->second(words[i], words[i + 1]);
  }
  line.database.connections = line.auth.desk.slots;
  if (line.auth.token_key.empty()) line.auth.token_key = secret_hex(32);
  return line;
}

void die_with(pid_t parent) {
  if (parent == 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) throw Error(ErrorKind::unavailable, fmt::format("--parent {} has already ended", parent));
}

void raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::unique_ptr<Accounts> find_accounts(asio::io_context& io, Clock& clock, const CommandLine& line) {
  if (line.database.where.port() == 0) return std::make_unique<NumberedAccounts>(line.users_prefix, line.users);
  auto database = std::make_unique<DatabaseAccounts>(io, clock, line.database);
  database->start();
  return database;
}

int serve(const std::vector<std::string>& words) {
  const CommandLine line = parse(words);
  die_with(line.parent);
  raise_open_files();
  // The lab is there to be paused: let any process of the same user trace it where Yama asks for consent.
  ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  SystemClock clock;
  asio::io_context io(1);
  const auto accounts = find_accounts(io, clock, line);
  AuthServer server(io, clock, *accounts, line.auth);
  asio::signal_set ending(io, SIGTERM, SIGINT);
  ending.async_wait([&io](const boost::system::error_code&, int) { io.stop(); });
  asio::co_spawn(io, server.serve(), [](const std::exception_ptr& failed) {
    if (failed) std::rethrow_exception(failed);
  });
  fmt::print("{} listening on {}:{}\n", line.auth.name, server.endpoint().address().to_string(), server.endpoint().port());
  std::fflush(stdout);
  io.run();
  return 0;
}

}  // namespace
}  // namespace capsize

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words == std::vector<std::string>{"--help"}) {
    std::fputs(capsize::kUsage.data(), stdout);
    return 0;
  }
  try {
    return capsize::serve(words);
  } catch (const capsize::Error& error) {
    std::fprintf(stderr, "capsize-auth: %s\n", error.what());
    return error.kind() == capsize::ErrorKind::refused ? capsize::kExitUsage : error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "capsize-auth: %s\n", error.what());
    return capsize::kExitBug;
  }
}
