// SPDX-License-Identifier: Apache-2.0
#include "model/hub/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "base/error.h"

namespace onebeat {
namespace {

constexpr long kMostRedirects = 5;
constexpr long kConnectSeconds = 30;
/// A connection that gives less than a byte a second for so long is given up.
constexpr long kSilentSeconds = 60;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

/// W/"abc" and "abc" are abc.
std::string bare_etag(std::string_view text) {
  if (text.starts_with("W/")) text.remove_prefix(2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  return std::string(text);
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

/// A request under way.
struct Exchange {
  CURL* curl = nullptr;
  HttpAnswer answer;
  const HttpClient::Sink* sink = nullptr;
  const std::function<bool()>* keep_going = nullptr;
  bool cancelled = false;
};

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) {
  auto& answer = static_cast<Exchange*>(user)->answer;
  const std::string_view line(data, size);
  // The headers of the last answer count, and of all those before it what speaks of the file.
  if (line.starts_with("HTTP/")) {
    answer.etag.clear();
    answer.size.reset();
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (name == "etag") answer.etag = bare_etag(value);
  if (name == "x-linked-etag") answer.linked_etag = bare_etag(value);
  if (name == "x-linked-size") answer.linked_size = number(value);
  if (name == "content-length") answer.size = number(value);
  return size;
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  long code = 0;
  curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &code);
  // What a redirection or a refusal says beside its code is not the file.
  if (exchange.sink == nullptr || (code != 200 && code != 206)) return size;
  if ((*exchange.sink)(code, std::string_view(data, size))) return size;
  exchange.cancelled = true;
  return 0;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(user);
  if (exchange.keep_going == nullptr || !*exchange.keep_going || (*exchange.keep_going)()) return 0;
  exchange.cancelled = true;
  return 1;
}

}  // namespace

std::string origin_of(std::string_view url) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (lower(url.substr(0, scheme.size())) != scheme) continue;
    const std::size_t end = std::min(url.find_first_of("/?#", scheme.size()), url.size());
    if (end > scheme.size()) return lower(url.substr(0, end));
  }
  return {};
}

struct HttpClient::Handle {
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
  ~Handle() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
  }

  /// Sets what all requests share.
  void prepare(Exchange& exchange, const std::string& url) {
    curl_easy_reset(curl);
    exchange.curl = curl;
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    // A secure address never leads to one that is not.
    const char* protocols = url.starts_with("https:") ? "https" : "http,https";
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "onebeat");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSilentSeconds);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  }

  /// libcurl gives such a header to the first server only, and to no other that it leads to.
  Status authorize(const std::string& token) {
    curl_slist_free_all(headers);
    headers = curl_slist_append(nullptr, ("Authorization: Bearer " + token).c_str());
    if (headers == nullptr) return resource_exhausted("no memory for a request");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    return {};
  }

  Result<HttpAnswer> run(Exchange& exchange, const std::string& url) {
    const CURLcode result = curl_easy_perform(curl);
    if (exchange.cancelled) return Status(StatusCode::kCancelled, "stopped");
    if (result != CURLE_OK) {
      return unavailable("{}: {}", origin_of(url), curl_easy_strerror(result));
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &exchange.answer.code);
    char* redirect = nullptr;
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &redirect);
    if (redirect != nullptr) exchange.answer.redirect = redirect;
    return std::move(exchange.answer);
  }
};

HttpClient::HttpClient(std::string origin, std::string token)
    : handle_(std::make_unique<Handle>()), origin_(std::move(origin)), token_(std::move(token)) {}
HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::create(std::string origin, std::string token) {
  std::unique_ptr<HttpClient> client(new HttpClient(lower(origin), std::move(token)));
  client->handle_->curl = curl_easy_init();
  if (client->handle_->curl == nullptr) return internal_error("libcurl cannot be used");
  return client;
}

Result<HttpAnswer> HttpClient::head(const std::string& url) {
  Exchange exchange;
  handle_->prepare(exchange, url);
  curl_easy_setopt(handle_->curl, CURLOPT_NOBODY, 1L);
  if (!token_.empty() && origin_of(url) == origin_) {
    ONEBEAT_RETURN_IF_ERROR(handle_->authorize(token_));
  }
  return handle_->run(exchange, url);
}

Result<HttpAnswer> HttpClient::get(const std::string& url, std::int64_t begin, const Sink& sink,
                                   const std::function<bool()>& keep_going) {
  Exchange exchange;
  exchange.sink = &sink;
  exchange.keep_going = &keep_going;
  handle_->prepare(exchange, url);
  curl_easy_setopt(handle_->curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(handle_->curl, CURLOPT_MAXREDIRS, kMostRedirects);
  const std::string range = fmt::format("{}-", begin);
  if (begin > 0) curl_easy_setopt(handle_->curl, CURLOPT_RANGE, range.c_str());
  if (!token_.empty() && origin_of(url) == origin_) {
    ONEBEAT_RETURN_IF_ERROR(handle_->authorize(token_));
  }
  return handle_->run(exchange, url);
}

}  // namespace onebeat
