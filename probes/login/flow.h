// A login of any number of HTTP requests: what each sends, what its answer must be, and what is taken from it for the later ones. In texts
// {user}, {password} and the names of what was captured stand for their values. Cookies are kept from request to request.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "injector/base/rng.h"
#include "probes/login/cookie_jar.h"
#include "probes/login/flow_capture.h"
#include "probes/login/http_wire.h"

namespace capsize {

inline constexpr std::size_t kMaxCaptured = 16 * 1024;  // bytes of one captured value

// Beside user and password: basic is base64 of user:password, client the same of both percent-encoded (RFC 6749, 2.3.1).
using FlowValues = std::map<std::string, std::string>;

// What must be in the answer, taken from where a capture would be: JSON of any type from JSON, else a text.
struct FlowCheck {
  Capture what;
  Json wanted;
};

// What an answer may look like: all of it fits, or it is none such.
struct FlowLook {
  std::set<unsigned> status;             // one of these
  std::vector<FlowCheck> check;
  std::optional<std::string> contains;   // in the body
};

struct FlowStep : FlowLook {             // and its answer's; no status: any 2xx
  std::string method = "GET";
  std::string url;                       // absolute, or a path of the flow's base; empty: that itself. In it values are percent-encoded, but for a URL that is one {name}
  HttpHeaders headers;
  HttpHeaders form;                      // application/x-www-form-urlencoded
  std::optional<Json> json;              // texts anywhere in it are filled in
  std::map<std::string, Capture> capture;
  std::optional<FlowLook> denied;        // of an answer that is a no, whatever its status; no status: any
  bool proves_token = false;             // an answer that is right but for whose the token is has accepted it: a login that must be refused was let in
  std::optional<std::string> verdict_at; // JSON pointer to what alone says whether the token works: without it nobody answered for it
};

struct Flow {
  Url base;
  std::vector<FlowStep> steps;
  std::string expired_token;  // what {token} is for an attempt with an expired one; empty: there is none
  FlowValues given;           // more names, and what they stand for
  std::uint64_t seed = 0;     // of what each login draws by chance
};

FlowValues values_of(const LoginAttempt& attempt);
// Of each login anew: random, and a code verifier with its challenge, S256 (RFC 7636).
FlowValues chance_values(Rng& rng);
std::string pkce_challenge(std::string_view verifier);
// Names that always stand for something: no capture may take one.
bool is_taken(std::string_view name);

std::string base64(std::string_view bytes);

// The names in braces, of all texts of the step.
std::set<std::string> names_in(const FlowStep& step);
std::set<std::string> names_sent(const FlowStep& step);  // of these, the ones in the request
bool sends_credentials(const FlowStep& step);
// The first name that stands for nothing where it is used; nothing where all do.
std::optional<std::string> unknown_name(const Flow& flow);
// One URL of each origin that the flow names. A URL from a capture may lead to these only.
std::vector<Url> origins_of(const Flow& flow);
// The first step that uses {token} after the last that sends credentials; nothing where there is none.
std::optional<std::size_t> first_use_of_token(const Flow& flow);

// What goes on the wire; nothing when a value is not known, does not fit where it goes (a control character in a header), or leads elsewhere
// than to one of the origins.
std::optional<HttpAsk> filled_in(const FlowStep& step, const Url& base, const std::vector<Url>& origins, const FlowValues& values);
enum class StepEnd { accepted, denied, unfit };
// Whether the answer is what the step wants; then its captures are among `values`, and its cookies in `jar`. `anybody`: a check for {user} is
// content with whoever it is.
StepEnd judge_step(const FlowStep& step, const Url& from, const HttpSaid& said, FlowValues& values, CookieJar& jar, bool anybody);

// How an attempt maps to an Answer, in this order:
//   the deadline passed anywhere                              timed_out
//   no connection                                             refused (TLS that fails: broken)
//   connection lost half-way, nonsense or over 64 KiB         broken
//   right password: all steps accepted                        ok
//     an answer that is the step's `denied`, or a 4xx or 5xx not wanted up to the last step with credentials   denied; anything else   broken
//   wrong password or expired token: all steps accepted       wrongly_accepted
//     not accepted from the first step with credentials on    rejected_rightly; before it, or with nobody's answer for the token   broken;
//     and so is, in a step that says what `denied` looks like, what is neither that nor a 4xx or 5xx
// An expired token is nobody's in particular: it is accepted, whoever it makes of its bearer.
std::unique_ptr<LoginTransport> make_flow_transport(Flow flow, std::unique_ptr<HttpWire> wire);

}  // namespace capsize
