// net.dns: names are not resolved, or late, or wrongly said not to exist. Only queries for the chosen names are met.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {

template <>
struct EnumWords<DnsAnswer> {
  static constexpr std::array<std::pair<DnsAnswer, std::string_view>, 4> words = {
      {{DnsAnswer::silence, "silence"}, {DnsAnswer::delay, "delay"}, {DnsAnswer::nxdomain, "nxdomain"}, {DnsAnswer::servfail, "servfail"}}};
};

struct DnsName {  // "db.staging", "*.staging"
  std::string text;
};

template <>
struct ParamTraits<DnsName> {
  static std::string name() { return "host name or *.domain"; }
  static Parsed<DnsName> parse(const Json& json) {
    if (!json.is_string()) return wrong_type(json, "a name, as \"db.staging\" or \"*.staging\"");
    std::string text = json.get<std::string>();
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (text.size() > 1 && text.back() == '.') text.pop_back();
    const std::string_view rest = text.starts_with("*.") ? std::string_view(text).substr(2) : std::string_view(text);
    bool good = !rest.empty() && rest.size() <= 253 && rest.front() != '.' && rest.back() != '.' && rest.find("..") == std::string_view::npos;
    for (const char c : rest) good = good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_');
    if (!good) return Mistake{"\"" + printable(json.get_ref<const std::string&>(), 60) + "\" is not a name of DNS", "write one as \"db.staging\", or \"*.staging\" for every name below it"};
    return DnsName{text};
  }
  static Json schema() { return schema_with_variables({{"type", "string"}, {"pattern", "^(\\*\\.)?[A-Za-z0-9._-]{1,254}$"}}); }
  static Json show(const DnsName& value) { return value.text; }
};

namespace {

constexpr std::uint16_t kDnsPort = 53;

struct DnsParams {
  std::vector<DnsName> names;
  DnsAnswer answer = DnsAnswer::silence;
  std::optional<Duration> delay;
};

const Spec<DnsParams>& dns_params() {
  static const auto spec = Spec<DnsParams>()
                               .required("names", &DnsParams::names, "queries for which names: \"db.staging\", or \"*.staging\" for every name below it")
                               .optional("answer", &DnsParams::answer, "\"silence\": queries are dropped; \"delay\": they are late; \"nxdomain\", \"servfail\": capsize answers so")
                               .optional("delay", &DnsParams::delay, "how late; required with the answer \"delay\"", if_given(more_than_zero()));
  return spec;
}

// Queries are what goes to the server: to a service, or from here to the peers.
void narrow_to_queries(NetAim& aim) {
  if (aim.protocol == Protocol::icmp) throw Error(ErrorKind::refused, "queries are not ICMP", "leave \"protocol\" out of the target");
  aim.protocol = Protocol::udp;
  if (!aim.is_service && aim.peer_ports.empty()) aim.peer_ports.push_back({kDnsPort, kDnsPort});
}

std::string words_of(const DnsEffect& dns) {
  const std::string names = dns.names.size() == 1 ? dns.names[0] : fmt::format("{} and {} more", dns.names[0], dns.names.size() - 1);
  switch (dns.answer) {
    case DnsAnswer::silence: return fmt::format("that ask for {} vanish", names);
    case DnsAnswer::delay: return fmt::format("that ask for {} are {} late", names, show(dns.delay));
    case DnsAnswer::nxdomain: return fmt::format("that ask for {} are told that there is no such name", names);
    case DnsAnswer::servfail: break;
  }
  return fmt::format("that ask for {} are told that the server failed", names);
}

NetIntent intent_of(const DnsParams& params, NetAim& aim) {
  if (params.delay.has_value() != (params.answer == DnsAnswer::delay)) {
    throw Error(ErrorKind::refused, params.delay ? "\"delay\" is for the answer \"delay\" only" : "the answer \"delay\" without a \"delay\"", "write both, or neither");
  }
  DnsEffect dns;
  for (const DnsName& name : params.names) dns.names.push_back(name.text);
  dns.answer = params.answer;
  if (params.delay) dns.delay = *params.delay;
  NetIntent intent;
  intent.direction = aim.is_service ? Direction::in : Direction::out;
  intent.words = words_of(dns);
  intent.effect.dns = std::move(dns);
  intent.meets_resolver = true;
  narrow_to_queries(aim);
  return intent;
}

}  // namespace

FaultType net_dns() {
  FaultType type = net_fault<dns_params, intent_of>("net.dns", "Names are not resolved, or late, or said not to exist: of DNS over UDP, only queries for the chosen names are met.",
                                                    {{"target", "resolver"}, {"names", {"db.staging", "*.internal"}}, {"answer", "nxdomain"}});
  type.target_types = {"network", "service", "container"};
  return type;
}

}  // namespace capsize
