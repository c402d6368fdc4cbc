#include "injector/host/agent_hello.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "injector/base/diagnostics.h"
#include "injector/host/agent.h"

namespace capsize {
namespace {

constexpr std::size_t kMaxShownLine = 300;
constexpr const char* kByHand = "see whether the command runs by hand, without asking for a password, and ends in capsize agent";

struct Known {
  std::string_view words;  // in lower case, of what was said or of how it ended
  const char* remedy;
};

// The first that fits. What programs say in English; in another language the general remedy is given.
constexpr std::array<Known, 16> kKnown = {{
    {"host key verification failed", "compare the key of that machine with what its owner says; when it is the right one, mend the known_hosts file that this ssh reads"},
    {"permission denied (", "give ssh a key that the far side takes without asking: ssh -o BatchMode=yes must succeed by hand, as this user"},
    {"too many authentication failures", "give ssh the one key that is meant, with IdentityFile and IdentitiesOnly=yes"},
    {"could not resolve hostname", "see how the machine is called: its name is not known here"},
    {"connection refused", "see whether its sshd (or API server) runs, and at which port"},
    {"connection timed out", "see whether that machine is up and can be reached from here"},
    {"no route to host", "see whether that machine is up and can be reached from here"},
    {"network is unreachable", "see whether that machine is up and can be reached from here"},
    {"a password is required", "let sudo run it without a password: USER ALL=(root) NOPASSWD: /usr/bin/capsize agent"},
    {"a terminal is required", "let sudo run it without a password: USER ALL=(root) NOPASSWD: /usr/bin/capsize agent"},
    {"no such container", "see podman ps or docker ps for the containers that run"},
    {"no container with name or id", "see podman ps or docker ps for the containers that run"},
    {"container state improper", "see podman ps or docker ps for the containers that run"},
    {"cannot open network namespace", "see ip netns list for the names there are"},
    {"command not found", nullptr},
    {"exit code 127", nullptr},
}};
constexpr const char* kInstall = "install capsize there, the same version, in a folder of the PATH that a command without a login has: by ssh, see ssh HOST 'echo $PATH'";

std::string in_lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

const char* remedy_for(const NoAgent& found) {
  const std::string words = in_lower_case(found.fact + " " + found.said);
  for (const Known& known : kKnown) {
    if (words.find(known.words) != std::string::npos) return known.remedy == nullptr ? kInstall : known.remedy;
  }
  return kByHand;
}

}  // namespace

std::optional<Json> hello_in(std::string_view line) {
  for (std::size_t at = line.find('{'); at != std::string_view::npos; at = line.find('{', at + 1)) {
    Json hello = Json::parse(line.substr(at), nullptr, false);
    if (hello.is_object() && hello.value("hello", Json()) == kAgentHello) return hello;
    if (at > kMaxShownLine) break;  // a greeting is short; what is longer is not searched at every brace
  }
  return std::nullopt;
}

std::string plain_words(std::string_view line) {
  const auto frame = [](char c) { return c == '@' || c == ' ' || c == '\r' || c == '\t'; };
  while (!line.empty() && frame(line.front())) line.remove_prefix(1);
  while (!line.empty() && frame(line.back())) line.remove_suffix(1);
  return printable(line, kMaxShownLine);
}

Error no_agent(const NoAgent& found) {
  std::string fact = found.command + " " + found.fact;
  if (!found.said.empty()) fact += "; it said: " + found.said;
  if (!found.printed.empty()) fact += fmt::format("; where the agent's hello was to come, it printed: {}", found.printed);
  return Error(ErrorKind::unavailable, fact, remedy_for(found));
}

}  // namespace capsize
