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

class LdapTransport final : public LoginTransport {
 public:
  LdapTransport(Clock& clock, LdapParams params) : clock_(clock), params_(std::move(params)) {}

  Task<> open() override {
    const auto executor = co_await asio::this_coro::executor;
    const Url url{params_.tls, params_.address, "/"};
    TlsOptions tls;
    tls.verify = params_.verify;
    tls.ca_file = params_.ca_file.value_or("");
    origin_ = co_await resolve_origin(url, tls);
    if (!params_.tls) co_return;
    const auto stream = std::make_unique<ByteStream>(executor, origin_);
    auto connecting = stream->connect();
    const auto result = co_await within(clock_, params_.timeout, std::move(connecting));
    if (result && result->in_tls && result->error.category() == asio::error::get_ssl_category()) {
      throw Error(ErrorKind::unavailable, "no TLS with " + show(params_.address) + ": " + result->error.message(), "give its CA as \"ca_file\", or \"verify\": false to go without");
    }
  }

  Task<Answer> attempt(LoginAttempt attempt) override {
    const Duration limit = attempt.deadline - clock_.now();
    if (limit <= Duration::zero()) co_return Answer::timed_out;
    auto work = login(std::move(attempt));
    const auto answer = co_await within(clock_, limit, std::move(work));
    co_return answer.value_or(Answer::timed_out);
  }

 private:
  Task<Answer> login(LoginAttempt attempt) {
    const auto executor = co_await asio::this_coro::executor;
    const auto stream = std::make_unique<ByteStream>(executor, origin_);
    const auto connected = co_await stream->connect();
    if (connected.error) co_return answer_of(connected);
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

  // `stream` outlives the call: it is the caller's own.
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
    const auto reply = ldap_reply(std::string_view(bytes).substr(0, *size));
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

void check(const ProbeContext& context, const LdapParams& params) {
  if (params.dn.find(kUserMark) == std::string::npos && !params.user) {
    throw Error(ErrorKind::refused, "the probe " + context.name + " binds everybody as one DN", "write {user} in \"dn\", or give one \"user\" and \"password\"");
  }
  if (params.unknown_user_share.value > 0 && params.dn.find(kUserMark) == std::string::npos) {
    throw Error(ErrorKind::refused, "the probe " + context.name + " has no place for the name of an unknown user", "write {user} in \"dn\"");
  }
  if (params.password && params.password->empty()) {
    throw Error(ErrorKind::refused, "the probe " + context.name + " has an empty password, which LDAP takes for an anonymous bind", "give the user's password");
  }
}

std::unique_ptr<Probe> make(ProbeContext context) {
  const LdapParams params = ldap_spec().parse_or_throw(context.params);
  check(context, params);
  const ControlShares shares{params.wrong_password_share, params.unknown_user_share, Share{}};
  const LoadPlan plan = load_plan_of(context, params, shares);
  return make_load_probe(std::move(context), plan, [params, shares](Clock& clock) { return with_controls(std::make_unique<LdapTransport>(clock, params), shares); });
}

}  // namespace

const ProbeType& login_ldap() {
  static const ProbeType type = {
      .name = "login.ldap",
      .doc = "Logs people in at an LDAP server with simple binds at a fixed rate, whatever becomes of them",
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
