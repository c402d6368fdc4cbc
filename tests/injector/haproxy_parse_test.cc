#include <catch2/catch.hpp>

#include "injector/base/rng.h"
#include "injector/targets/haproxy.h"
#include "tests/sim/fake_haproxy.h"

using namespace capsize;

namespace {

const std::string kQuestion = "show info;show servers state auth;show stat auth 6 -1";

// As HAProxy 2.6.12 prints it, columns shortened at the end.
const std::string kReal = R"(Name: HAProxy
Version: 2.6.12-1+deb12u4
Nbthread: 2
Pid: 10399
Uptime_sec: 12
Start_time_sec: 1795386190

1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl
3 auth 1 auth1 127.0.0.1 2 0 80 10 0 1 0 2 0 0 0 0 - 22551 - 0
3 auth 2 auth2 127.0.0.1 0 5 10 10 0 1 0 2 0 22 0 0 - 22552 - 0

# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,bck,last_chk,lbtot,algo
auth,auth1,3,9,10,10,10,166,0,0,,0,,7,2,0,0,UP,80,1,0,"Layer7 check, passed: ""ok""",160,
auth,auth2,0,0,0,0,,0,0,0,,0,,0,0,0,0,MAINT,10,0,1,,0,
auth,BACKEND,4,0,14,0,999,170,0,0,0,0,,0,0,0,0,UP,80,1,0,,0,roundrobin

)";

std::string text_of(const Error& error) { return error.what(); }

}  // namespace

TEST_CASE("what HAProxy prints of a backend becomes values, by the names of the columns", "[haproxy]") {
  const BackendState state = parse_backend_reply(kReal, "auth");
  CHECK(state.process.pid == 10399);
  CHECK(state.process.start == 1795386190);
  CHECK(state.process.version == "2.6.12-1+deb12u4");
  CHECK(state.algorithm == "roundrobin");
  CHECK(state.queued == 4);
  CHECK(state.total_sessions == 170);
  REQUIRE(state.servers.size() == 2);
  const ServerState& first = state.servers[0];
  CHECK(first.name == "auth1");
  CHECK(first.port == 22551);
  CHECK(first.weight == 80);
  CHECK(first.initial_weight == 10);
  CHECK(first.max_connections == 10);
  CHECK(first.current_sessions == 10);
  CHECK(first.queued == 3);
  CHECK(first.total_sessions == 166);
  CHECK(first.balanced == 160);
  CHECK(first.connect_errors == 7);
  CHECK(first.response_errors == 2);
  CHECK(first.in_service());
  const ServerState& second = state.servers[1];
  CHECK(second.admin_state == 5);
  CHECK(second.max_connections == 0);
  CHECK(second.backup);
  CHECK((second.agent_state & kAgentOn) == kAgentOn);
  CHECK_FALSE(second.in_service());
}

TEST_CASE("a backend's state survives its JSON", "[haproxy]") {
  const BackendState state = parse_backend_reply(kReal, "auth");
  CHECK(to_json(backend_from_json(to_json(state))) == to_json(state));
  CHECK_THROWS_AS(backend_from_json(Json::array()), Error);
  CHECK_THROWS_AS(backend_from_json({{"process", 7}}), Error);
  Json wrong = to_json(state);
  wrong["servers"][0]["weight"] = "80";
  CHECK_THROWS_AS(backend_from_json(wrong), Error);
}

TEST_CASE("a backend that is not there is said to be missing", "[haproxy]") {
  FakeHaproxy fake("auth", {{.name = "a"}});
  try {
    parse_backend_reply(fake.answer("show info;show servers state nope;show stat nope 6 -1"), "nope");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::unavailable);
    CHECK(text_of(error).find("no backend nope") != std::string::npos);
  }
}

TEST_CASE("an answer that is cut off, torn or not HAProxy's gives an error and never a crash", "[haproxy]") {
  for (std::size_t length = 0; length < kReal.size(); ++length) {
    try {
      const BackendState state = parse_backend_reply(std::string_view(kReal).substr(0, length), "auth");
      CHECK(state.servers.size() == 2);  // only what ends after the last needed column may pass
    } catch (const Error&) {
    }
  }
  Rng rng(42);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = kReal;
    for (std::uint64_t i = rng.below(6) + 1; i > 0; --i) bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
    try {
      const BackendState state = parse_backend_reply(bytes, "auth");
      to_json(state).dump();
    } catch (const Error&) {
    }
  }
  for (const char* other : {"", "\n\n\n", "HTTP/1.1 400 Bad request\r\n\r\n", "1\n# \n", "Name: \n\n1\n# be_name\n\n# pxname\n"}) CHECK_THROWS_AS(parse_backend_reply(other, "auth"), Error);
}

TEST_CASE("a weight or state out of range is not taken for a value", "[haproxy]") {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{" 2 0 80 10 ", " 2 0 257 10 "}, {" 2 0 80 10 ", " 2 0 -1 10 "}, {" 2 0 80 10 ", " 2 256 80 10 "}, {" 2 0 80 10 ", " 2 0 8x 10 "}, {"auth1 127", "au;th1 127"}}) {
    std::string text = kReal;
    text.replace(text.find(from), from.size(), to);
    CHECK_THROWS_AS(parse_backend_reply(text, "auth"), Error);
  }
}

TEST_CASE("a refusal is seen in text that has no status", "[haproxy]") {
  struct Case {
    const char* reply;
    const char* refusal;
  };
  const Case cases[] = {{"\n\n", ""},
                        {"\n[6]: New server registered.\n", ""},
                        {"\n[4]: ip changed\n", ""},
                        {"\n[3]: No such server.\n\n", "No such server."},
                        {"\n\n[3]: Permission denied\n\n", "Permission denied"},
                        {"Permission denied\n", "Permission denied"},
                        {"\n[0]: emergency\n", "emergency"},
                        {"\n[6]: Unknown command, but maybe one of the following ones is a better match:\n", "Unknown command, but maybe one of the following ones is a better match:"}};
  for (const Case& one : cases) {
    INFO(one.reply);
    CHECK(rejection(one.reply) == one.refusal);
  }
}

TEST_CASE("a name that would end a command and begin another is refused", "[haproxy]") {
  for (const char* bad : {"", "a;b", "a b", "a\nb", "a/b", "\xff"}) CHECK_THROWS_AS(check_haproxy_name("server", bad), Error);
  CHECK_THROWS_AS(check_haproxy_name("server", std::string(129, 'a')), Error);
  CHECK_NOTHROW(check_haproxy_name("server", "auth-1.dc_2:80@x"));
}

TEST_CASE("commands are joined to lines that HAProxy's buffer holds, in order", "[haproxy]") {
  CHECK(command_lines({}, 10).empty());
  CHECK(command_lines({"aaaa", "bbbb", "cccc"}, 9) == std::vector<std::string>{"aaaa;bbbb", "cccc"});
  CHECK(command_lines({"aaaaaaaaaaaa", "b"}, 5) == std::vector<std::string>{"aaaaaaaaaaaa", "b"});
}

TEST_CASE("a target's socket is a path or an address", "[haproxy]") {
  const auto problems = [](const std::string& socket) {
    Diagnostics diagnostics;
    haproxy_target_spec().parse({{"socket", socket}, {"backend", "auth"}}, "", {}, diagnostics);
    return diagnostics.errors();
  };
  CHECK(problems("/run/haproxy/admin.sock") == 0);
  CHECK(problems("127.0.0.1:9999") == 0);
  CHECK(problems("[::1]:9999") == 0);
  CHECK(problems("run/haproxy.sock") == 1);
  CHECK(problems("/" + std::string(200, 'x')) == 1);
  CHECK(problems("") == 1);
}
