#include <catch2/catch.hpp>

#include "injector/base/rng.h"
#include "injector/net/dns_query.h"

using namespace capsize;

namespace {

using Message = std::vector<std::uint8_t>;

Message query_for(const std::vector<std::string>& labels, bool edns = false) {
  Message out = {0xab, 0xcd, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(edns ? 1 : 0)};
  for (const std::string& label : labels) {
    out.push_back(static_cast<std::uint8_t>(label.size()));
    out.insert(out.end(), label.begin(), label.end());
  }
  const Message rest = {0, 0, 28, 0, 1};
  out.insert(out.end(), rest.begin(), rest.end());
  const Message opt = {0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0};
  if (edns) out.insert(out.end(), opt.begin(), opt.end());
  return out;
}

std::string name_of(const Message& message) {
  const auto query = read_dns_query(message);
  return query ? query->name : "nothing";
}

}  // namespace

TEST_CASE("a query's name is read in lower case without its final dot", "[dns_query]") {
  CHECK(name_of(query_for({"Db", "STAGING"})) == "db.staging");
  CHECK(name_of(query_for({"_sip", "a-b", "9"})) == "_sip.a-b.9");
  CHECK(name_of(query_for({})) == "");
  CHECK(name_of(query_for({std::string(63, 'x')})) == std::string(63, 'x'));
}

TEST_CASE("a dot or another odd byte inside a label cannot pass for another name", "[dns_query]") {
  CHECK(name_of(query_for({"db.staging"})) == "db\\046staging");
  CHECK(name_of(query_for({std::string("a\0b", 3)})) == "a\\000b");
  CHECK_FALSE(names_match({"db.staging", "*.staging"}, name_of(query_for({"db.staging"}))));
}

TEST_CASE("what is not one standard query is left alone", "[dns_query]") {
  Message answer = query_for({"db"});
  answer[2] |= 0x80;
  Message update = query_for({"db"});
  update[2] = 0x28;
  Message two = query_for({"db"});
  two[5] = 2;
  Message pointer = query_for({"db"});
  pointer[12] = 0xc0;
  const Message long_label = query_for({std::string(64, 'x')});
  const Message long_name = query_for({std::string(63, 'a'), std::string(63, 'b'), std::string(63, 'c'), std::string(63, 'd')});
  for (const Message& message : {answer, update, two, pointer, long_label, long_name, Message{}, Message(11, 0)}) CHECK(name_of(message) == "nothing");
  const Message whole = query_for({"db", "staging"});
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    INFO("cut at " << cut);
    CHECK(name_of(Message(whole.begin(), whole.begin() + static_cast<long>(cut))) == "nothing");
  }
}

TEST_CASE("a name matches itself, and a star matches any name below", "[dns_query]") {
  CHECK(names_match({"db.staging"}, "db.staging"));
  CHECK_FALSE(names_match({"db.staging"}, "x.db.staging"));
  CHECK_FALSE(names_match({"db.staging"}, "db.staging2"));
  CHECK(names_match({"other", "*.staging"}, "db.staging"));
  CHECK(names_match({"*.staging"}, "a.b.staging"));
  CHECK_FALSE(names_match({"*.staging"}, "staging"));
  CHECK_FALSE(names_match({"*.staging"}, "notstaging"));
  CHECK_FALSE(names_match({"*.staging"}, ".staging"));
  CHECK_FALSE(names_match({}, "db"));
}

TEST_CASE("an answer has the id and the question of its query, and says the code", "[dns_query]") {
  const Message message = query_for({"Db", "staging"});
  const auto query = read_dns_query(message);
  REQUIRE(query);
  const Message answer = answer_dns_query(message, *query, kDnsNxdomain);
  Message expected = message;
  expected[2] = 0x81;  // an answer; recursion was desired
  expected[3] = 0x83;  // recursion is available; no such name
  CHECK(answer == expected);
  CHECK((answer_dns_query(message, *query, kDnsServfail)[3] & 0xf) == 2);
}

TEST_CASE("who asks with EDNS is answered with it", "[dns_query]") {
  const Message message = query_for({"db"}, true);
  const auto query = read_dns_query(message);
  REQUIRE(query);
  REQUIRE(query->has_edns);
  const Message answer = answer_dns_query(message, *query, kDnsServfail);
  CHECK(answer[11] == 1);
  CHECK(answer.size() == message.size());
  CHECK(std::vector<std::uint8_t>(answer.end() - 11, answer.end()) == Message{0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0});
  Message other = message;  // some other record
  other[other.size() - 9] = 1;
  const auto plain = read_dns_query(other);
  REQUIRE(plain);
  CHECK_FALSE(plain->has_edns);
}

TEST_CASE("any bytes at all are read as a query within their bounds, or not at all", "[dns_query]") {
  Rng rng(20261123);
  int read = 0;
  for (int i = 0; i < 300'000; ++i) {
    Message message = query_for({"ab", "cd"}, rng.chance(0.3));
    message.resize(rng.below(message.size() + 8));
    for (std::uint64_t changes = rng.below(4); changes > 0 && !message.empty(); --changes) message[rng.below(message.size())] = static_cast<std::uint8_t>(rng.next());
    const auto query = read_dns_query(message);
    if (!query) continue;
    ++read;
    REQUIRE(query->question_end <= message.size());
    REQUIRE(query->name.size() <= 4 * 255);
    const Message answer = answer_dns_query(message, *query, kDnsNxdomain);
    REQUIRE(answer.size() <= message.size());
    REQUIRE_FALSE(read_dns_query(answer));  // an answer is no query: two of us cannot answer each other for ever
  }
  CHECK(read > 1000);
}
