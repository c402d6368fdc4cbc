// Other machines as far as capsize can tell, made of namespaces and gone with their objects: one behind a real sshd, one that is a real
// container. Each has a network of its own, joined to `wire.near` where the runner is, and processes, /run and /var/lib of its own.
#pragma once
#include <fstream>

#include "tests/system/machine.h"
#include "tests/system/net_pair.h"

namespace capsize {

inline constexpr int kSshPort = 2222;
inline const std::string kNearAddress = "10.77.0.1";
inline const std::string kFarAddress = "10.77.0.2";
inline const std::string kSystemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

inline std::vector<std::string> words_of(std::vector<std::string> first, const std::vector<std::string>& rest) {
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}
inline std::vector<std::string> in_network(const std::string& path, const std::vector<std::string>& command) {
  return words_of({"/usr/bin/nsenter", "--net=" + path}, command);
}

// Host processes whose command line has this text in it, such as the path of a test's own folder.
inline std::vector<pid_t> processes_naming(const std::string& text) {
  std::vector<pid_t> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (read_text(entry.path() / "cmdline").find(text) != std::string::npos) out.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return out;
}

// A machine that only ssh leads to: OpenSSH's server with keys, users and configuration of the test's own, as process 1 of its pid namespace.
class SshMachine {
 public:
  // `login_shell_prints`: what root's shell there prints on stdout for every command, as a careless .bashrc does.
  explicit SshMachine(const std::string& path = std::string(CAPSIZE_BINARY_DIR) + ":" + kSystemPath, const std::string& login_shell_prints = "") {
    make_key("host_key");
    make_key("user_key");
    std::filesystem::create_directory(folder_ / "root");
    std::filesystem::copy_file(folder_ / "user_key.pub", folder_ / "authorized_keys");
    write("passwd", "root:x:0:0:root:{folder}/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n");
    write("shadow", "root:*:19000:0:99999:7:::\n");
    write_text(folder_ / "root/.bashrc", login_shell_prints.empty() ? "" : "printf '" + login_shell_prints + "'\n");
    write("sshd_config", R"(HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
ListenAddress {address}
Port {port}
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UseDNS no
SetEnv PATH=)" + path + "\n");
    write("ssh_config", R"(Host edge-1
  HostName {address}
  Port {port}
  User root
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  StrictHostKeyChecking yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  ConnectTimeout 10
  ServerAliveInterval 5
  ServerAliveCountMax 3
)");
    write("boot", R"(set -e
mount -t tmpfs none /run
mkdir -m 755 /run/sshd
mount -t tmpfs none /var/lib
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/shadow /etc/shadow
hostname edge-1
exec /usr/sbin/sshd -D -e -f {folder}/sshd_config
)");
    trust(read_text(folder_ / "host_key.pub"));
    const std::vector<std::string> apart = {"/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"};
    machine_.emplace(in_network(wire.far.path, words_of(apart, {"/bin/sh", (folder_ / "boot").string()})), folder_ / "sshd");
    const auto listens = [&] { return machine_->err().find("Server listening") != std::string::npos; };
    net_test::must(eventually([&] { return listens() || machine_->ended(); }, std::chrono::seconds(30)) && listens(), "sshd does not start");
  }

  std::vector<std::string> via() const { return {"ssh", "-F", (folder_ / "ssh_config").string(), "edge-1"}; }
  // Runs there, beside sshd.
  std::vector<std::string> inside(const std::vector<std::string>& command) const {
    return words_of({"/usr/bin/nsenter", "--target", std::to_string(first_process()), "--mount", "--pid", "--net", "--uts"}, command);
  }
  // Its /var/lib/capsize, as it is seen from here.
  std::filesystem::path state() const { return "/proc/" + std::to_string(first_process()) + "/root/var/lib/capsize"; }
  void trust(const std::string& host_key) const { write_text(folder_ / "known_hosts", "[" + kFarAddress + "]:" + std::to_string(kSshPort) + " " + host_key); }
  std::string another_key() const {
    make_key("another_key");
    return read_text(folder_ / "another_key.pub");
  }
  // All packets of the wire are lost from now on, without a word to anybody; or no longer.
  void cut() const {
    const std::string all = "{ type filter hook HOOK priority -300; policy drop; };";
    const auto chain = [&](const std::string& hook) { return "chain " + hook + " " + std::string(all).replace(all.find("HOOK"), 4, hook); };
    net_test::run_tool(in_network(wire.far.path, {"nft", "table inet cut { " + chain("input") + " " + chain("output") + " }"}));
  }
  void mend() const { net_test::run_tool(in_network(wire.far.path, {"nft", "delete table inet cut"})); }
  // Its processes of that name, by this machine's pids.
  std::vector<pid_t> processes(const std::string& name) const {
    std::error_code gone;
    const auto place = [&](pid_t pid) { return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/pid", gone).string(); };
    std::vector<pid_t> out = processes_naming(name);
    std::erase_if(out, [&](pid_t pid) { return place(pid) != place(first_process()) || read_text("/proc/" + std::to_string(pid) + "/comm") != name.substr(0, 15) + "\n"; });
    return out;
  }
  // What serves a connection there, one process each: all sshds but the first process.
  std::vector<pid_t> sessions() const {
    std::vector<pid_t> out = processes("sshd");
    std::erase(out, first_process());
    return out;
  }
  const std::filesystem::path& folder() const { return folder_.path(); }
  std::string log() const { return machine_->err(); }

  net_test::NetPair wire;

 private:
  void write(const std::string& name, std::string text) const {
    for (const auto& [word, value] : {std::pair("{folder}", folder_.path().string()), std::pair("{address}", kFarAddress), std::pair("{port}", std::to_string(kSshPort))}) {
      for (std::size_t at; (at = text.find(word)) != std::string::npos;) text.replace(at, std::strlen(word), value);
    }
    write_text(folder_ / name, text);
  }
  void make_key(const std::string& name) const { net_test::run_tool({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", (folder_ / name).string()}); }
  pid_t first_process() const {
    const auto children = children_of(machine_->pid());
    net_test::must(!children.empty(), "the machine is down");
    return children.front();
  }

  TestFolder folder_;
  std::optional<Spawned> machine_;
};

// A container of podman's, from this machine's /usr and nothing else: no image is needed. `folder` is there under the same path.
class Container {
 public:
  Container(const std::filesystem::path& folder, const std::vector<std::string>& capabilities, const std::vector<std::string>& command) {
    const std::filesystem::path root = folder_ / "rootfs";
    for (const char* name : {"usr", "etc", "var/lib", "tmp", "run", "proc", "sys", "dev"}) std::filesystem::create_directories(root / name);
    for (const std::string name : {"bin", "sbin", "lib", "lib64"}) std::filesystem::create_directory_symlink("usr/" + name, root / name);
    // A hybrid of both cgroup versions is what runc takes and crun does not; limits that podman would set need CAP_SYS_RESOURCE.
    std::vector<std::string> run = {"run", "-d", "--name", name(), "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--network", "ns:" + wire.far.path,
                                    "--env", "PATH=" + std::string(CAPSIZE_BINARY_DIR) + ":" + kSystemPath};
    for (const std::string& capability : capabilities) run.insert(run.end(), {"--cap-add", capability});
    for (const std::string& there : {std::string("/usr"), std::string(CAPSIZE_BINARY_DIR)}) run.insert(run.end(), {"-v", there + ":" + there + ":ro"});
    run.insert(run.end(), {"-v", folder.string() + ":" + folder.string(), "--rootfs", root.string()});
    const auto words = podman(words_of(run, command), "/usr/bin/podman");
    Spawned starting(words, folder_ / "podman");
    if (starting.wait() != 0) throw std::runtime_error("podman run: " + starting.err());
  }
  ~Container() {
    Spawned(podman({"rm", "-f", "-t", "0", name()}, "/usr/bin/podman"), folder_ / "podman").wait();
    // Its monitor holds a cgroup until it has ended.
    for (int tries = 0; tries < 500 && !processes_naming(folder_.path().string()).empty(); ++tries) ::usleep(20'000);
    std::error_code ignored;
    for (const auto& hierarchy : std::filesystem::directory_iterator("/sys/fs/cgroup", ignored)) {
      ::rmdir((hierarchy.path() / "libpod_parent/conmon").c_str());
      ::rmdir((hierarchy.path() / "libpod_parent").c_str());
    }
  }
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  std::vector<std::string> via() const { return podman({"exec", "-i", name()}); }
  std::string pid() const {
    Spawned asked(podman({"inspect", "-f", "{{.State.Pid}}", name()}, "/usr/bin/podman"), folder_ / "pid");
    asked.wait();
    const std::string said = asked.out();
    return said.substr(0, said.find('\n'));
  }
  std::filesystem::path state() const { return "/proc/" + pid() + "/root/var/lib/capsize"; }

  net_test::NetPair wire;

 private:
  static std::string name() { return "capsize-test-" + std::to_string(::getpid()); }
  std::vector<std::string> podman(const std::vector<std::string>& words, const std::string& program = "podman") const {
    return words_of({program, "--root", (folder_ / "root").string(), "--runroot", (folder_ / "run").string(), "--tmpdir", (folder_ / "tmp").string(), "--cgroup-manager=cgroupfs",
                     "--storage-driver=vfs", "--events-backend=none", "--runtime", "runc"},
                    words);
  }

  TestFolder folder_;
};

}  // namespace capsize
