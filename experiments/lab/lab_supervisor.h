// The process that starts the parts of a lab, knows when one ends, and takes them all down.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/lab/haproxy_config.h"
#include "experiments/lab/http_exchange.h"
#include "experiments/lab/lab.h"
#include "experiments/lab/lab_database.h"
#include "experiments/lab/lab_files.h"
#include "injector/base/clock.h"
#include "injector/base/unique_fd.h"

namespace capsize {

// As the init system of a staging machine would, with a server that takes its time to start.
inline constexpr Duration kLabRestartAfter = std::chrono::seconds(3);

// Thread: one, which must live as long as the lab: the parts die with it.
class LabSupervisor {
 public:
  LabSupervisor(Clock& clock, LabOptions options, bool owned);
  ~LabSupervisor();  // ends what is still there and removes the files, except the logs
  LabSupervisor(const LabSupervisor&) = delete;
  LabSupervisor& operator=(const LabSupervisor&) = delete;

  // Returns lab.json when every part has answered. Throws Error when one does not, or when told to end meanwhile.
  Json bring_up();

  // Returns when told to end: true when every part was there. A server that ends is started again kLabRestartAfter later; the balancer
  // and the database are not.
  bool watch();

 private:
  struct Part : LabPart {
    bool ended = false;
    TimePoint ended_at;
    std::optional<LabCommand> again;  // what starts it once more
    int restarts = 0;
  };

  void lock_folder();
  void bring_up_at(int port_base);
  void start_part(const std::string& name, const std::string& address, LabCommand command);
  void start_server(const std::string& name, const std::string& address, LabCommand command);
  void run_part(Part& part, LabCommand command);
  Duration until_restart() const;
  void restart_servers();
  void make_database();
  void run_to_end(LabCommand command, const std::string& what, const std::function<void()>& meanwhile);
  int ports() const { return options_.servers + (database_ ? 2 : 1); }
  void write_balancer_config();
  std::string address(int offset) const;
  UniqueFd open_log(const std::string& part, bool anew) const;
  std::filesystem::path log_of(const std::string& part) const { return options_.dir / (part + ".log"); }
  void wait_until_answering(const LabRequest& request, const Part& part, TimePoint deadline);
  bool told_to_end(Duration wait);
  void reap();
  void end_parts();
  Json describe() const;

  Clock& clock_;
  LabOptions options_;
  bool owned_;
  LabProfile profile_;
  int port_base_ = 0;
  std::string started_;  // ISO 8601
  UniqueFd folder_;   // locked: one supervisor a folder
  UniqueFd signals_;  // those that end us, and SIGCHLD
  bool ending_ = false;
  std::optional<LabDatabase> database_;
  std::vector<Part> parts_;  // the database, if any, the servers, the balancer
};

}  // namespace capsize
