#include "injector/host/agent_link.h"

#include <fmt/format.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>

#include "injector/base/error.h"
#include "injector/base/json_lines.h"
#include "injector/base/param_types.h"
#include "injector/base/settle.h"
#include "injector/base/spawn.h"
#include "injector/base/within.h"
#include "injector/host/agent_hello.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxBannerBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxWords = 2048;   // of what the command says on stderr, for error messages
constexpr std::size_t kMaxPrinted = 500;  // of what it prints before the hello, for the same
constexpr int kPingsInLease = 5;
constexpr Duration kEndPause = std::chrono::milliseconds(200);  // between the end of its output and of the process

void add_words(std::string& text, std::string_view line) {
  const std::string words = plain_words(line);
  if (!words.empty()) text += (text.empty() ? "" : " | ") + words;
}

struct Pending {
  explicit Pending(const asio::any_io_executor& executor) : arrived(executor, asio::steady_timer::time_point::max()) {}
  asio::steady_timer arrived;
  bool done = false;
  Json reply;
};

}  // namespace

struct AgentLink::State : std::enable_shared_from_this<State> {
  State(const asio::any_io_executor& executor_, Clock& clock_, std::string name_, Child child_, UniqueFd in, UniqueFd out, UniqueFd error)
      : executor(executor_), clock(clock_), name(std::move(name_)), child(std::move(child_)),
        replies(executor_, std::move(in)), requests(executor_, std::move(out)), words(executor_, std::move(error)) {}

  asio::any_io_executor executor;
  Clock& clock;
  std::string name;
  Child child;
  JsonLineReader replies;
  JsonLineWriter requests;
  JsonLineReader words;
  std::string said;     // the end of its stderr
  std::string printed;  // the beginning of what it printed instead of a hello
  Json hello;
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending;
  std::uint64_t last_id = 0;
  int silent_pings = 0;  // counted, not timed, so that our own pause is not taken for the agent's
  bool lost = false;
  bool ending = false;
  std::string because;
  std::function<void(Json)> on_notice;
  std::function<void(std::string)> on_lost;

  void lose(const std::string& why) {
    if (lost) return;
    lost = true;
    because = why;
    if (!said.empty()) because += fmt::format(" (it said: {})", said);
    requests.close();
    replies.close();
    for (auto& [id, waiting] : std::exchange(pending, {})) {
      waiting->done = true;
      waiting->arrived.cancel();
    }
    if (on_lost && !ending) on_lost(because);
  }

  Error no_hello(std::string fact) const { return no_agent({name, std::move(fact), said, printed}); }

  void take(const Json& line) {
    silent_pings = 0;
    if (!line.is_object()) return;
    if (line.contains("notice")) {
      if (on_notice) on_notice(line["notice"]);
      return;
    }
    const auto id = line.find("id");
    if (id == line.end() || !id->is_number_unsigned()) return;
    const auto waiting = pending.find(id->get<std::uint64_t>());
    if (waiting == pending.end()) return;  // nobody waits for it any more
    waiting->second->reply = line;
    waiting->second->done = true;
    waiting->second->arrived.cancel();
    pending.erase(waiting);
  }

  static Task<> read_replies(std::shared_ptr<State> state);
  static Task<> read_words(std::shared_ptr<State> state);
  static Task<> ping(std::shared_ptr<State> state, Duration lease);
  static Task<> read_hello(std::shared_ptr<State> state);
  static Task<> wait(std::shared_ptr<Pending> pending);
  static Task<std::string> how_it_ended(std::shared_ptr<State> state);
};

Task<std::string> AgentLink::State::how_it_ended(std::shared_ptr<State> state) {
  auto waiting = within<void>(state->clock, kEndPause, wait_for_end(state->child.pidfd.get()));
  co_await settle(std::move(waiting));
  const auto ended = reap(state->child);
  co_return ended ? describe(*ended) : std::string("its output ended");
}

Task<> AgentLink::State::read_replies(std::shared_ptr<State> state) {
  std::string why;
  try {
    for (;;) {
      const auto line = co_await state->replies.read();
      if (!line) break;
      state->take(*line);
    }
  } catch (const std::exception& problem) {
    why = problem.what();
  }
  if (state->lost) co_return;
  if (why.empty()) {
    why = co_await how_it_ended(state);
  }
  state->lose(fmt::format("the agent ({}) is gone: {}", state->name, why));
}

Task<> AgentLink::State::read_words(std::shared_ptr<State> state) {
  for (;;) {
    const auto line = co_await state->words.read_line();
    if (!line) co_return;
    add_words(state->said, *line);
    while (state->said.size() > kMaxWords && state->said.find(" | ") != std::string::npos) state->said.erase(0, state->said.find(" | ") + 3);
  }
}

Task<> AgentLink::State::ping(std::shared_ptr<State> state, Duration lease) {
  while (!state->lost) {
    if (state->silent_pings++ > kPingsInLease) {
      kill_child(state->child);  // of a far agent, this is the command that leads there: the agent's own lease does the rest
      state->lose(fmt::format("the agent ({}) has said nothing for {}", state->name, show(lease)));
      co_return;
    }
    Json request = {{"id", ++state->last_id}, {"do", "ping"}};
    if (!state->requests.send(request)) state->lose(fmt::format("the agent ({}) does not read", state->name));
    co_await state->clock.sleep(lease / kPingsInLease);
  }
}

Task<> AgentLink::State::read_hello(std::shared_ptr<State> state) {
  std::size_t banner = 0;
  for (;;) {
    const auto line = co_await state->replies.read_line();
    if (!line) {
      const std::string how = co_await how_it_ended(state);
      throw state->no_hello("did not become an agent: " + how);
    }
    if (auto hello = hello_in(*line)) {
      state->hello = std::move(*hello);
      break;
    }
    if (state->printed.size() < kMaxPrinted) add_words(state->printed, *line);
    banner += line->size() + 1;
    if (banner > kMaxBannerBytes) throw state->no_hello(fmt::format("printed {} bytes and no hello of an agent", banner));
  }
  const Json version = state->hello.value("version", Json());
  if (version != CAPSIZE_VERSION) {
    throw Error(ErrorKind::unavailable, fmt::format("the agent of {} is version {}, this is {}", state->name, version.dump(), CAPSIZE_VERSION),
                "install the same version on both machines");
  }
}

Task<> AgentLink::State::wait(std::shared_ptr<Pending> pending) {
  while (!pending->done) {
    boost::system::error_code ignored;
    co_await pending->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

Task<std::unique_ptr<AgentLink>> AgentLink::start(Clock& clock, std::vector<std::string> command, Duration hello_limit) {
  signal(SIGPIPE, SIG_IGN);  // an agent that is gone is an error of one request, not the end of its caller
  const auto executor = co_await asio::this_coro::executor;
  Pipe to = make_pipe();
  Pipe from = make_pipe();
  Pipe words = make_pipe();
  SpawnRequest request;
  request.command = command;
  request.descriptors = {{0, to.read.get()}, {1, from.write.get()}, {2, words.write.get()}};
  Child child = spawn(request);
  std::string name;
  for (const std::string& word : command) name += (name.empty() ? "" : " ") + word;
  const auto state = std::make_shared<State>(executor, clock, name, std::move(child), std::move(from.read), std::move(to.write), std::move(words.read));
  to.read.reset();
  from.write.reset();
  words.write.reset();
  asio::co_spawn(executor, State::read_words(state), asio::detached);
  auto reading = within<void>(clock, hello_limit, State::read_hello(state));
  const auto hello = co_await settle(std::move(reading));
  if (hello->error || !*hello->value) {
    kill_child(state->child);
    state->lose("it is not an agent");
    state->words.close();
    co_await State::how_it_ended(state);
    if (hello->error) std::rethrow_exception(hello->error);
    throw state->no_hello(fmt::format("said no hello within {}", show(hello_limit)));
  }
  asio::co_spawn(executor, State::read_replies(state), asio::detached);
  co_return std::make_unique<AgentLink>(state);
}

AgentLink::AgentLink(std::shared_ptr<State> state) : state_(std::move(state)) {}

AgentLink::~AgentLink() {
  state_->on_notice = nullptr;
  state_->on_lost = nullptr;
  state_->ending = true;
  state_->requests.close();
  state_->words.close();
}

const Json& AgentLink::hello() const { return state_->hello; }
bool AgentLink::lost() const { return state_->lost; }
std::string AgentLink::why_lost() const { return state_->because; }
void AgentLink::on_notice(std::function<void(Json)> told) { state_->on_notice = std::move(told); }
void AgentLink::on_lost(std::function<void(std::string)> told) { state_->on_lost = std::move(told); }

void AgentLink::keep_alive(Duration lease) { asio::co_spawn(state_->executor, State::ping(state_, lease), asio::detached); }

Task<Json> AgentLink::ask(Json request, Duration limit) {
  const auto state = state_;
  const std::string what = request.at("do").get<std::string>();
  const auto gone = [state] { return Error(ErrorKind::unavailable, state->because, "its guard undoes what it injected; see capsize status there"); };
  if (state->lost) throw gone();
  const auto pending = std::make_shared<Pending>(state->executor);
  const std::uint64_t id = ++state->last_id;
  request["id"] = id;
  if (!state->requests.send(request)) state->lose(fmt::format("the agent ({}) does not read", state->name));
  if (state->lost) throw gone();
  state->pending[id] = pending;
  if (limit > Duration{}) {
    auto waiting = within<void>(state->clock, limit, State::wait(pending));
    co_await std::move(waiting);
  } else {
    co_await State::wait(pending);
  }
  if (!pending->done) {
    state->pending.erase(id);
    throw Error(ErrorKind::unavailable, fmt::format("the agent ({}) did not answer {} within {}", state->name, what, show(limit)));
  }
  if (pending->reply.is_null()) throw gone();
  const auto error = pending->reply.find("error");
  if (error != pending->reply.end()) throw error_from_json(*error);
  co_return pending->reply.value("ok", Json());
}

Task<> AgentLink::end(Duration limit) {
  const auto state = state_;
  state->ending = true;
  state->requests.close();
  auto waiting = within<void>(state->clock, limit, wait_for_end(state->child.pidfd.get()));
  const auto ended = co_await settle(std::move(waiting));
  if (!ended->value || !*ended->value) kill_child(state->child);
  co_await State::how_it_ended(state);
  state->lose("it was ended");
}

}  // namespace capsize
