// The lab: a login service to practise on. HAProxy in front of authentication servers and a PostgreSQL behind them, all on loopback
// and without privileges, watched over by one supervisor process: when that ends, however it ends, so does all it started.
//
// Everything here blocks, for a bounded time, and is for use before the control loop starts or after it has ended.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/lab/child_process.h"
#include "injector/base/clock.h"
#include "injector/base/json.h"
#include "injector/base/unique_fd.h"

namespace capsize {

inline constexpr int kMostLabServers = 9;

struct LabOptions {
  std::string profile = "as-it-was";  // or "hardened"
  int port_base = 0;                  // of the frontend; the servers follow, then the database. 0: free ones are chosen
  std::filesystem::path dir;          // made when it is not there
  int servers = 3;
  int slots = 10;  // of each server
  Duration service_time = std::chrono::milliseconds(100);
  bool database = true;            // a PostgreSQL that each login asks
  std::filesystem::path programs;  // folder of capsize and capsize-auth; empty: that of this program
};

// Starts a lab that outlives us and returns its lab.json, with "already_up": whether it was up before. Throws Error: unavailable
// when it does not get ready (the message has the end of the failing part's log), refused when one of another profile is up.
Json lab_up(const LabOptions& options);

// {"up","profile","dir","processes":[{"name","pid","state"}],"frontend":{"url","answering"},"servers":[{"name","address","answering"}]}.
// Processes are known by pid and start time.
Json lab_status(const std::filesystem::path& dir);

// Ends the lab of this folder and removes the files it made. False when there was nothing to end. Throws Error (unavailable)
// when a process of it does not end.
bool lab_down(const std::filesystem::path& dir);

// The supervisor itself: `capsize lab serve`. Says {"ready":LAB} or {"error":ERROR} on stdout in one line, then stays until SIGTERM,
// SIGINT or SIGHUP or, when `owned`, until end of file on stdin. Returns the exit code: 0, or 1 when a part ended unbidden.
int lab_serve(const LabOptions& options, bool owned);

// The words after `capsize lab serve` and back; throws Error (refused) for words that are none.
std::vector<std::string> lab_serve_words(const LabOptions& options, bool owned);
int lab_serve_main(const std::vector<std::string>& words);

// A lab that lives as long as this object, and no longer than this process.
class OwnedLab {
 public:
  explicit OwnedLab(const LabOptions& options);  // throws as lab_up() does, also when one is up already
  ~OwnedLab();
  OwnedLab(const OwnedLab&) = delete;
  OwnedLab& operator=(const OwnedLab&) = delete;

  const Json& info() const { return info_; }  // lab.json

 private:
  std::filesystem::path dir_;
  UniqueFd ownership_;  // the supervisor sees it close
  LabProcess supervisor_;
  Json info_;
};

}  // namespace capsize
