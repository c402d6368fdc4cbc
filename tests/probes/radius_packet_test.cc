#include "probes/login/radius_packet.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <catch2/catch.hpp>

using namespace capsize;

namespace {

const std::string kSecret = "xyzzy5461";

std::string bytes(std::initializer_list<int> list) {
  std::string out;
  for (const int byte : list) out += static_cast<char>(byte);
  return out;
}

RadiusAsk nemo() {  // RFC 2865, 7.1
  RadiusAsk out;
  out.authenticator = {0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a};
  out.user = "nemo";
  out.password = "arctangent";
  out.nas_identifier = "capsize";
  return out;
}

std::string text_of(const RadiusAuthenticator& authenticator) { return {authenticator.begin(), authenticator.end()}; }

// An answer signed as a server signs it; `attributes` with a Message-Authenticator of zeros has it filled in.
std::string answer(int code, const RadiusAsk& ask, std::string attributes, const std::string& secret = kSecret) {
  const std::size_t size = 20 + attributes.size();
  const std::string head = bytes({code, ask.id, static_cast<int>(size / 256), static_cast<int>(size % 256)});
  const std::size_t zeros = attributes.find(bytes({80, 18}) + std::string(16, '\0'));
  if (zeros != std::string::npos) {
    const std::string whole = head + text_of(ask.authenticator) + attributes;
    unsigned char mac[16];
    ::HMAC(::EVP_md5(), secret.data(), static_cast<int>(secret.size()), reinterpret_cast<const unsigned char*>(whole.data()), whole.size(), mac, nullptr);
    attributes.replace(zeros + 2, 16, std::string(mac, mac + 16));
  }
  return head + md5(head + text_of(ask.authenticator) + attributes + secret) + attributes;
}

const std::string kSigned = bytes({80, 18}) + std::string(16, '\0');

}  // namespace

TEST_CASE("a password is hidden as in the example of the RFC", "[radius]") {
  CHECK(hidden_password("arctangent", nemo().authenticator, kSecret) == bytes({0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a, 0x0a, 0xee}));
  CHECK(hidden_password("", nemo().authenticator, kSecret).size() == 16);
  CHECK(hidden_password(std::string(17, 'x'), nemo().authenticator, kSecret).size() == 32);
}

TEST_CASE("a request has its length, the user, and a signature over all of it", "[radius]") {
  const std::string request = access_request(nemo(), kSecret);
  CHECK(request.substr(0, 4) == bytes({1, 0, 0, static_cast<int>(request.size())}));
  CHECK(request.substr(20, 2) == bytes({80, 18}));  // the signature comes first, where nothing that is forged fits before it
  CHECK(request.substr(38, 6) == bytes({1, 6}) + "nemo");
  std::string unsigned_one = request;
  unsigned_one.replace(22, 16, std::string(16, '\0'));
  unsigned char mac[16];
  ::HMAC(::EVP_md5(), kSecret.data(), static_cast<int>(kSecret.size()), reinterpret_cast<const unsigned char*>(unsigned_one.data()), unsigned_one.size(), mac, nullptr);
  CHECK(request.substr(22, 16) == std::string(mac, mac + 16));
}

TEST_CASE("the accept of the example of the RFC is one", "[radius]") {
  const std::string accept = bytes({0x02, 0x00, 0x00, 0x26, 0x86, 0xfe, 0x22, 0x0e, 0x76, 0x24, 0xba, 0x2a, 0x10, 0x05, 0xf6, 0xbf, 0x9b, 0x55, 0xe0,
                                    0xb2, 0x06, 0x06, 0x00, 0x00, 0x00, 0x01, 0x0f, 0x06, 0x00, 0x00, 0x00, 0x00, 0x0e, 0x06, 0xc0, 0xa8, 0x01, 0x03});
  CHECK(verified_answer(accept, nemo(), kSecret) == RadiusAnswer::accept);
  CHECK(verified_answer(accept + "padding", nemo(), kSecret) == RadiusAnswer::accept);
}

TEST_CASE("only an accept lets somebody in, and only a reject is a no, whatever the password", "[radius]") {
  CHECK(meaning_of(RadiusAnswer::accept, false) == Answer::ok);
  CHECK(meaning_of(RadiusAnswer::accept, true) == Answer::wrongly_accepted);
  CHECK(meaning_of(RadiusAnswer::reject, false) == Answer::denied);
  CHECK(meaning_of(RadiusAnswer::reject, true) == Answer::rejected_rightly);
  for (const RadiusAnswer neither : {RadiusAnswer::challenge, RadiusAnswer::other}) {
    for (const bool wrong : {false, true}) CHECK(meaning_of(neither, wrong) == Answer::broken);
  }
}

TEST_CASE("accept, reject and challenge are told apart", "[radius]") {
  for (const std::string& attributes : {std::string(), kSigned, bytes({18, 4}) + "no" + kSigned}) {
    CHECK(verified_answer(answer(2, nemo(), attributes), nemo(), kSecret) == RadiusAnswer::accept);
    CHECK(verified_answer(answer(3, nemo(), attributes), nemo(), kSecret) == RadiusAnswer::reject);
    CHECK(verified_answer(answer(11, nemo(), attributes), nemo(), kSecret) == RadiusAnswer::challenge);
    CHECK(verified_answer(answer(5, nemo(), attributes), nemo(), kSecret) == RadiusAnswer::other);
  }
}

TEST_CASE("an answer that is changed anywhere, cut off, for another request or under another secret is none", "[radius]") {
  const std::string good = answer(2, nemo(), kSigned);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    INFO(at);
    CHECK(verified_answer(changed, nemo(), kSecret) == std::nullopt);
    CHECK(verified_answer(good.substr(0, at), nemo(), kSecret) == std::nullopt);
  }
  CHECK(verified_answer(answer(2, nemo(), kSigned, "other"), nemo(), kSecret) == std::nullopt);
  RadiusAsk later = nemo();
  later.authenticator[0] = 0;
  CHECK(verified_answer(good, later, kSecret) == std::nullopt);
  RadiusAsk second = nemo();
  second.id = 1;
  CHECK(verified_answer(good, second, kSecret) == std::nullopt);
}

TEST_CASE("an answer without a Message-Authenticator is none where one is wanted", "[radius]") {
  RadiusAsk wary = nemo();
  wary.wants_message_authenticator = true;
  CHECK(verified_answer(answer(2, wary, ""), wary, kSecret) == std::nullopt);
  CHECK(verified_answer(answer(2, wary, bytes({18, 4}) + "no"), wary, kSecret) == std::nullopt);
  CHECK(verified_answer(answer(2, wary, kSigned), wary, kSecret) == RadiusAnswer::accept);
}

TEST_CASE("attributes that do not fill the packet make it no answer", "[radius]") {
  for (const std::string& broken : {bytes({18, 0}), bytes({18, 1}), bytes({18, 9, 'x'}), bytes({18})}) CHECK(verified_answer(answer(2, nemo(), broken), nemo(), kSecret) == std::nullopt);
}
