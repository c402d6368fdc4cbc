// The probe login.ldap: simple binds, each on a connection of its own, and "Who am I?" as the proof that the bind made the connection somebody's.
#include <boost/asio/ssl/error.hpp>

#include "injector/base/error.h"
#include "injector/base/within.h"
#include "probes/login/byte_stream.h"
#include "probes/login/http_transport.h"
#include "probes/login/ldap_message.h"
#include "probes/login/login_params.h"
#include "probes/probes.h"

namespace capsize {
namespace {

constexpr std::string_view kUserMark = "{user}";

struct LdapParams : LoginLoadParams {
  Address address;
  std::string dn;
  bool who_am_i = true;
  bool tls = false;
  bool start_tls = false;
  bool verify = true;
  std::optional<std::string> ca_file;
};

const Spec<LdapParams>& ldap_spec() {
  static const auto spec = [] {
    Spec<LdapParams> out;
    out.required("address", &LdapParams::address, "the server's address and port, as \"ldap.staging:389\"")
        .required("dn", &LdapParams::dn, "what users bind as, with their name as {user}: \"uid={user},ou=people,dc=example,dc=org\"")
        .optional("who_am_i", &LdapParams::who_am_i, "whether the server is asked \"Who am I?\" after the bind: a bind that leaves the connection anonymous is no login");
    add_load_params(out);
    out.optional("tls", &LdapParams::tls, "whether to speak TLS from the first byte (ldaps)")
        .optional("start_tls", &LdapParams::start_tls, "whether to begin without TLS and ask for it before anything else (StartTLS, RFC 4511)")
        .optional("verify", &LdapParams::verify, "whether a TLS server must prove who it is")
        .optional("ca_file", &LdapParams::ca_file, "PEM file of the authorities to trust instead of the system's");
    return out;
  }();
  return spec;
}

struct Received {
  bool broken = false;
  LdapReply reply;
};

struct Connected {
  ConnectResult failure;                    // or none
  std::optional<std::string> no_start_tls;  // what the server said to it, where that was no
};

constexpr int kStartTlsId = 9;  // beside those of a login: 1, 2 and 3

class LdapTransport final : public LoginTransport {
 public:
  LdapTransport(Clock& clock, LdapParams params) : clock_(clock), params_(std::move(params)) {}

  Task<> open() override {
    const auto executor = co_await asio::this_coro::executor;
    const bool is_secure = params_.tls || params_.start_tls;
    const Url url{is_secure, params_.address, "/"};
    TlsOptions tls;
    tls.verify = params_.verify;
    tls.ca_file = params_.ca_file.value_or("");
    origin_ = co_await resolve_origin(url, tls);
    if (!is_secure) co_return;
    const auto stream = std::make_unique<ByteStream>(executor, origin_);
    auto connecting = connect(*stream);
    const auto result = co_await within(clock_, params_.timeout, std::move(connecting));
    if (!result) co_return;
    if (result->no_start_tls) {
      throw Error(ErrorKind::unavailable, "the server at " + show(params_.address) + " does not do StartTLS: " + result->no_start_tls.value(),
                  "give it a certificate, ask its port for ldaps with \"tls\": true, or leave \"start_tls\" out");
    }
    if (result->failure.in_tls && result->failure.error.category() == asio::error::get_ssl_category()) {
      throw Error(ErrorKind::unavailable, "no TLS with " + show(params_.address) + ": " + result->failure.error.message(), "give its CA as \"ca_file\", or \"verify\": false to go without");
    }
  }

  Task<Answer> attempt(LoginAttempt attempt) override { return login(std::move(attempt)); }

 private:
  Task<Answer> login(LoginAttempt attempt) {
    const auto executor = co_await asio::this_coro::executor;
    const auto stream = std::make_unique<ByteStream>(executor, origin_);
    auto connecting = connect(*stream);
    const Connected connected = co_await std::move(connecting);
    if (connected.failure.error) co_return answer_of(connected.failure);
    auto binding = ask(*stream, 1, ldap_bind(1, dn_of(attempt.user), attempt.password));
    const Received bound = co_await std::move(binding);
    if (bound.broken || bound.reply.kind != LdapReply::Kind::bind) co_return Answer::broken;
    if (bound.reply.result != 0) {
      stream->write_and_forget(ldap_unbind(2));
      co_return attempt.wrong_password ? Answer::rejected_rightly : Answer::denied;
    }
    bool is_somebody = true;
    if (params_.who_am_i) {
      auto asking = ask(*stream, 2, ldap_who_am_i(2));
      const Received who = co_await std::move(asking);
      // No answer proves nothing, neither that the password was taken nor that it was not.
      if (who.broken || who.reply.kind != LdapReply::Kind::extended || who.reply.result != 0) co_return Answer::broken;
      is_somebody = who.reply.value.find_first_not_of(' ', who.reply.value.starts_with("dn:") ? 3 : 0) != std::string::npos;
    }
    stream->write_and_forget(ldap_unbind(3));
    if (attempt.wrong_password) co_return is_somebody ? Answer::wrongly_accepted : Answer::rejected_rightly;
    co_return is_somebody ? Answer::ok : Answer::broken;
  }

  // Up to where the password may be sent. The streams of these three outlive the call: they are the caller's own.
  Task<Connected> connect(ByteStream& stream) {
    Connected out;
    out.failure = co_await stream.connect();
    if (out.failure.error) co_return out;
    if (params_.start_tls) {
      auto asking = ask(stream, kStartTlsId, ldap_start_tls(kStartTlsId));
      const Received answer = co_await std::move(asking);
      const bool is_no = !answer.broken && (answer.reply.kind != LdapReply::Kind::extended || answer.reply.result != 0);
      if (is_no) out.no_start_tls = "result " + std::to_string(answer.reply.result);
      if (answer.broken || is_no) {
        out.failure.in_tls = true;
        out.failure.error = make_error_code(boost::system::errc::protocol_error);
        co_return out;
      }
    }
    if (params_.tls || params_.start_tls) {
      out.failure = co_await stream.secure();
    }
    co_return out;
  }

  Task<Received> ask(ByteStream& stream, int id, std::string message) {
    Received out;
    out.broken = true;
    const auto error = co_await stream.write(std::move(message));
    if (error) co_return out;
    std::string bytes;
    std::optional<std::size_t> size;
    while (!size || bytes.size() < *size) {
      auto read = co_await stream.read();
      if (read.error) co_return out;
      bytes += read.bytes;
      size = ldap_message_size(bytes);
      if (size && *size == 0) co_return out;
    }
    // More than was asked for is no answer to us; before TLS it would be somebody's words slipped in front of it.
    const auto reply = bytes.size() == *size ? ldap_reply(bytes) : std::nullopt;
    if (!reply || reply->id != id) co_return out;
    out.broken = false;
    out.reply = *reply;
    co_return out;
  }

  std::string dn_of(const std::string& user) const {
    std::string out = params_.dn;
    const std::string name = dn_escaped(user);
    for (std::size_t at = out.find(kUserMark); at != std::string::npos; at = out.find(kUserMark, at + name.size())) out.replace(at, kUserMark.size(), name);
    return out;
  }

  Clock& clock_;
  const LdapParams params_;
  std::shared_ptr<const Origin> origin_;
};

void check_binds(const LdapParams& params, Contradictions& found) {
  if (params.dn.find(kUserMark) == std::string::npos && !params.user) found.add("binds everybody as one DN", "write {user} in \"dn\", or give one \"user\" and \"password\"");
  if (params.unknown_user_share.value > 0 && params.dn.find(kUserMark) == std::string::npos) found.add("has no place for the name of an unknown user", "write {user} in \"dn\"");
  if (params.tls && params.start_tls) found.add("speaks TLS from the first byte and asks for it as well", "keep \"tls\" (ldaps) or \"start_tls\", not both");
  if (params.password && params.password->empty()) found.add("has an empty password, which LDAP takes for an anonymous bind", "give the user's password");
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const LdapParams params = ldap_spec().parse_or_throw(context.params);
  const ControlShares shares = shares_of(params);
  Contradictions found;
  check_login(params, shares, found);
  check_binds(params, found);
  found.throw_if_any(context);
  const LoadPlan plan = load_plan_of(context, params, shares);
  return make_load_probe(std::move(context), plan, [params, shares](Clock& clock, std::uint64_t) { return with_controls(std::make_unique<LdapTransport>(clock, params), shares); });
}

}  // namespace

const ProbeType& login_ldap() {
  static const ProbeType type = {
      .name = "login.ldap",
      .doc = "Logs people in at an LDAP server with simple binds at a given rate, whatever becomes of them",
      .target_type = "",
      .spec = []() -> const AnySpec& { return ldap_spec(); },
      .example = {{"probe", "login.ldap"}, {"address", "ldap.staging:389"}, {"dn", "uid={user},ou=people,dc=example,dc=org"}, {"rate", "50/s"}, {"wrong_password_share", "5%"}},
      .measures = load_measures,
      .make = make,
      .measure = measure_load,
      .sends_controls = has_control_share,
  };
  return type;
}

}  // namespace capsize
