// A probe that asks monitoring the same question now and then. Each look is a window from when it was asked to when the answer was there.
#pragma once
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "probes/alert/document_source.h"
#include "probes/probe.h"

namespace capsize {

// What an answer says, as members of a window; {"gap": why} where it says nothing. Somebody else's words are whole in it: they may repeat a secret,
// and a piece of one is no longer found. Who writes them down hides it first, and then cuts them. Pure.
using AnswerReader = std::function<Json(const Json& answer)>;

struct PollPlan {
  DocumentOptions server;
  std::string named;    // "Prometheus" or "Alertmanager", for messages
  Duration every{};
  std::string target;   // "/api/v1/query?query=up"
  AnswerReader read;    // of an answer that is JSON with a 2xx status
};

std::unique_ptr<Probe> make_poll_probe(ProbeContext context, PollPlan plan);

// {"gap": "Prometheus at http://…: …"} for a document that is no answer; else what `read` says of it. Pure.
Json read_document(const Document& document, const PollPlan& plan);

// How many of the windows have no answer, and the first reason: "2 of 9 looks had no answer: …"; empty: none. Pure.
std::string gaps_in_words(const std::vector<const Window*>& windows);

// What both probes have as parameters besides their server.
struct PollParams {
  Duration every = std::chrono::seconds(1);
  Duration timeout = std::chrono::seconds(1);
  bool verify = true;
  std::optional<std::string> ca_file;
  std::optional<std::string> token;
};

// P derives from PollParams.
template <class P>
DocumentOptions document_options(const P& params, Url server) {
  return {std::move(server), params.timeout, params.verify, params.ca_file, params.token};
}

// The parameters that every probe of monitoring has; P derives from PollParams.
template <class P>
void add_poll_params(Spec<P>& spec) {
  spec.optional("every", static_cast<Duration P::*>(&PollParams::every), "how often it is asked", more_than_zero())
      .optional("timeout", static_cast<Duration P::*>(&PollParams::timeout), "how long an answer may take; one that takes longer is not known", more_than_zero())
      .optional("token", static_cast<std::optional<std::string> P::*>(&PollParams::token), "sent as \"Authorization: Bearer\"; write it as \"${secret:NAME}\"")
      .optional("verify", static_cast<bool P::*>(&PollParams::verify), "whether an https server must prove who it is")
      .optional("ca_file", static_cast<std::optional<std::string> P::*>(&PollParams::ca_file), "PEM file of the authorities to trust instead of the system's");
}

}  // namespace capsize
