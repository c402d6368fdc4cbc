// Alerts on the real programs: Debian's Prometheus scrapes the lab's HAProxy and tells Debian's Alertmanager, with the files of docs/alerts.
#include <netinet/in.h>

#include "experiments/lab/http_exchange.h"
#include "tests/system/machine.h"

using namespace capsize;

namespace {

// A port of loopback that nobody listens at now.
std::string free_address() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

std::string with(std::string text, const std::vector<std::pair<std::string, std::string>>& changes) {
  for (const auto& [from, to] : changes) {
    INFO(from);
    REQUIRE(text.find(from) != std::string::npos);
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
  }
  return text;
}

std::string documented(const std::string& name) { return read_text(std::filesystem::path(CAPSIZE_SOURCE_DIR) / "docs/alerts" / name); }

// Prometheus and Alertmanager on the configuration that the docs have, with other addresses and shorter intervals.
class Monitoring {
 public:
  Monitoring(const std::filesystem::path& folder, const std::string& balancer) : folder_(folder) {
    write_text(folder / "prometheus.yml", with(documented("prometheus.yml"), {{"127.0.0.1:8000", balancer}, {"127.0.0.1:9093", alertmanager}, {": 1s", ": 250ms"}}));
    write_text(folder / "alertmanager.yml", documented("alertmanager.yml"));
    write_text(folder / "logins.rules.yml", with(documented("logins.rules.yml"), {{"[5s]", "[2s]"}, {"for: 1s", "for: 500ms"}}));
    alertmanager_.emplace(std::vector<std::string>{"/usr/bin/prometheus-alertmanager", "--config.file=" + (folder / "alertmanager.yml").string(), "--storage.path=" + (folder / "kept").string(),
                                                   "--web.listen-address=" + alertmanager, "--cluster.listen-address="},
                          folder / "alertmanager");
    prometheus_.emplace(std::vector<std::string>{"/usr/bin/prometheus", "--config.file=" + (folder / "prometheus.yml").string(), "--storage.tsdb.path=" + (folder / "series").string(),
                                                 "--web.listen-address=" + prometheus},
                        folder / "prometheus");
  }

  // Scraping, with the rules evaluated and the Alertmanager found.
  void wait_until_it_watches() const {
    const bool ready = eventually([this] { return says("/api/v1/alertmanagers", alertmanager) && says("/api/v1/rules", R"("health":"ok")") && says("/api/v1/query?query=up", R"("1"])"); }, std::chrono::seconds(60));
    INFO(prometheus_->err() << alertmanager_->err());
    REQUIRE(ready);
  }

  void remove_the_rule() const {
    write_text(folder_ / "logins.rules.yml", "groups: []\n");
    prometheus_->signal(SIGHUP);
    REQUIRE(eventually([this] { return says("/api/v1/rules", R"("groups":[])"); }, std::chrono::seconds(60)));
  }

  void hang() const { prometheus_->signal(SIGSTOP); }
  void end() {
    prometheus_->signal(SIGKILL);
    prometheus_->wait();
  }

  const std::string prometheus = free_address();
  const std::string alertmanager = free_address();

 private:
  bool says(const std::string& path, const std::string& part) const {
    LabRequest request;
    request.address = prometheus;
    request.path = path;
    const auto reply = http_exchange(request, std::chrono::seconds(2));
    return reply && reply->status == 200 && reply->body.find(part) != std::string::npos;
  }

  const std::filesystem::path folder_;
  std::optional<Spawned> alertmanager_;
  std::optional<Spawned> prometheus_;
};

Json expectation(const char* measure, const char* comparison, Json bound, const char* during = nullptr) {
  Json out = {{"measure", measure}, {comparison, std::move(bound)}};
  if (during != nullptr) out["during"] = during;
  return out;
}

Json playbook(const Monitoring& monitoring) {
  Json out = Json::parse(R"({
    "playbook": 1, "title": "does anybody notice",
    "variables": {"login_url": "", "session_url": "", "balancer_socket": "", "backend": ""},
    "targets": {"balancer": {"type": "haproxy", "socket": "${balancer_socket}", "backend": "${backend}"}},
    "probes": {"login": {"probe": "login.http", "url": "${login_url}", "session_url": "${session_url}", "rate": "60/s", "timeout": "1s"}},
    "timing": {"baseline": "1500ms", "recovery": "40s", "settle": "1s"},
    "steady_state": [{"measure": "login.success_ratio", "at_least": "90%"}],
    "faults": [{"fault": "balancer.skew", "target": "balancer", "server": "auth1", "share": "80%", "for": "5s"}]
  })");
  out["probes"]["alarm"] = {{"probe", "alert.fired"}, {"prometheus", "http://" + monitoring.prometheus}, {"alert", "LoginsOnOneServer"}, {"labels", {{"severity", "page"}}}, {"every", "250ms"}, {"timeout", "5s"}};
  out["probes"]["page"] = {{"probe", "alert.fired"}, {"alertmanager", "http://" + monitoring.alertmanager}, {"alert", "LoginsOnOneServer"}, {"every", "250ms"}, {"timeout", "5s"}};
  out["probes"]["queue"] = {{"probe", "prometheus.query"}, {"prometheus", "http://" + monitoring.prometheus}, {"query", R"(sum(haproxy_server_current_queue{proxy="auth"}))"}, {"every", "500ms"}, {"timeout", "5s"}};
  out["hypothesis"] = Json::array({expectation("alarm.time_to_detect", "at_most", "20s"), expectation("alarm.time_to_clear", "at_most", "20s"), expectation("page.time_to_detect", "at_most", "20s"),
                                   expectation("alarm.firing", "at_most", 0, "baseline"), expectation("queue.max", "at_most", 1000, "run")});
  return out;
}

class Bench {
 public:
  explicit Bench() : lab(options()), monitoring(folder.path(), lab.variable("balancer_address")) { monitoring.wait_until_it_watches(); }

  Json run(const std::string& name, const Json& json) const {
    write_text(folder / (name + ".json"), json.dump());
    const Ran ran = run_capsize({"--state", (folder / "state").string(), "run", (folder / (name + ".json")).string(), "--variables", lab.file().string(), "--out", (folder / name).string(), "--metrics",
                                 (folder / (name + ".prom")).string()},
                                folder.path());
    INFO(ran.out << ran.err);
    REQUIRE(std::filesystem::exists(folder / name / "verdict.json"));
    Json verdict = Json::parse(read_text(folder / name / "verdict.json"));
    CHECK(ran.code == verdict["exit_code"]);
    return verdict;
  }

  TestFolder folder;
  LabFixture lab;
  Monitoring monitoring;

 private:
  static LabOptions options() {
    LabOptions out;
    out.profile = "hardened";
    out.database = false;
    return out;
  }
};

}  // namespace

TEST_CASE("a real Prometheus and Alertmanager: detected and cleared, refuted without the rule, not known when it hangs or is down", "[alerts]") {
  Bench bench;
  const Json held = bench.run("held", playbook(bench.monitoring));
  INFO(held.dump(1));
  CHECK(held["outcome"] == "held");
  REQUIRE(held["alerts"].size() == 2);
  for (const Json& alert : held["alerts"]) {
    CHECK(alert["detected"] == true);
    CHECK(alert["silent_before"] == true);
    CHECK(alert["time_to_detect"].get<double>() > 0.5);  // its "for"
    CHECK(alert["time_to_detect"].get<double>() < 10);
  }
  CHECK(held["alerts"][0]["time_to_clear"].get<double>() < 20);
  CHECK(read_text(bench.folder / "held.prom").find("capsize_run_alert_detect_seconds{playbook=\"held\",probe=\"alarm\",alert=\"LoginsOnOneServer\"}") != std::string::npos);
  CHECK(read_text(bench.folder / "held/junit.xml").find("<testcase classname=\"does anybody notice\" name=\"alarm.time_to_detect at most 20s\"/>") != std::string::npos);
  CHECK(read_text(bench.folder / "held/report.html").find("Did the alerts notice?") != std::string::npos);

  bench.monitoring.remove_the_rule();
  Json unwatched = playbook(bench.monitoring);
  unwatched["timing"]["baseline"] = "1s";
  unwatched["faults"][0]["for"] = "2s";
  unwatched["hypothesis"] = Json::array({expectation("alarm.time_to_detect", "at_most", "1s")});
  const Json refuted = bench.run("refuted", unwatched);
  CHECK(refuted["outcome"] == "refuted");
  CHECK(refuted["because"].get<std::string>().find("there is no alert rule of this name; asked of http://" + bench.monitoring.prometheus) != std::string::npos);

  // A gate that nobody answers for lets nothing through.
  Json gated = playbook(bench.monitoring);
  gated["timing"]["baseline"] = "1s";
  for (const char* probe : {"alarm", "queue"}) gated["probes"][probe]["timeout"] = "300ms";
  gated["steady_state"].push_back(expectation("queue.max", "at_most", 1000));
  bench.monitoring.hang();
  const Json hanging = bench.run("hanging", gated);
  CHECK(hanging["outcome"] == "inconclusive");
  CHECK(hanging["because"].get<std::string>().find("no answer within 300ms") != std::string::npos);
  CHECK(hanging["faults"][0]["undo"] == "nothing_to_undo");
  bench.monitoring.end();
  const Json down = bench.run("down", gated);
  CHECK(down["outcome"] == "inconclusive");
  CHECK(down["because"].get<std::string>().find("no connection: Connection refused") != std::string::npos);
}
