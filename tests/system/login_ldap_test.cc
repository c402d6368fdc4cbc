// login.ldap against slapd, and against servers that are not what they seem.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "injector/base/error.h"
#include "tests/system/real_server.h"
#include "tests/system/watched_probe.h"

using namespace capsize;
using namespace capsize::testing;
using namespace std::chrono_literals;

namespace {

const std::string kDn = "uid={user},ou=people,dc=example,dc=org";

std::string person(int number) {
  const std::string name = "user" + std::to_string(number);
  return "\ndn: uid=" + name + ",ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: " + name + "\ncn: " + name + "\nsn: " + name + "\nuserPassword: pw" + std::to_string(number) + "\n";
}

// Two users, over ldap and ldaps.
class RealSlapd {
 public:
  explicit RealSlapd(bool has_certificate = true) : identity_(self_signed("localhost")), port_(free_port(SOCK_STREAM)), tls_port_(free_port(SOCK_STREAM)) {
    const std::string dir = folder_.path();
    write_text(folder_ / "ca.pem", identity_.certificate);
    write_text(folder_ / "key.pem", identity_.key);
    std::filesystem::create_directories(folder_ / "db");
    const std::string tls = has_certificate ? "TLSCertificateFile " + dir + "/ca.pem\nTLSCertificateKeyFile " + dir + "/key.pem\n" : "";
    std::string schemas;
    for (const char* schema : {"core", "cosine", "inetorgperson"}) schemas += "include /etc/ldap/schema/" + std::string(schema) + ".schema\n";
    write_text(folder_ / "slapd.conf", schemas + "pidfile " + dir + "/pid\nargsfile " + dir + "/args\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nthreads 4\n" + tls +
                                           "database mdb\nsuffix \"dc=example,dc=org\"\ndirectory " + dir +
                                           "/db\nmaxsize 16777216\naccess to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n");
    write_text(folder_ / "base.ldif", "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n"
                                      "dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n" +
                                          person(1) + person(2));
    fill();
    const std::string urls = "ldap://127.0.0.1:" + std::to_string(port_) + (has_certificate ? "/ ldaps://127.0.0.1:" + std::to_string(tls_port_) + "/" : "/");
    server_ = std::make_unique<RealServer>(std::vector<std::string>{"/usr/sbin/slapd", "-f", dir + "/slapd.conf", "-h", urls, "-d", "0"}, folder_ / "out.log");
    const bool ready = eventually([this, has_certificate] { return listens(port_) && (!has_certificate || listens(tls_port_)); }, 30s);
    INFO(server_->log());
    REQUIRE(ready);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string tls_address() const { return "localhost:" + std::to_string(tls_port_); }
  std::string ca_file() const { return folder_ / "ca.pem"; }
  RealServer& server() { return *server_; }

 private:
  void fill() {
    LabCommand command;
    command.words = {"/usr/sbin/slapadd", "-f", folder_ / "slapd.conf", "-l", folder_ / "base.ldif"};
    const UniqueFd out(::open((folder_ / "add.log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    command.out = out.get();
    command.err = out.get();
    const LabProcess adding = start(command);
    int status = -1;
    ::waitpid(adding.pid, &status, 0);
    INFO(read_text(folder_ / "add.log"));
    REQUIRE(status == 0);
  }

  TestFolder folder_;
  SelfSigned identity_;
  int port_;
  int tls_port_;
  std::unique_ptr<RealServer> server_;
};

Json params(const std::string& address, Json more = Json::object()) {
  Json out = {{"address", address}, {"dn", kDn}, {"rate", "80/s"}, {"users", 2}, {"timeout", "5s"}};
  out.update(more);
  return out;
}

}  // namespace

TEST_CASE("slapd lets its users bind, and refuses wrong passwords and unknown users", "[ldap][beside]") {
  RealSlapd slapd;
  const Watched seen = watch("login.ldap", params(slapd.address(), {{"wrong_password_share", "20%"}, {"unknown_user_share", "20%"}}), 3);
  CHECK(seen.value("success_ratio") == 1);
  CHECK(seen.value("rejected_rightly") >= 20);
  CHECK(seen.value("wrongly_accepted") == 0);
  const Watched denied = watch("login.ldap", params(slapd.address(), {{"user", "user1"}, {"password", "no longer mine"}}), 2);
  CHECK(denied.value("success_ratio") == 0);
  CHECK(denied.value("denied") >= 30);
}

TEST_CASE("a slapd that hangs is timed out, and one that is down is refused", "[ldap][beside]") {
  RealSlapd slapd;
  slapd.server().stop();
  const Watched hanging = watch("login.ldap", params(slapd.address(), {{"timeout", "300ms"}}), 2);
  CHECK(hanging.value("success_ratio") == 0);
  CHECK(hanging.value("timed_out") >= 30);
  CHECK(hanging.value("latency.p50") == Approx(0.3).epsilon(0.01));
  for (const char* how : {"tls", "start_tls"}) {
    const std::string address = how == std::string("tls") ? slapd.tls_address() : slapd.address();
    const Watched in_tls = watch("login.ldap", params(address, {{how, true}, {"ca_file", slapd.ca_file()}, {"timeout", "300ms"}}), 1);
    CHECK(in_tls.value("success_ratio") == 0);
    CHECK(in_tls.value("timed_out") >= 15);
  }
  slapd.server().end();
  const Watched down = watch("login.ldap", params(slapd.address()), 2);
  CHECK(down.value("success_ratio") == 0);
  CHECK(down.value("refused") >= 30);
}

TEST_CASE("a slapd that cannot prove who it is gets no password", "[ldap][beside]") {
  RealSlapd slapd;
  CHECK_THROWS_WITH(watch("login.ldap", params(slapd.tls_address(), {{"tls", true}}), 1), Catch::Contains("certificate verify failed") && Catch::Contains("ca_file"));
  const Watched trusted = watch("login.ldap", params(slapd.tls_address(), {{"tls", true}, {"ca_file", slapd.ca_file()}, {"wrong_password_share", "20%"}}), 2);
  CHECK(trusted.value("success_ratio") == 1);
  CHECK(trusted.value("wrongly_accepted") == 0);

  const std::string named = "localhost" + slapd.address().substr(slapd.address().find(':'));
  CHECK_THROWS_WITH(watch("login.ldap", params(named, {{"start_tls", true}}), 1), Catch::Contains("certificate verify failed") && Catch::Contains("ca_file"));
  CHECK_THROWS_WITH(watch("login.ldap", params(slapd.address(), {{"start_tls", true}, {"ca_file", slapd.ca_file()}}), 1), Catch::Contains("certificate verify failed"));  // another name
  const Watched upgraded = watch("login.ldap", params(named, {{"start_tls", true}, {"ca_file", slapd.ca_file()}, {"wrong_password_share", "20%"}, {"unknown_user_share", "10%"}}), 2);
  CHECK(upgraded.value("success_ratio") == 1);
  CHECK(upgraded.value("rejected_rightly") >= 8);
  CHECK(upgraded.value("wrongly_accepted") == 0);
}

TEST_CASE("a slapd without a certificate is told from one that is down: it does not do StartTLS", "[ldap][beside]") {
  RealSlapd slapd(false);
  CHECK_THROWS_WITH(watch("login.ldap", params(slapd.address(), {{"start_tls", true}}), 1), Catch::Contains("does not do StartTLS: result 2"));
}

TEST_CASE("words slipped in before TLS are no answer, and the password is not sent after them", "[ldap][beside]") {
  // Says yes to StartTLS, and with it, before any TLS, that the bind to come was a success.
  asio::io_context io;
  asio::ip::tcp::acceptor listening(io, asio::ip::tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  std::string heard;
  std::jthread server([&] {
    const std::string yes("\x30\x0c\x02\x01\x09\x78\x07\x0a\x01\x00\x04\x00\x04\x00", 14);
    const std::string bound("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", 14);
    boost::system::error_code error;
    while (!error) {
      auto client = listening.accept(error);
      std::array<char, 4096> bytes;
      if (!error) client.read_some(asio::buffer(bytes), error);
      if (error) break;
      asio::write(client, asio::buffer(yes + bound), error);
      while (!error) {
        const std::size_t got = client.read_some(asio::buffer(bytes), error);
        heard.append(bytes.data(), got);
      }
      error = {};
    }
  });
  const std::string address = "127.0.0.1:" + std::to_string(listening.local_endpoint().port());
  const Watched seen = watch("login.ldap", params(address, {{"start_tls", true}, {"verify", false}, {"timeout", "2s"}}), 1);
  ::shutdown(listening.native_handle(), SHUT_RDWR);
  server.join();
  CHECK(seen.value("success_ratio") == 0);
  CHECK(seen.value("broken") >= 15);
  CHECK(heard.empty());
}

TEST_CASE("a server that speaks no LDAP makes broken logins", "[ldap][beside]") {
  SmallServer web([](const ServerRequest&) { return ServerReply{}; });
  const Watched seen = watch("login.ldap", params("127.0.0.1:" + std::to_string(web.port()), {{"timeout", "2s"}}), 2);
  CHECK(seen.value("success_ratio") == 0);
  CHECK(seen.value("broken") >= 30);
}

TEST_CASE("parameters of login.ldap that would test nothing are refused", "[ldap][beside]") {
  const auto refusal = [](Json more) {
    ProbeContext context;
    context.name = "login";
    context.params = params("127.0.0.1:1");
    context.params.update(more);
    try {
      find_probe("login.ldap")->make(std::move(context));
    } catch (const Error& error) {
      return error.fact();
    }
    return std::string();
  };
  CHECK(refusal(Json::object()).empty());
  CHECK(refusal({{"dn", "cn=admin"}}).find("everybody as one DN") != std::string::npos);
  CHECK(refusal({{"dn", "cn=admin"}, {"user", "a"}, {"password", "b"}, {"unknown_user_share", "1%"}}).find("unknown user") != std::string::npos);
  CHECK(refusal({{"tls", true}, {"start_tls", true}}).find("TLS from the first byte") != std::string::npos);
  CHECK(refusal({{"user", "a"}, {"password", ""}}).find("empty password") != std::string::npos);
}
