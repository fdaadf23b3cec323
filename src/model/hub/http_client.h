// SPDX-License-Identifier: Apache-2.0
// HTTP requests as fetching a file needs them, through libcurl.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat {

/// What a server said, without a body.
struct HttpAnswer {
  long code = 0;
  std::string etag;         ///< Without quotes and the mark of weak tags.
  std::string linked_etag;  ///< Of the file behind a redirection.
  std::optional<std::int64_t> linked_size;
  std::optional<std::int64_t> size;  ///< Content-Length.
  std::string redirect;              ///< Where a redirection leads, as an absolute URL.
};

/// For one request at a time.
class HttpClient {
 public:
  /// `token`, if not empty, is sent to servers of `origin` ("https://host:port") alone, and never
  /// part of a message. Errors: kInternal without a working libcurl.
  [[nodiscard]] static Result<std::unique_ptr<HttpClient>> create(std::string origin,
                                                                  std::string token);

  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  /// Asks for the headers of a URL; redirections are not followed. Errors: kUnavailable.
  [[nodiscard]] Result<HttpAnswer> head(const std::string& url);

  /// Receives a part of the body. `code` is 200 (from the beginning) or 206 (from the byte asked
  /// for). Returning false ends the request.
  using Sink = std::function<bool(long code, std::string_view part)>;
  /// Asks for a URL from byte `begin` on, following redirections. An answer with another code than
  /// 200 and 206 is returned without its body. Errors: kUnavailable (no connection, or it ended
  /// early; parts may have been received), kCancelled (the sink or `keep_going` ended it).
  [[nodiscard]] Result<HttpAnswer> get(const std::string& url, std::int64_t begin, const Sink& sink,
                                       const std::function<bool()>& keep_going);

 private:
  HttpClient(std::string origin, std::string token);

  struct Handle;
  std::unique_ptr<Handle> handle_;
  std::string origin_;
  std::string token_;
};

/// Scheme, host and port of a URL; empty if it is no http or https URL.
[[nodiscard]] std::string origin_of(std::string_view url);

}  // namespace onebeat
