#include "tests/system/real_haproxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace capsize {
namespace {

using asio::ip::tcp;
constexpr auto kPatience = std::chrono::seconds(20);

UniqueFd connect_to(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return UniqueFd();
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  timeval limit{10, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

// A port that was free a moment ago.
std::uint16_t free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 || ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no free port");
  }
  return ntohs(address.sin_port);
}

Task<> answer_one(tcp::socket socket, Duration service_time) {
  boost::system::error_code problem;
  std::string request;
  auto space = asio::dynamic_buffer(request, 65536);
  co_await asio::async_read_until(socket, space, "\r\n\r\n", asio::redirect_error(asio::use_awaitable, problem));
  asio::steady_timer timer(socket.get_executor(), service_time);
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, problem));
  const std::string reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  const auto bytes = asio::buffer(reply);
  co_await asio::async_write(socket, bytes, asio::redirect_error(asio::use_awaitable, problem));
}

Task<> accept_all(std::shared_ptr<tcp::acceptor> acceptor, Duration service_time) {
  while (true) {
    boost::system::error_code problem;
    tcp::socket socket = co_await acceptor->async_accept(asio::redirect_error(asio::use_awaitable, problem));
    if (problem) co_return;
    asio::co_spawn(acceptor->get_executor(), answer_one(std::move(socket), service_time), asio::detached);
  }
}

}  // namespace

void wait_until(const std::string& what, const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("waited in vain until " + what);
    ::poll(nullptr, 0, 1);
  }
}

struct SlowServers::Shared {
  asio::io_context io;
};

SlowServers::SlowServers(int count, Duration service_time) : shared_(std::make_unique<Shared>()) {
  for (int i = 0; i < count; ++i) {
    auto acceptor = std::make_shared<tcp::acceptor>(shared_->io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    ports_.push_back(acceptor->local_endpoint().port());
    asio::co_spawn(shared_->io, accept_all(acceptor, service_time), asio::detached);
  }
  thread_ = std::thread([this] { shared_->io.run(); });
}

SlowServers::~SlowServers() {
  shared_->io.stop();
  thread_.join();
}

RealHaproxy::RealHaproxy(Options options) : options_(std::move(options)) {
  std::string name = (std::filesystem::temp_directory_path() / "capsize-haproxy-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for HAProxy");
  folder_ = name;
  socket_ = folder_ + "/admin.sock";
  port_ = free_port();
  for (std::size_t i = 0; options_.ports.empty() && i < options_.servers.size(); ++i) own_ports_.push_back(free_port());
  std::ofstream(folder_ + "/state").flush();
  write_config();
  start();
}

RealHaproxy::~RealHaproxy() {
  end();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void RealHaproxy::write_config() const {
  std::ofstream out(folder_ + "/haproxy.cfg");
  out << "global\n  stats socket " << socket_ << " mode 600 level admin\n  nbthread " << options_.threads << "\n";
  if (options_.keeps_state) out << "  server-state-file " << folder_ << "/state\n";
  out << "defaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n  timeout queue 500ms\n";
  if (options_.keeps_state) out << "  load-server-state-from-file global\n";
  out << "frontend entry\n  bind 127.0.0.1:" << port_ << "\n  default_backend auth\nbackend auth\n  balance " << options_.balance << "\n";
  for (std::size_t i = 0; i < options_.servers.size(); ++i) {
    const std::uint16_t port = options_.ports.empty() ? own_ports_[i] : options_.ports[i];
    out << "  server auth" << i + 1 << " 127.0.0.1:" << port << " " << options_.servers[i] << "\n";
  }
  for (std::size_t i = 0; i < own_ports_.size(); ++i) {
    out << "frontend server" << i + 1 << "\n  bind 127.0.0.1:" << own_ports_[i] << "\n  http-request return status 200 content-type text/plain string " << i << "\n";
  }
}

void RealHaproxy::start() {
  const std::string config = folder_ + "/haproxy.cfg";
  const std::string master = folder_ + "/master.sock,mode,600";
  std::vector<std::string> words = {"haproxy", "-f", config};
  if (options_.master_worker) words.insert(words.end(), {"-W", "-S", master});
  else words.push_back("-db");
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    const int log = ::open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(log, 1);
    ::dup2(log, 2);
    ::execvp("haproxy", pointers.data());
    ::_exit(127);
  }
  wait_until("HAProxy answers", [&] { return ask("show info").find("Pid: ") != std::string::npos; });
}

std::string RealHaproxy::ask(const std::string& commands) const {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_.copy(address.sun_path, sizeof address.sun_path - 1);
  const std::string line = commands + "\n";
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  if (::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) return {};
  ::shutdown(fd.get(), SHUT_WR);
  std::string reply;
  char buffer[65536];
  for (ssize_t count; (count = ::read(fd.get(), buffer, sizeof buffer)) > 0;) reply.append(buffer, static_cast<std::size_t>(count));
  return reply;
}

std::string RealHaproxy::settings() const {
  std::istringstream state(ask("show servers state auth"));
  std::string out;
  for (std::string line; std::getline(state, line);) {
    std::istringstream words(line);
    std::string word;
    // address, op state, admin state, weight, weight of the configuration, and then check and agent settings, without the time
    for (int column = 0; words >> word; ++column) out += column == 9 || (column >= 10 && column <= 12) ? "" : word + " ";
    out += "\n";
  }
  std::istringstream stat(ask("show stat auth 4 -1"));
  for (std::string line; std::getline(stat, line);) {
    std::istringstream fields(line);
    std::string field;
    for (int column = 0; std::getline(fields, field, ','); ++column) out += column == 1 || column == 6 ? field + " " : "";
  }
  return out;
}

std::int64_t RealHaproxy::weight(const std::string& server) const {
  const std::string reply = ask("get weight auth/" + server);
  return reply.empty() ? -1 : std::stoll(reply);
}

void RealHaproxy::reload() {
  if (options_.keeps_state) std::ofstream(folder_ + "/state") << ask("show servers state");
  const auto worker = [this] {
    const std::string info = ask("show info");
    const std::size_t at = info.find("\nPid: ");
    return at == std::string::npos ? std::string() : info.substr(at, info.find('\n', at + 1) - at);
  };
  const std::string before = worker();
  // A master that has just begun drops a signal: its worker answers before the master's own loop runs.
  auto ask_again = std::chrono::steady_clock::time_point::min();
  wait_until("a new worker answers", [&] {
    const std::string now = worker();
    if (!now.empty() && now != before) return true;
    if (std::chrono::steady_clock::now() > ask_again) {
      ::kill(pid_, SIGUSR2);
      ask_again = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    }
    return false;
  });
}

void RealHaproxy::stop() { ::kill(pid_, SIGSTOP); }
void RealHaproxy::resume() { ::kill(pid_, SIGCONT); }

void RealHaproxy::end() {
  if (pid_ <= 0) return;
  resume();
  ::kill(pid_, SIGTERM);  // the master ends its workers with it
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  while (::waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) ::kill(pid_, SIGKILL);
    ::poll(nullptr, 0, 1);
  }
  pid_ = -1;
}

Requests::Requests(std::uint16_t port) : socket_(connect_to(port)) {
  if (!socket_) throw std::runtime_error("HAProxy's frontend does not answer");
}

std::size_t Requests::next() {
  const std::string request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
  if (::send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) throw std::runtime_error("HAProxy ended the connection");
  std::string reply;
  while (true) {
    char buffer[4096];
    const ssize_t count = ::read(socket_.get(), buffer, sizeof buffer);
    if (count <= 0) throw std::runtime_error("HAProxy ended the connection: " + reply);
    reply.append(buffer, static_cast<std::size_t>(count));
    const std::size_t head = reply.find("\r\n\r\n");
    if (head == std::string::npos || reply.size() < head + 5) continue;
    if (reply.compare(0, 12, "HTTP/1.1 200") != 0) throw std::runtime_error("not a 200: " + reply);
    return static_cast<std::size_t>(reply[head + 4] - '0');
  }
}

std::vector<std::size_t> Requests::next(int count) {
  std::vector<std::size_t> taken;
  while (count-- > 0) taken.push_back(next());
  return taken;
}

std::int64_t longest_wait(const std::vector<std::size_t>& taken, std::size_t servers) {
  std::vector<std::int64_t> waits(servers);
  std::int64_t longest = 0;
  for (const std::size_t server : taken) {
    for (std::size_t s = 0; s < servers; ++s) longest = std::max(longest, waits[s] = s == server ? 0 : waits[s] + 1);
  }
  return longest;
}

Clients::Clients(std::uint16_t port, int count) {
  for (int i = 0; i < count; ++i) {
    threads_.emplace_back([this, port] {
      while (!stop_) {
        const UniqueFd fd = connect_to(port);
        const std::string request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        if (!fd || ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) continue;
        char buffer[4096];
        while (::read(fd.get(), buffer, sizeof buffer) > 0) {
        }
      }
    });
  }
}

Clients::~Clients() {
  stop_ = true;
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace capsize
