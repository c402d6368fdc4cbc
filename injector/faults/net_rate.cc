// net.rate: a narrow line. What comes faster waits, and is dropped when it would wait too long.
#include <fmt/format.h>

#include <charconv>

#include "injector/faults/net.h"
#include "injector/faults/net_faults.h"

namespace capsize {

struct Bandwidth {
  std::uint64_t bytes_per_second = 0;
};

namespace {

struct Unit {
  std::string_view word;
  double bytes;
};
constexpr std::array<Unit, 8> kUnits = {{{"bit/s", 0.125}, {"kbit/s", 125}, {"Mbit/s", 125e3}, {"Gbit/s", 125e6}, {"B/s", 1}, {"KiB/s", 1024}, {"MiB/s", 1048576}, {"GiB/s", 1073741824}}};
constexpr std::uint64_t kLeast = 125;  // 1 kbit/s
constexpr std::uint64_t kMost = 12'500'000'000;

Parsed<Bandwidth> parse_bandwidth(std::string_view text) {
  const Mistake mistake{"\"" + printable(text, 60) + "\" is not a bandwidth", "write a number and a unit (kbit/s, Mbit/s, Gbit/s, KiB/s, MiB/s), as \"8Mbit/s\""};
  std::size_t digits = 0;
  while (digits < text.size() && ((text[digits] >= '0' && text[digits] <= '9') || text[digits] == '.')) ++digits;
  const std::string_view number = text.substr(0, digits);
  double value = 0;
  const auto result = std::from_chars(number.data(), number.data() + number.size(), value, std::chars_format::fixed);
  const bool whole = !number.empty() && number.size() <= 18 && number.front() != '.' && number.back() != '.';
  if (!whole || result.ec != std::errc() || result.ptr != number.data() + number.size()) return mistake;
  for (const Unit& unit : kUnits) {
    if (text.substr(digits) != unit.word) continue;
    const double bytes = value * unit.bytes;
    if (bytes < static_cast<double>(kLeast) || bytes > static_cast<double>(kMost)) return Mistake{"\"" + printable(text, 60) + "\" is outside 1kbit/s to 100Gbit/s", "write a bandwidth between these"};
    return Bandwidth{static_cast<std::uint64_t>(bytes)};
  }
  return mistake;
}

std::string show_bandwidth(const Bandwidth& value) {
  const double bits = static_cast<double>(value.bytes_per_second) * 8;
  if (bits >= 1e9) return fmt::format("{:.4g}Gbit/s", bits / 1e9);
  return bits >= 1e6 ? fmt::format("{:.4g}Mbit/s", bits / 1e6) : fmt::format("{:.4g}kbit/s", bits / 1e3);
}

}  // namespace

template <>
struct ParamTraits<Bandwidth> {
  static std::string name() { return "bandwidth"; }
  static Parsed<Bandwidth> parse(const Json& json) {
    if (!json.is_string()) return wrong_type(json, "a bandwidth, as \"8Mbit/s\"");
    return parse_bandwidth(json.get_ref<const std::string&>());
  }
  static Json schema() { return schema_with_variables({{"type", "string"}, {"pattern", "^[0-9]+(\\.[0-9]+)?([kMG]?bit/s|([KMG]i)?B/s)$"}}); }
  static Json show(const Bandwidth& value) { return show_bandwidth(value); }
};

namespace {

struct RateParams {
  Bandwidth rate;
  Size burst{32 * 1024};
  Duration queue = std::chrono::milliseconds(200);
  Direction direction = Direction::in;
};

const Spec<RateParams>& rate_params() {
  static const auto spec = Spec<RateParams>()
                               .required("rate", &RateParams::rate, "how much passes at most")
                               .optional("burst", &RateParams::burst, "how much passes at once after a pause")
                               .optional("queue", &RateParams::queue, "a packet that would wait longer than this is dropped", more_than_zero())
                               .optional("direction", &RateParams::direction, kDirectionDoc);
  return spec;
}

const AnySpec& rate_spec() { return rate_params(); }

Task<FaultPlan> plan(FaultRequest request, HostView& host) {
  const RateParams params = rate_params().parse_or_throw(request.params);
  NetAim aim = aim_at(request.target_type, request.target);
  if (params.burst.bytes < 1600) throw Error(ErrorKind::refused, fmt::format("a burst of {} lets no whole packet pass", show(params.burst)), "write at least \"2KiB\"");
  RateEffect rate;
  rate.bytes_per_second = params.rate.bytes_per_second;
  rate.burst_bytes = params.burst.bytes;
  rate.queue = params.queue;
  NetIntent intent;
  intent.direction = params.direction;
  intent.effect.rate = rate;
  intent.words = fmt::format("pass at {} at most{}", show_bandwidth(params.rate), params.direction == Direction::both ? ", both ways together" : "");
  auto planned = co_await plan_net(std::move(intent), std::move(aim), std::move(request), host);
  co_return planned;
}

}  // namespace

FaultType net_rate() {
  FaultType type;
  type.name = "net.rate";
  type.doc = "A narrow line: what comes faster waits, and is dropped when it would wait too long.";
  type.target_types = {"service", "network", "container"};
  type.spec = rate_spec;
  type.example = {{"fault", "net.rate"}, {"target", "auth1"}, {"rate", "1Mbit/s"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan;
  type.effect = judge_net;
  type.undo_doc = kNetUndoDoc;
  type.stacks = true;
  return type;
}

}  // namespace capsize
