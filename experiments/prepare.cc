// Connect and plan: everything that can be refused is refused here, with only looks.
#include <fmt/format.h>

#include <exception>

#include "experiments/playbook_variables.h"
#include "experiments/runner.h"
#include "injector/base/error.h"
#include "injector/base/settle.h"

namespace capsize {
namespace {

struct Place {
  std::string host;
  std::string type;
  Json params;
  friend bool operator==(const Place&, const Place&) = default;
};

Place place_of(const Playbook& playbook, const PlannedFault& fault) {
  const TargetUse& use = playbook.targets.at(fault.target);
  return {use.host, use.type, use.params};
}

// Two faults on one target at one time would each compare with a state the other has changed: the first to end could not be undone.
// Those that stack compare with nothing.
void refuse_overlap(const Playbook& playbook, const std::vector<PlannedFault>& faults, const std::vector<std::string>& places) {
  for (std::size_t i = 0; i < faults.size(); ++i) {
    for (std::size_t j = i + 1; j < faults.size(); ++j) {
      const PlannedFault& a = faults[i];
      const PlannedFault& b = faults[j];
      const bool meet = a.at < b.at + b.lasting && b.at < a.at + a.lasting;
      const bool collide = !find_fault(a.fault)->stacks && !find_fault(b.fault)->stacks;
      if (meet && collide && place_of(playbook, a) == place_of(playbook, b)) {
        throw Error(ErrorKind::refused, fmt::format("{} ({}) and {} ({}) change the same target at the same time", places.at(i), a.fault, places.at(j), b.fault),
                    "let one end before the other begins, or aim them at different targets");
      }
    }
  }
}

// The playbook's own faults, without those of the cause that a sealed run has chosen.
std::vector<PlannedFault> own_faults(const Playbook& playbook) {
  std::vector<PlannedFault> out = playbook.faults;
  if (playbook.opened) out.resize(out.size() - playbook.sealed.at(*playbook.opened).faults.size());
  return out;
}

// Of every sealed cause alike, so that a refusal does not tell which is chosen.
void refuse_overlaps(const Playbook& playbook) {
  const std::vector<PlannedFault> own = own_faults(playbook);
  std::vector<std::string> own_places;
  for (std::size_t i = 0; i < own.size(); ++i) own_places.push_back(fmt::format("/faults/{}", i));
  refuse_overlap(playbook, own, own_places);
  for (std::size_t i = 0; i < playbook.sealed.size(); ++i) {
    std::vector<PlannedFault> all = own;
    std::vector<std::string> places = own_places;
    for (const PlannedFault& fault : playbook.sealed[i].faults) {
      places.push_back(fmt::format("/sealed/{}/faults/{}", i, all.size() - own.size()));
      all.push_back(fault);
    }
    refuse_overlap(playbook, all, places);
  }
}

// What this run itself speaks to over TCP, and needs in order to undo.
std::vector<std::string> admin_sockets(const Playbook& playbook) {
  std::vector<std::string> out;
  for (const auto& [name, target] : playbook.targets) {
    const std::string socket = target.type == "haproxy" ? target.params.value("socket", "") : "";
    if (!socket.empty() && socket.front() != '/') out.push_back(socket);
  }
  return out;
}

using Reports = std::vector<UndoReport>;

// All hosts at once, and told in their order: a host whose link a fault of another cut would else be waited for before that fault goes.
Task<Reports> undo_everywhere(std::vector<Host*> hosts) {
  const auto executor = co_await asio::this_coro::executor;
  std::vector<std::shared_ptr<Settled<Reports>>> undoing;
  for (Host* host : hosts) {
    const auto one = std::make_shared<Settled<Reports>>(executor);
    undoing.push_back(one);
    asio::co_spawn(executor, host->undo_all(), [one](std::exception_ptr error, Reports reports) {
      one->error = error;
      one->value.emplace(std::move(reports));
      one->done = true;
      one->finished.cancel();
    });
  }
  Reports all;
  std::exception_ptr problem;
  for (const auto& one : undoing) {
    while (!one->done) {
      boost::system::error_code ignored;
      co_await one->finished.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    if (one->error) problem = one->error;
    all.insert(all.end(), one->value->begin(), one->value->end());
  }
  if (problem) std::rethrow_exception(problem);
  co_return all;
}

// Those of one host, in the order of their names.
std::vector<TargetHere> targets_on(const Playbook& playbook, const std::string& host) {
  std::vector<TargetHere> out;
  for (const auto& [name, target] : playbook.targets) {
    if (target.host == host) out.push_back({name, target.type, target.params});
  }
  return out;
}

using Plans = std::vector<FaultPlan>;

Task<Plans> plan_faults(const Playbook* playbook, std::vector<PlannedFault> faults, PreparedRun* prepared, std::uint64_t seed) {
  Plans plans;
  for (const PlannedFault& fault : faults) {
    const FaultType* type = find_fault(fault.fault);
    CAPSIZE_CHECK(type != nullptr);
    FaultRequest request;
    request.params = fault.params;
    request.target_type = playbook->targets.at(fault.target).type;
    request.target = playbook->targets.at(fault.target).params;
    request.allow = fault.allow;
    request.seed = seed;
    request.keep_open = admin_sockets(*playbook);
    auto plan = co_await type->plan(std::move(request), prepared->host_of(fault.target));
    plans.push_back(std::move(plan));
  }
  co_return plans;
}

Json plans_json(const Playbook& playbook, const std::vector<PlannedFault>& all, const Plans& plans) {
  Json faults = Json::array();
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const PlannedFault& fault = all.at(i);
    const FaultPlan& plan = plans[i];
    Json steps = Json::array();
    for (const Step& step : plan.steps) steps.push_back(to_json(step));
    Json one = {{"fault", fault.fault}, {"target", fault.target}, {"at", seconds(fault.at)}, {"for", seconds(fault.lasting)}};
    one["host"] = playbook.targets.at(fault.target).host;
    one["target_params"] = playbook.targets.at(fault.target).params;
    one["summary"] = plan.summary;
    one["intended"] = plan.intended;
    one["observe"] = to_json(plan.observe);
    one["steps"] = std::move(steps);
    one["allowed"] = plan.allowed;
    if (!fault.reason.empty()) one["reason"] = fault.reason;
    faults.push_back(std::move(one));
  }
  return faults;
}

}  // namespace

Host& PreparedRun::host_of(const std::string& target) { return *hosts_.at(playbook_->targets.at(target).host); }

Task<std::vector<UndoReport>> PreparedRun::undo_all() {
  std::vector<Host*> hosts;
  for (auto& [name, host] : hosts_) hosts.push_back(host.get());
  return uncancelled(undo_everywhere(std::move(hosts)));
}

Task<> PreparedRun::close() {
  std::exception_ptr problem;
  for (auto& [name, host] : hosts_) {
    try {
      co_await host->close();
    } catch (...) {
      problem = std::current_exception();  // the others are closed all the same
    }
  }
  if (problem) std::rethrow_exception(problem);
}

Task<std::unique_ptr<PreparedRun>> prepare(const Playbook& playbook, World& world, std::uint64_t seed, Purpose purpose) {
  refuse_overlaps(playbook);
  auto prepared = std::make_unique<PreparedRun>();
  prepared->playbook_ = &playbook;
  std::exception_ptr problem;
  try {
    for (const auto& [name, target] : playbook.targets) {
      if (prepared->hosts_.count(target.host) > 0) continue;
      const auto via = playbook.hosts.find(target.host);
      std::vector<std::string> command = via == playbook.hosts.end() ? std::vector<std::string>() : via->second;
      auto host = co_await world.connect(target.host, std::move(command));
      prepared->hosts_[target.host] = std::move(host);
    }
    for (const auto& [name, host] : prepared->hosts_) {
      if (purpose == Purpose::look) break;
      auto claiming = host->claim(targets_on(playbook, name));
      co_await std::move(claiming);
    }
    auto planning_own = plan_faults(&playbook, own_faults(playbook), prepared.get(), seed);
    prepared->plans_ = co_await std::move(planning_own);
    for (const SealedCause& cause : playbook.sealed) {
      auto planning = plan_faults(&playbook, cause.faults, prepared.get(), seed);
      auto plans = co_await std::move(planning);
      prepared->sealed_plans_.push_back(std::move(plans));
    }
    if (playbook.opened) {
      const auto& chosen = prepared->sealed_plans_.at(*playbook.opened);
      prepared->plans_.insert(prepared->plans_.end(), chosen.begin(), chosen.end());
    }
  } catch (...) {
    problem = std::current_exception();
  }
  if (problem) {
    co_await prepared->close();
    std::rethrow_exception(problem);
  }
  co_return prepared;
}

Json plan_json(const Playbook& playbook, const PreparedRun& prepared) {
  Json out = {{"title", playbook.title}, {"faults", plans_json(playbook, playbook.faults, prepared.plans())}};
  for (std::size_t i = 0; i < playbook.sealed.size(); ++i) {
    const SealedCause& cause = playbook.sealed[i];
    Json one = {{"name", cause.name}, {"cause", cause.cause}};
    one["faults"] = plans_json(playbook, cause.faults, prepared.sealed_plans().at(i));
    out["sealed"].push_back(std::move(one));
  }
  return hide_secrets_in(out, playbook.secrets);
}

}  // namespace capsize
