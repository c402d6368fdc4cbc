#include "experiments/report/webhook.h"

#include <fmt/format.h>

#include "experiments/report/summary.h"
#include "experiments/report/words.h"
#include "injector/base/diagnostics.h"
#include "injector/base/error.h"
#include "injector/base/settle.h"
#include "injector/base/within.h"
#include "probes/login/http_transport.h"

namespace capsize {
namespace {

namespace http = boost::beast::http;

constexpr std::size_t kMaxLines = 8;    // of missed expectations
constexpr std::size_t kMaxText = 500;   // bytes of one piece of text

// In Slack's markup three characters are all there is to escape. Chats make links of bare URLs, too, and some of "[text](url)" and "@name": a word
// joiner, which has no width, parts what would be one.
constexpr const char* kJoiner = "\xe2\x81\xa0";
std::string chat_text(const std::string& text) {
  std::string out;
  for (const char c : printable(text, kMaxText)) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '@') out += std::string("@") + kJoiner;
    else if (c == '/' && out.ends_with(":/")) out += std::string(kJoiner) + "/";
    else if (c == '(' && out.ends_with("]")) out += std::string(kJoiner) + "(";
    else out += c;
  }
  return out;
}

std::string text_of_run(const Summary& summary, const std::string& playbook, const std::string& folder) {
  const OutcomeWords words = outcome_words(summary.outcome);
  std::string out = fmt::format("capsize: {}: {}: {}\n", chat_text(playbook), words.badge, chat_text(summary.because));
  if (!summary.residue.empty() || !summary.undo_known) out += chat_text(summary.undo) + "\n";
  for (const ResidueWords& one : summary.residue) out += "• " + chat_text(one.what + (one.remedy.empty() ? "" : ": " + one.remedy)) + "\n";
  std::size_t lines = 0;
  for (const FindingWords& finding : summary.findings) {
    if (finding.holds == "yes" || ++lines > kMaxLines) continue;
    out += "• " + chat_text(finding.sentence) + "\n";
  }
  if (lines > kMaxLines) out += fmt::format("• and {} more\n", lines - kMaxLines);
  return out + chat_text(summary.recovery) + "\n" + chat_text(folder + "/report.html");
}

Task<HttpReply> exchange(std::shared_ptr<const Origin> origin, HttpRequest request) {
  const auto executor = co_await asio::this_coro::executor;
  Connection connection(executor, origin);
  const ConnectResult connected = co_await connection.connect();
  HttpReply reply;
  reply.error = connected.error;
  if (reply.error) co_return reply;
  const std::string wire = wire_of(request);
  reply = co_await connection.exchange(wire);
  co_return reply;
}

Task<HttpReply> send(Url url, Json message, TlsOptions tls) {
  auto request = make_request(http::verb::post, url);
  request.keep_alive(false);
  request.set(http::field::content_type, "application/json");
  request.body() = message.dump(-1, ' ', true, Json::error_handler_t::replace);
  request.prepare_payload();
  Url place = url;
  place.target = "/";  // what a message of resolve_origin() may show
  const auto origin = co_await resolve_origin(place, tls);
  const auto reply = co_await exchange(origin, std::move(request));
  co_return reply;
}

}  // namespace

Json webhook_message(const Json& verdict, const std::string& playbook_name, const std::string& folder) {
  const Summary summary = summarize(Json(), {}, verdict);
  Json missed = Json::array();
  for (const FindingWords& finding : summary.findings) {
    if (finding.holds != "yes") missed.push_back({{"expectation", finding.expectation}, {"holds", finding.holds}, {"because", finding.because}});
  }
  Json facts = {{"run", summary.run}, {"playbook", playbook_name}, {"title", summary.title}, {"outcome", summary.outcome}, {"exit_code", summary.exit_code}, {"because", summary.because}};
  facts["recovery"] = member(verdict, "recovery");
  facts["not_held"] = std::move(missed);
  facts["residue"] = list_of(verdict, "residue");
  facts["folder"] = folder;
  return {{"text", text_of_run(summary, playbook_name, folder)}, {"capsize", std::move(facts)}};
}

Json webhook_of_no_run(const std::string& playbook_name, int code, const std::string& because) {
  const std::string text = fmt::format("capsize: {}: no verdict (exit {}): {}", chat_text(playbook_name), code, chat_text(because));
  return {{"text", text}, {"capsize", {{"playbook", playbook_name}, {"outcome", nullptr}, {"exit_code", code}, {"because", because}}}};
}

Url webhook_url(const std::string& text) {
  const auto parsed = parse_url(text);
  if (const auto* url = std::get_if<Url>(&parsed)) return *url;
  throw Error(ErrorKind::refused, "the webhook is not a URL", "write http://... or https://..., as the chat gave it");
}

Task<> post_webhook(Clock& clock, Url url, Json message, TlsOptions tls, Duration limit) {
  const std::string host = url.address.host;
  auto sending = within(clock, limit, send(url, std::move(message), std::move(tls)));
  const auto sent = co_await settle(std::move(sending));
  if (sent->error) std::rethrow_exception(sent->error);
  const auto& reply = *sent->value;
  if (!reply) throw Error(ErrorKind::unavailable, fmt::format("the webhook at {} did not answer within {}", printable(host), plain_seconds(seconds(limit))));
  if (reply->error) throw Error(ErrorKind::unavailable, fmt::format("the webhook at {} could not be told: {}", printable(host), reply->error.message()));
  // Not its body: many servers repeat in it the path that was asked for, which is the secret.
  if (reply->status < 200 || reply->status > 299) throw Error(ErrorKind::unavailable, fmt::format("the webhook at {} answered {}", printable(host), reply->status));
}

}  // namespace capsize
