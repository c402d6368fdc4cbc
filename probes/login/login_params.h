// The parameters that every login probe shares: how many log in how fast, who they are, and which of them must be refused.
#pragma once
#include <array>
#include <optional>
#include <string>

#include "injector/base/spec.h"
#include "probes/http/connection_pool.h"
#include "probes/load/load_probe.h"
#include "probes/login/controls.h"
#include "probes/login/flow.h"

namespace capsize {

enum class Connections { keep_alive, fresh };
template <>
struct EnumWords<Connections> {
  static constexpr std::array<std::pair<Connections, std::string_view>, 2> words = {{{Connections::keep_alive, "keep-alive"}, {Connections::fresh, "new"}}};
};

enum class TlsResumption { never, always };
template <>
struct EnumWords<TlsResumption> {
  static constexpr std::array<std::pair<TlsResumption, std::string_view>, 2> words = {{{TlsResumption::never, "never"}, {TlsResumption::always, "always"}}};
};

inline constexpr Count kMostInFlight = 60'000;
inline constexpr Count kMostWorkers = 64;
inline constexpr const char* kRateDoc =
    "logins per second, sent when they are due however slow the answers are; or steps, as [{\"at\": \"0s\", \"to\": \"20/s\"}, {\"at\": \"30s\", \"to\": \"200/s\", \"over\": \"10s\"}]";
inline constexpr const char* kArrivalsDoc = "\"constant\": as evenly spaced as the rate has it; \"poisson\": each whenever the others come, as people do";

struct LoginLoadParams {
  LoadRate rate;
  Arrivals arrivals = Arrivals::constant;
  Duration timeout = std::chrono::seconds(1);
  Count users = 100;
  std::string user_prefix = "user";
  std::string password_prefix = "pw";
  std::optional<std::string> user;
  std::optional<std::string> password;
  Share wrong_password_share;
  Share unknown_user_share;
  std::optional<Count> max_in_flight;
  std::optional<Count> workers;
};

// Of the probes over HTTP whose logins can end with an expired token.
struct LoginHttpParams : LoginLoadParams {
  Share expired_token_share;
  std::optional<std::string> expired_token;
  Connections connections = Connections::keep_alive;
  std::optional<Count> pool;
  bool verify = true;
  std::optional<std::string> ca_file;
  std::optional<std::string> client_cert;
  std::optional<std::string> client_key;
  TlsResumption tls_resumption = TlsResumption::never;
};

namespace login_params_detail {
// A member of a base as one of the struct that inherits it, which Spec deduces from.
template <class P, class B, class T>
T P::*of(T B::*member) {
  return member;
}
}  // namespace login_params_detail

template <class P>
Spec<P>& add_load_params(Spec<P>& spec) {
  using login_params_detail::of;
  return spec.required("rate", of<P>(&LoginLoadParams::rate), kRateDoc)
      .optional("arrivals", of<P>(&LoginLoadParams::arrivals), kArrivalsDoc)
      .optional("timeout", of<P>(&LoginLoadParams::timeout), "how long a user waits, from the moment the login was due until it has proved to work", more_than_zero())
      .optional("users", of<P>(&LoginLoadParams::users), "how many different users log in: user1 to user<users>", between(1, 1'000'000))
      .optional("user_prefix", of<P>(&LoginLoadParams::user_prefix), "user 7 is called <user_prefix>7")
      .optional("password_prefix", of<P>(&LoginLoadParams::password_prefix), "and has the password <password_prefix>7")
      .optional("user", of<P>(&LoginLoadParams::user), "one user's name, for all logins, instead of the prefixes")
      .optional("password", of<P>(&LoginLoadParams::password), "that user's password; may be \"${secret:NAME}\"")
      .optional("wrong_password_share", of<P>(&LoginLoadParams::wrong_password_share), "share of the logins sent with a wrong password, which must be refused (mind account lockout)")
      .optional("unknown_user_share", of<P>(&LoginLoadParams::unknown_user_share), "share of the logins sent for a user that nobody is, which must be refused")
      .optional("max_in_flight", of<P>(&LoginLoadParams::max_in_flight),
                "most logins under way at once; default: rate x timeout and a tenth, so that none waits. Those beyond wait and may end as not_sent", if_given(between(1, kMostInFlight)))
      .optional("workers", of<P>(&LoginLoadParams::workers),
                "threads that send, each its share of the logins, of max_in_flight and of the pool; default: one for each 20,000 logins a second, as far as there are cores",
                if_given(between(1, kMostWorkers)));
}

template <class P>
Spec<P>& add_expired_token_params(Spec<P>& spec) {
  using login_params_detail::of;
  return spec.optional("expired_token_share", of<P>(&LoginHttpParams::expired_token_share), "share of the logins replaced by a use of \"expired_token\", which must be refused")
      .optional("expired_token", of<P>(&LoginHttpParams::expired_token), "a token that was good once; may be \"${secret:NAME}\"");
}

template <class P>
Spec<P>& add_connection_params(Spec<P>& spec) {
  using login_params_detail::of;
  return spec
      .optional("connections", of<P>(&LoginHttpParams::connections), "\"keep-alive\": logins share a pool of open connections; \"new\": each login opens its own, as different people do")
      .optional("pool", of<P>(&LoginHttpParams::pool),
                "most connections of the pool; default: enough for all logins under way. A smaller pool protects the service from the load", if_given(between(1, kMostInFlight)))
      .optional("verify", of<P>(&LoginHttpParams::verify), "whether an https server must prove who it is")
      .optional("ca_file", of<P>(&LoginHttpParams::ca_file), "PEM file of the authorities to trust instead of the system's")
      .optional("client_cert", of<P>(&LoginHttpParams::client_cert), "PEM file of a certificate, and its chain, that the client shows a server that asks for one")
      .optional("client_key", of<P>(&LoginHttpParams::client_key), "PEM file of its key; default: it is in client_cert")
      .optional("tls_resumption", of<P>(&LoginHttpParams::tls_resumption),
                "\"never\": each new connection makes a full TLS handshake, as a person does who comes for the first time; \"always\": it resumes the session of the one before, which costs the server much less");
}

ControlShares shares_of(const LoginLoadParams& params);
ControlShares shares_of(const LoginHttpParams& params);

// What parameters, each right in itself, are wrong in together: all of it is said in one error.
class Contradictions {
 public:
  void add(std::string fact, std::string remedy);  // fact: what the probe does, as "has a user or a password, not both"
  void throw_if_any(const ProbeContext& context) const;  // Error (refused)

 private:
  std::string facts_;
  std::string remedies_;
};

void check_login(const LoginLoadParams& params, const ControlShares& shares, Contradictions& found);
void check_tls(const LoginHttpParams& params, Contradictions& found);
void check_expired_token_share(const LoginHttpParams& params, Contradictions& found);
void check_names(const Flow& flow, const LoginLoadParams& params, Contradictions& found);

LoadPlan load_plan_of(const ProbeContext& context, const LoginLoadParams& params, const ControlShares& shares);
PoolOptions pool_of(const LoginHttpParams& params, const LoadPlan& plan);
TlsOptions tls_of(const LoginHttpParams& params);

// The probe whose logins are this flow, over pooled connections; some of them controls.
std::unique_ptr<Probe> make_flow_probe(ProbeContext context, const LoadPlan& plan, Flow flow, const LoginHttpParams& params);

// For ProbeType::sends_controls, of a probe with these parameters.
bool has_control_share(const Json& params);

}  // namespace capsize
