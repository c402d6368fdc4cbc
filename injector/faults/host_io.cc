// host.io: a disk is kept busy, and slower for everybody else.
#include <fmt/format.h>

#include "injector/base/error.h"
#include "injector/faults/host_faults.h"
#include "injector/targets/host.h"

namespace capsize {

struct BytesPerSecond {
  std::uint64_t bytes = 0;
};
template <>
struct ParamTraits<BytesPerSecond> {
  static std::string name() { return "size a second"; }
  static Parsed<BytesPerSecond> parse(const Json& json) {
    const Mistake mistake{"it is not a size a second", "write a size and \"/s\", as \"20MiB/s\""};
    if (!json.is_string()) return wrong_type(json, "a size a second, as \"20MiB/s\"");
    const auto& text = json.get_ref<const std::string&>();
    if (text.size() < 3 || text.compare(text.size() - 2, 2, "/s") != 0) return mistake;
    const auto size = parse_size(std::string_view(text).substr(0, text.size() - 2));
    if (!std::holds_alternative<Size>(size) || std::get<Size>(size).bytes < 4096) return Mistake{"\"" + printable(text, 60) + "\" is not a size a second of 4KiB or more", mistake.remedy};
    return BytesPerSecond{std::get<Size>(size).bytes};
  }
  static Json schema() { return schema_with_variables({{"type", "string"}, {"pattern", "^[0-9]+(\\.[0-9]+)?([KMG]i)?B/s$"}}); }
  static Json show(const BytesPerSecond& value) { return capsize::show(Size{value.bytes}) + "/s"; }
};

enum class IoKind { read, write, both };
template <>
struct EnumWords<IoKind> {
  static constexpr std::array<std::pair<IoKind, std::string_view>, 3> words = {{{IoKind::read, "read"}, {IoKind::write, "write"}, {IoKind::both, "both"}}};
};

namespace {

constexpr double kMostOfIntended = 0.7;
constexpr double kSaturated = 0.9;       // the disk's time: it cannot do more
constexpr double kOfSaturated = 0.1;     // what must be ours then
constexpr std::uint64_t kFileBytes = std::uint64_t{32} << 20;
constexpr std::uint64_t kRoom = kFileBytes + (std::uint64_t{96} << 20);  // the file, and what the journals keep

struct IoParams {
  std::string path;
  BytesPerSecond rate;
  IoKind kind = IoKind::both;
  Count workers = 4;
  Size block{65536};
};

const Spec<IoParams>& io_params() {
  static const auto spec = Spec<IoParams>()
                               .required("path", &IoParams::path, "a folder on the disk that is meant", absolute_path())
                               .required("rate", &IoParams::rate, "how much capsize reads and writes there, together")
                               .optional("kind", &IoParams::kind, "what it does; \"both\": half of each")
                               .optional("workers", &IoParams::workers, "how many of its requests may be under way at a time", between(1, 256))
                               .optional("block", &IoParams::block, "how much one request moves",
                                         Rule<Size>{[](const Size& size) -> std::optional<Mistake> {
                                                      if (size.bytes >= 4096 && size.bytes <= 8388608 && size.bytes % 4096 == 0) return std::nullopt;
                                                      return Mistake{"a block that is not 4KiB to 8MiB, in steps of 4KiB", "write \"64KiB\""};
                                                    },
                                                    nullptr});
  return spec;
}

const AnySpec& io_spec() { return io_params(); }

FaultPlan decide(const IoParams& params, const Json& look) {
  if (look.at("in_memory").get<bool>()) throw Error(ErrorKind::unavailable, fmt::format("{} is on a file system in memory: there is no disk below it", params.path), "name a folder on a disk");
  if (look.at("read_only").get<bool>()) throw Error(ErrorKind::unavailable, fmt::format("the file system of {} is mounted read-only", params.path), "name a folder on another one");
  if (!look.value("writable", true)) throw Error(ErrorKind::privilege, fmt::format("capsize may make no file in {}", params.path), "run capsize there as root, or name a folder that is its user's");
  if (look.at("available").get<std::uint64_t>() < kRoom) {
    throw Error(ErrorKind::refused, fmt::format("{} are left on the file system of {}, and {} are needed for the file that is read and written", show_bytes(look.at("available").get<std::uint64_t>()), params.path, show_bytes(kRoom)),
                "make room there first");
  }
  const auto id = look.at("new_id").get<std::string>();
  const std::string words = ParamTraits<IoKind>::show(params.kind) == "both" ? "reads and writes" : params.kind == IoKind::read ? "reads" : "writes";
  FaultPlan plan;
  plan.steps.push_back(burden_step(id, {{"burden", "io"}, {"path", params.path}, {"bytes_per_second", params.rate.bytes}, {"reads", params.kind != IoKind::write}, {"writes", params.kind != IoKind::read},
                                        {"workers", params.workers}, {"block", params.block.bytes}, {"file_bytes", kFileBytes}, {"seed", std::stoull(id, nullptr, 16)}}));
  plan.summary = fmt::format("capsize {} {} a second at the disk of {}, {} requests of {} at a time, past the page cache: it ends with the agent", words, show_bytes(params.rate.bytes), params.path, params.workers, show(params.block));
  plan.intended = {{"bytes_per_second", params.rate.bytes}, {"kind", ParamTraits<IoKind>::show(params.kind)}};
  plan.observe = {"host.disk_use", {{"id", id}, {"path", params.path}}};
  return plan;
}

Task<FaultPlan> plan_io(FaultRequest request, HostView& host) {
  const IoParams params = io_params().parse_or_throw(request.params);
  Op query;
  query.type = "host.disk_use";
  query.args["path"] = params.path;
  const Json look = co_await host.inspect(query);
  co_return decide(params, look);
}

Json shown(const Json& look) {
  Json out = Json::object();
  for (const char* key : {"read_per_second", "written_per_second", "disk", "disk_busy", "window"}) {
    if (look.contains(key)) out[key] = look[key];
  }
  return out;
}

Effect io_effect(const FaultPlan& plan, const Json& before, const Json& after) {
  Effect effect;
  effect.intended = plan.intended;
  effect.measured = {{"before", shown(before)}, {"during", shown(after)}};
  effect.because = no_bearer(after);
  if (!effect.because.empty()) return effect;
  const auto intended = plan.intended.at("bytes_per_second").get<double>();
  const double read = after.value("read_per_second", 0.0);
  const double written = after.value("written_per_second", 0.0);
  const Json busy = after.value("disk_busy", Json());
  const bool saturated = busy.is_number() && busy.get<double>() >= kSaturated;
  effect.bites = read + written >= intended * (saturated ? kOfSaturated : kMostOfIntended);
  const auto bytes = [](double value) { return show_bytes(static_cast<std::uint64_t>(value)); };
  effect.because = fmt::format("capsize reads {} and writes {} a second, {} were intended", bytes(read), bytes(written), bytes(intended));
  if (!busy.is_number()) return effect;
  const Json busy_before = before.value("disk_busy", Json());
  effect.because += fmt::format("; disk {} is busy {} of the time (before: {})", after.value("disk", ""), in_percent(busy.get<double>()), busy_before.is_number() ? in_percent(busy_before.get<double>()) : "unknown");
  if (saturated && read + written < intended * kMostOfIntended) effect.because += ": it cannot do more";
  return effect;
}

}  // namespace

FaultType host_io() {
  FaultType type;
  type.name = "host.io";
  type.doc = "A disk is kept busy, and slower for everybody else.";
  type.target_types = {"host"};
  type.spec = io_spec;
  type.example = {{"fault", "host.io"}, {"target", "machine"}, {"path", "/var/lib"}, {"rate", "50MiB/s"}, {"at", "0s"}, {"for", "30s"}};
  type.plan = plan_io;
  type.effect = io_effect;
  type.undo_doc = "ends the process that reads and writes, and with it its file, which has no name; by itself the kernel does so as soon as the agent is gone, however it dies";
  type.stacks = true;
  return type;
}

}  // namespace capsize
