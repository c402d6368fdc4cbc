// What a selector of processes looks like in a playbook.
#include <fmt/format.h>

#include <charconv>

#include "injector/net/traffic.h"
#include "injector/targets/process_selector.h"

namespace capsize {
namespace {

using OptionalText = std::optional<std::string>;

Rule<OptionalText> absolute_path(const char* as) {
  return {[as](const OptionalText& path) -> std::optional<Mistake> {
            if (!path || (path->starts_with('/') && path->find('\0') == std::string::npos)) return std::nullopt;
            return Mistake{"\"" + printable(*path, 60) + "\" is not an absolute path", fmt::format("begin it with /, as \"{}\"", as)};
          },
          {{"pattern", "^/|\\$\\{"}}};
}

Rule<OptionalText> a_unit() {
  return {[](const OptionalText& unit) -> std::optional<Mistake> {
            const bool known_kind = unit && (unit->ends_with(".service") || unit->ends_with(".scope") || unit->ends_with(".slice"));
            if (!unit || (known_kind && unit->find('/') == std::string::npos && unit->find('\0') == std::string::npos)) return std::nullopt;
            return Mistake{"\"" + printable(*unit, 60) + "\" is not a unit with processes", "write its whole name, as \"nginx.service\"; .scope and .slice have processes too"};
          },
          {{"pattern", "^[^/]+\\.(service|scope|slice)$|\\$\\{"}}};
}

Rule<OptionalText> a_cgroup() {
  return {[](const OptionalText& path) -> std::optional<Mistake> {
            const bool leaves = path && ("/" + *path + "/").find("/../") != std::string::npos;
            if (!path || (path->find_first_not_of('/') != std::string::npos && !leaves && path->find('\0') == std::string::npos)) return std::nullopt;
            return Mistake{"\"" + printable(*path, 60) + "\" is not a cgroup below the root", "write its path as /proc/PID/cgroup shows it, as \"/system.slice/nginx.service\""};
          },
          {{"pattern", "[^/]"}}};
}

std::optional<std::uint16_t> port_number(std::string_view text) {
  std::uint16_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size() || value == 0) return std::nullopt;
  return value;
}

}  // namespace

std::string ParamTraits<ListenPoint>::name() { return "address and port, or port"; }
Parsed<ListenPoint> ParamTraits<ListenPoint>::parse(const Json& json) {
  const char* example = "where it listens, as \"127.0.0.1:8443\", \"[::1]:8443\" or \"8443\"";
  if (!json.is_string() && !json.is_number_integer()) return wrong_type(json, example);
  const std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  if (text.find(':') == std::string::npos) {
    const auto port = port_number(text);
    if (!port) return Mistake{"\"" + printable(text, 60) + "\" is not a port", std::string("write ") + example};
    return ListenPoint{"", *port};
  }
  auto address = parse_address(text);
  if (auto* mistake = std::get_if<Mistake>(&address)) return std::move(*mistake);
  const Address& parsed = std::get<Address>(address);
  const auto block = parse_address_block(parsed.host);
  if (!std::holds_alternative<AddressBlock>(block) || parsed.host.find('/') != std::string::npos) {
    return Mistake{"\"" + printable(text, 60) + "\" names no address: a process listens at addresses, not at names", std::string("write ") + example};
  }
  return ListenPoint{parsed.host, parsed.port};
}
Json ParamTraits<ListenPoint>::schema() {
  Json number = {{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}};
  Json text = {{"type", "string"}, {"pattern", "^(\\[[0-9A-Fa-f:.]+\\]:|[0-9.]+:)?[0-9]{1,5}$"}};
  return schema_with_variables({{"anyOf", Json::array({std::move(number), std::move(text)})}});
}
Json ParamTraits<ListenPoint>::show(const ListenPoint& value) { return value.host.empty() ? std::to_string(value.port) : capsize::show(Address{value.host, value.port}); }

std::string ParamTraits<HowMany>::name() { return "\"one\" | \"all\" | share"; }
Parsed<HowMany> ParamTraits<HowMany>::parse(const Json& json) {
  if (!json.is_string()) return wrong_type(json, "\"one\", \"all\" or a share as \"50%\"");
  const auto& text = json.get_ref<const std::string&>();
  if (text == "one") return HowMany{HowMany::Kind::one, {}};
  if (text == "all") return HowMany{HowMany::Kind::all, {}};
  const auto share = parse_share(text);
  if (!std::holds_alternative<Share>(share) || std::get<Share>(share).value <= 0) {
    return Mistake{"\"" + printable(text, 60) + "\" does not say how many", "write \"one\" (a chance that the seed of the run repeats), \"all\", or a share as \"50%\""};
  }
  return HowMany{HowMany::Kind::share, std::get<Share>(share)};
}
Json ParamTraits<HowMany>::schema() {
  Json words = {{"enum", {"one", "all"}}};
  Json share = {{"allOf", Json::array({ParamTraits<Share>::schema(), {{"pattern", "[1-9]|\\$\\{"}}})}};
  return {{"anyOf", Json::array({std::move(words), std::move(share)})}};
}
Json ParamTraits<HowMany>::show(const HowMany& value) {
  switch (value.kind) {
    case HowMany::Kind::one: return "one";
    case HowMany::Kind::all: return "all";
    case HowMany::Kind::share: return capsize::show(value.share);
    case HowMany::Kind::exactly_one: break;
  }
  return nullptr;
}

const Spec<ProcessParams>& process_params() {
  static const auto spec =
      Spec<ProcessParams>()
          .optional("pid", &ProcessParams::pid, "its process id on that host, as a number or, from a variable, a text")
          .optional("pid_file", &ProcessParams::pid_file, "the file that holds its process id, as \"/run/nginx.pid\"", absolute_path("/run/nginx.pid"))
          .optional("listens_on", &ProcessParams::listens_on, "where it listens with TCP, in the network namespace of the agent: \"127.0.0.1:8443\", or \"8443\" for any address")
          .optional("exe", &ProcessParams::exe, "the program that it runs: the file at this absolute path, as the host sees it", absolute_path("/usr/sbin/nginx"))
          .optional("unit", &ProcessParams::unit, "the systemd unit that it belongs to, as \"nginx.service\"", a_unit())
          .optional("cgroup", &ProcessParams::cgroup, "the cgroup that it is in or below, as /proc/PID/cgroup shows it", a_cgroup())
          .optional("arguments", &ProcessParams::arguments, "beside \"exe\": exactly these arguments, without the name of the program")
          .optional("match", &ProcessParams::match, "where several processes may match: \"all\", \"one\" of them or a share of them by chance; without it, several are a mistake")
          .exactly_one_of({"pid", "pid_file", "listens_on", "exe", "unit", "cgroup"});
  return spec;
}

const AnySpec& process_spec() { return process_params(); }

}  // namespace capsize
