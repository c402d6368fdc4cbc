// Tables for tests of what reads playbooks: they stay the same whatever the real tables become.
#pragma once
#include "experiments/catalogs.h"
#include "experiments/playbook.h"

namespace capsize::test {

struct SkewKeys {
  Name server;
  Share share{0.8};
};
struct WeightKeys {
  std::map<Name, Count> weights;
};
struct HaproxyKeys {
  std::string socket;
  Name backend;
};
struct ProcessKeys {
  std::string pid_file;
};
struct LoginKeys {
  std::string url;
  Rate rate{100};
  Count users = 100;
  Duration timeout = std::chrono::seconds(1);
  std::vector<std::string> headers;
  std::string password;
};
struct NoKeys {};

inline const AnySpec& skew_spec() {
  static const auto spec = Spec<SkewKeys>().required("server", &SkewKeys::server, "the server that gets too much").optional("share", &SkewKeys::share, "its share of the traffic");
  return spec;
}
inline const AnySpec& weight_spec() {
  static const auto spec = Spec<WeightKeys>().required("weights", &WeightKeys::weights, "the weight of each server");
  return spec;
}
inline const AnySpec& haproxy_spec() {
  static const auto spec = Spec<HaproxyKeys>().required("socket", &HaproxyKeys::socket, "its admin socket").required("backend", &HaproxyKeys::backend, "the backend");
  return spec;
}
inline const AnySpec& process_spec() {
  static const auto spec = Spec<ProcessKeys>().required("pid_file", &ProcessKeys::pid_file, "the file with its pid");
  return spec;
}
inline const AnySpec& login_spec() {
  static const auto spec = Spec<LoginKeys>()
                               .required("url", &LoginKeys::url, "where to log in")
                               .optional("rate", &LoginKeys::rate, "logins per second")
                               .optional("users", &LoginKeys::users, "how many users", between(1, 100000))
                               .optional("timeout", &LoginKeys::timeout, "patience", more_than_zero())
                               .optional("headers", &LoginKeys::headers, "more headers")
                               .optional("password", &LoginKeys::password, "of every user");
  return spec;
}
inline const AnySpec& no_spec() {
  static const auto spec = Spec<NoKeys>();
  return spec;
}
inline const std::vector<MeasureInfo>& login_measures() {
  static const std::vector<MeasureInfo> table = {{"success_ratio", MeasureKind::ratio, "logins that worked"},
                                                 {"latency.p99", MeasureKind::duration, "of due time to done"},
                                                 {"rate", MeasureKind::rate, "logins per second"},
                                                 {"wrongly_accepted", MeasureKind::count, "wrong passwords that were accepted"}};
  return table;
}
inline const std::vector<MeasureInfo>& shares_measures() {
  static const std::vector<MeasureInfo> table = {{"share.<server>", MeasureKind::ratio, "share of new sessions"}, {"jain", MeasureKind::number, "fairness"}};
  return table;
}

inline Catalogs catalogs() {
  static const std::vector<TargetType> targets = {
      {"haproxy", "A HAProxy.", haproxy_spec, {{"type", "haproxy"}, {"socket", "/run/admin.sock"}, {"backend", "auth"}}},
      {"process", "A process.", process_spec, {{"type", "process"}, {"pid_file", "/run/auth.pid"}}}};
  static const std::vector<FaultType> faults = [] {
    std::vector<FaultType> out(4);
    out[0].name = "balancer.skew";
    out[0].doc = "One server gets too much.";
    out[0].target_types = {"haproxy"};
    out[0].spec = skew_spec;
    out[0].example = {{"fault", "balancer.skew"}, {"target", "balancer"}, {"server", "auth1"}, {"share", "95%"}, {"at", "0s"}, {"for", "30s"}};
    out[1].name = "balancer.weight";
    out[1].doc = "Exact weights.";
    out[1].target_types = {"haproxy"};
    out[1].spec = weight_spec;
    out[1].example = {{"fault", "balancer.weight"}, {"target", "balancer"}, {"weights", {{"auth1", 1}}}, {"for", "30s"}};
    out[2].name = "process.pause";
    out[2].doc = "A process stands still.";
    out[2].target_types = {"process"};
    out[2].spec = no_spec;
    out[2].example = {{"fault", "process.pause"}, {"target", "auth"}, {"for", "10s"}};
    out[3].name = "net.delay";
    out[3].doc = "What is sent to it is late.";
    out[3].target_types = {"process", "haproxy"};
    out[3].stacks = true;
    out[3].spec = no_spec;
    out[3].example = {{"fault", "net.delay"}, {"target", "auth"}, {"for", "10s"}};
    return out;
  }();
  static const std::vector<ProbeType> probes = {
      {"login.http", "Logs in.", "", login_spec, {{"probe", "login.http"}, {"url", "http://127.0.0.1:8080/login"}}, login_measures},
      {"balancer.shares", "Shares of the servers.", "haproxy", no_spec, {{"probe", "balancer.shares"}, {"target", "balancer"}}, shares_measures}};
  return {&faults, &probes, &targets};
}

// A playbook that is right; tests change it.
inline Json good_playbook() {
  return Json::parse(R"({
    "playbook": 1,
    "title": "The balancer plays favourites",
    "targets": { "balancer": { "type": "haproxy", "socket": "/run/admin.sock", "backend": "auth" } },
    "probes": {
      "login": { "probe": "login.http", "url": "http://127.0.0.1:8080/login" },
      "shares": { "probe": "balancer.shares", "target": "balancer" }
    },
    "steady_state": [ { "measure": "login.success_ratio", "at_least": "99%" } ],
    "faults": [ { "fault": "balancer.skew", "target": "balancer", "server": "auth1", "for": "30s" } ],
    "hypothesis": [ { "measure": "login.success_ratio", "at_least": "95%" } ]
  })");
}

inline PlaybookOptions options() {
  PlaybookOptions out;
  out.catalogs = catalogs();
  return out;
}

inline PlaybookResult read(const Json& playbook, const PlaybookOptions& with = options()) { return read_playbook(playbook.dump(2), with); }

// "pointer: fact; remedy" of each, in the order of the file.
inline std::vector<std::string> said(const PlaybookResult& result) {
  std::vector<std::string> out;
  for (const Diagnostic& d : result.diagnostics.all()) out.push_back(d.pointer + ": " + d.fact + "; " + d.remedy);
  return out;
}

}  // namespace capsize::test
