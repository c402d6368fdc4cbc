#include "tests/system/small_server.h"

#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <stdexcept>

namespace capsize::testing {
namespace {

namespace http = boost::beast::http;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;

std::string wire(const ServerReply& reply) {
  if (!reply.raw.empty()) return reply.raw;
  return fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", reply.status, reply.body.size(), reply.close ? "Connection: close\r\n" : "",
                     reply.body);
}

template <class Stream>
Task<> serve_on(Stream& stream, Clock& clock, const SmallServer::Handler& handler, ServerStats& stats) {
  boost::beast::flat_buffer buffer;
  boost::system::error_code error;
  for (int nth = 1; !error; ++nth) {
    http::request<http::string_body> request;
    co_await http::async_read(stream, buffer, request, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    ++stats.requests;
    const ServerRequest seen = {std::string(request.method_string()), std::string(request.target()), request.body(), std::string(request[http::field::authorization]),
                                std::string(request[http::field::content_type]), nth};
    const ServerReply reply = handler(seen);
    if (reply.after > Duration::zero()) {
      co_await clock.sleep(reply.after);
    }
    if (reply.hang_up) co_return;
    const std::string bytes = wire(reply);
    co_await asio::async_write(stream, asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
    if (reply.close) co_return;
  }
}

}  // namespace

struct SmallServer::State {
  State(Handler of, const std::string& certificate, const std::string& key) : handler(std::move(of)), acceptor(io, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0)) {
    if (certificate.empty()) return;
    tls.emplace(ssl::context::tls_server);
    tls->use_certificate_chain(asio::buffer(certificate));
    tls->use_private_key(asio::buffer(key), ssl::context::pem);
  }

  Task<> connection(tcp::socket socket) {
    ++stats.accepted;
    stats.most_open = std::max<int>(stats.most_open, ++stats.open);
    boost::system::error_code error;
    if (tls) {
      ssl::stream<tcp::socket> stream(std::move(socket), *tls);
      co_await stream.async_handshake(ssl::stream_base::server, asio::redirect_error(asio::use_awaitable, error));
      if (!error) {
        co_await serve_on(stream, clock, handler, stats);
      }
    } else {
      co_await serve_on(socket, clock, handler, stats);
    }
    --stats.open;
  }

  Task<> accept() {
    for (;;) {
      tcp::socket socket(io);
      co_await acceptor.async_accept(socket, asio::use_awaitable);
      asio::co_spawn(io, connection(std::move(socket)), asio::detached);
    }
  }

  asio::io_context io{1};
  SystemClock clock;
  Handler handler;
  tcp::acceptor acceptor;
  std::optional<ssl::context> tls;
  ServerStats stats;
};

SmallServer::SmallServer(Handler handler, std::string certificate, std::string key) : state_(std::make_unique<State>(std::move(handler), certificate, key)) {
  asio::co_spawn(state_->io, state_->accept(), asio::detached);
  thread_ = std::thread([this] { state_->io.run(); });
}

SmallServer::~SmallServer() {
  state_->io.stop();
  thread_.join();
}

int SmallServer::port() const { return state_->acceptor.local_endpoint().port(); }
std::string SmallServer::url(const std::string& target, const std::string& host) const {
  return fmt::format("{}://{}:{}{}", state_->tls ? "https" : "http", host, port(), target);
}
const ServerStats& SmallServer::stats() const { return state_->stats; }

SelfSigned self_signed(const std::string& host) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509* x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("capsize test"), -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(x));
  const bool literal = host.find_first_not_of("0123456789.") == std::string::npos;
  const std::string name = (literal ? "IP:" : "DNS:") + host;
  for (const auto& [nid, value] : {std::pair<int, std::string>{NID_subject_alt_name, name}, {NID_basic_constraints, "critical,CA:TRUE"}}) {
    const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str()), X509_EXTENSION_free);
    X509_add_ext(x, extension.get(), -1);
  }
  if (X509_sign(x, key.get(), EVP_sha256()) == 0) throw std::runtime_error("the test's certificate cannot be signed");
  const auto text = [](auto&& write) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    write(bio.get());
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
  };
  return {text([x](BIO* bio) { PEM_write_bio_X509(bio, x); }), text([&key](BIO* bio) { PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr); })};
}

}  // namespace capsize::testing
