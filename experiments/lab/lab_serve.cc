#include <fmt/format.h>
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <functional>
#include <map>

#include "experiments/lab/lab.h"
#include "experiments/lab/lab_supervisor.h"
#include "injector/base/error.h"
#include "injector/base/param_types.h"

namespace capsize {
namespace {

int number(const std::string& word, const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) throw Error(ErrorKind::refused, fmt::format("{} \"{}\" is not a number", word, text));
  return value;
}

Duration duration(const std::string& word, const std::string& text) {
  const auto parsed = parse_duration(text);
  const auto* value = std::get_if<Duration>(&parsed);
  if (value == nullptr) throw Error(ErrorKind::refused, fmt::format("{} \"{}\" is not a duration", word, text));
  return *value;
}

void say(const Json& line) {
  fmt::print("{}\n", line.dump());
  std::fflush(stdout);
}

// The starter waits for the end of our stdout, and a later write must not fail when it has gone.
void let_go_of_stdout() {
  const UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  ::dup2(null.get(), STDOUT_FILENO);
}

}  // namespace

std::vector<std::string> lab_serve_words(const LabOptions& options, bool owned) {
  return {"--dir", options.dir.string(), "--profile", options.profile, "--port-base", std::to_string(options.port_base), "--servers",
          std::to_string(options.servers), "--slots", std::to_string(options.slots), "--service-time", show(options.service_time), "--programs",
          options.programs.string(), "--database", options.database ? "yes" : "no", "--owned", owned ? "yes" : "no"};
}

int lab_serve_main(const std::vector<std::string>& words) {
  LabOptions options;
  bool owned = false;
  const std::map<std::string, std::function<void(const std::string&, const std::string&)>> known = {
      {"--dir", [&](auto&, auto& text) { options.dir = text; }},
      {"--profile", [&](auto&, auto& text) { options.profile = text; }},
      {"--port-base", [&](auto& word, auto& text) { options.port_base = number(word, text); }},
      {"--servers", [&](auto& word, auto& text) { options.servers = number(word, text); }},
      {"--slots", [&](auto& word, auto& text) { options.slots = number(word, text); }},
      {"--service-time", [&](auto& word, auto& text) { options.service_time = duration(word, text); }},
      {"--programs", [&](auto&, auto& text) { options.programs = text; }},
      {"--database", [&](auto&, auto& text) { options.database = text == "yes"; }},
      {"--owned", [&](auto&, auto& text) { owned = text == "yes"; }},
  };
  try {
    for (std::size_t i = 0; i < words.size(); i += 2) {
      const auto option = known.find(words[i]);
      if (option == known.end() || i + 1 == words.size()) throw Error(ErrorKind::refused, "capsize lab serve does not take " + words[i]);
      option->second(words[i], words[i + 1]);
    }
  } catch (const Error& error) {
    say({{"error", to_json(error)}});
    return kExitUsage;
  }
  return lab_serve(options, owned);
}

int lab_serve(const LabOptions& options, bool owned) {
  SystemClock clock;
  try {
    LabSupervisor supervisor(clock, options, owned);
    const Json info = supervisor.bring_up();
    say({{"ready", info}});
    let_go_of_stdout();
    return supervisor.watch() ? 0 : 1;
  } catch (const Error& error) {
    say({{"error", to_json(error)}});
    return error.exit_code();
  }
}

}  // namespace capsize
