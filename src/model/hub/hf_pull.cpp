// SPDX-License-Identifier: Apache-2.0
#include "model/hub/hf_pull.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"
#include "model/hub/http_client.h"
#include "model/hub/place_file.h"
#include "model/hub/sha256.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;

constexpr int kMostRedirects = 5;
/// A connection that breaks is tried again so often without a single byte gained.
constexpr int kMostFutileTries = 3;

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f');
         });
}

/// What the server says a file is.
struct RemoteFile {
  std::string checksum;  // 64 digits: SHA-256; 40: git's name of the content.
  std::int64_t size = 0;
};

/// A file being fetched: locked, so that two pulls do not write into each other.
class PartFile {
 public:
  static Result<std::unique_ptr<PartFile>> open_locked(const fs::path& path) {
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) {
      return unavailable("cannot write {}: {}; ONEBEAT_CACHE names another folder", path.string(),
                         std::strerror(errno));
    }
    std::unique_ptr<PartFile> part(new PartFile(path, file));
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
      return unavailable("{} is being fetched by another process", path.string());
    }
    part->size_ = lseek(file, 0, SEEK_END);
    return part;
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile() { close(file_); }

  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] std::int64_t size() const { return size_; }

  Status clear() {
    size_ = 0;
    if (ftruncate(file_, 0) != 0 || lseek(file_, 0, SEEK_SET) != 0) return failure();
    return {};
  }
  Status append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(file_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return failure();
      size_ += written;
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
  }
  void remove() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }

 private:
  PartFile(fs::path path, int file) : path_(std::move(path)), file_(file) {}
  [[nodiscard]] Status failure() const {
    if (errno == ENOSPC) return resource_exhausted("the disk is full ({})", path_.string());
    return unavailable("cannot write {}: {}", path_.string(), std::strerror(errno));
  }

  fs::path path_;
  int file_;
  std::int64_t size_ = 0;
};

Status refusal(const HfReference& reference, const std::string& endpoint, long code) {
  if (code == 404) {
    return not_found("{} has no {} (it answers 404)", endpoint, reference.name());
  }
  if (code == 401 || code == 403) {
    return unavailable(
        "{} refuses {} (it answers {}): the repository needs a token with access, in HF_TOKEN",
        endpoint, reference.name(), code);
  }
  return unavailable("{} answers {} for {}", endpoint, code, reference.name());
}

/// The steps of one pull, in the order in which they run.
class HfPull {
 public:
  HfPull(const HfReference& reference, const HfPullOptions& options, HttpClient& client)
      : reference_(reference), options_(options), client_(client) {
    url_ = options.endpoint;
    while (url_.ends_with('/')) url_.pop_back();
    url_ += "/" + reference.owner + "/" + reference.repo + "/resolve/main/" + reference.file;
  }

  /// Asks what the file is, without the file. A redirection to where large files lie says it
  /// itself.
  Result<RemoteFile> ask() {
    std::string url = url_;
    for (int hop = 0; hop <= kMostRedirects; ++hop) {
      ONEBEAT_ASSIGN_OR_RETURN(const HttpAnswer answer, client_.head(url));
      const bool elsewhere = answer.code >= 300 && answer.code < 400 && !answer.redirect.empty();
      if (elsewhere && answer.linked_etag.empty()) {
        url = answer.redirect;
        continue;
      }
      if (!elsewhere && answer.code != 200) {
        return refusal(reference_, options_.endpoint, answer.code);
      }
      RemoteFile file;
      file.checksum = answer.linked_etag.empty() ? answer.etag : answer.linked_etag;
      const std::optional<std::int64_t> size =
          answer.linked_size ? answer.linked_size : answer.size;
      if (!is_hex(file.checksum, 64) && !is_hex(file.checksum, 40)) {
        return unavailable(
            "{} names no checksum of {}: its ETag is neither a SHA-256 nor git's name",
            options_.endpoint, reference_.name());
      }
      if (!size.has_value() || (elsewhere && !answer.linked_size)) {
        return unavailable("{} does not say how long {} is", options_.endpoint, reference_.name());
      }
      file.size = *size;
      return file;
    }
    return unavailable("{} leads in circles for {}", options_.endpoint, reference_.name());
  }

  /// kDataLoss if `path` is not the file.
  Status verify(const fs::path& path, const RemoteFile& file) {
    std::error_code error;
    const auto size = static_cast<std::int64_t>(fs::file_size(path, error));
    if (error) return unavailable("cannot read {}: {}", path.string(), error.message());
    if (size != file.size) {
      return data_loss("{} has {} bytes; {} has {}", path.string(), size, reference_.name(),
                       file.size);
    }
    const auto watch = [&](std::int64_t done) { return report("verify", done, file.size); };
    ONEBEAT_ASSIGN_OR_RETURN(const std::string checksum, file.checksum.size() == 64
                                                             ? sha256_of_file(path, watch)
                                                             : git_blob_of_file(path, watch));
    if (checksum != file.checksum) {
      return data_loss("what came for {} has the checksum {}; the server named {}",
                       reference_.name(), checksum, file.checksum);
    }
    return {};
  }

  /// Fetches what is missing, again when a connection breaks.
  Status download(PartFile& part, const RemoteFile& file) {
    if (part.size() > file.size) ONEBEAT_RETURN_IF_ERROR(part.clear());
    Status broken;
    for (int futile = 0; part.size() < file.size && futile < kMostFutileTries; ++futile) {
      const std::int64_t before = part.size();
      broken = fetch_rest(part, file);
      if (!broken.ok() && broken.code() != StatusCode::kUnavailable) return broken;
      if (part.size() > before) futile = -1;
    }
    if (part.size() == file.size) return {};
    return unavailable("{}: {} of {} bytes came ({}); the same command goes on from there",
                       reference_.name(), part.size(), file.size,
                       broken.ok() ? "the server sends no more" : broken.message());
  }

 private:
  Status fetch_rest(PartFile& part, const RemoteFile& file) {
    Status written;
    bool begun = false;
    const auto sink = [&](long code, std::string_view bytes) {
      // A server that does not know ranges starts again.
      if (!begun && code == 200) written = part.clear();
      begun = true;
      if (written.ok() && part.size() + static_cast<std::int64_t>(bytes.size()) > file.size) {
        written = data_loss("more than the {} bytes of {} came", file.size, reference_.name());
      }
      if (written.ok()) written = part.append(bytes);
      return written.ok();
    };
    const Result<HttpAnswer> answer = client_.get(
        url_, part.size(), sink, [&] { return report("download", part.size(), file.size); });
    ONEBEAT_RETURN_IF_ERROR(written);
    ONEBEAT_RETURN_IF_ERROR(answer.status());
    // 416: the file ends where our part does, though the server named it longer; nothing more
    // comes.
    if (answer->code == 200 || answer->code == 206 || answer->code == 416) return {};
    return refusal(reference_, options_.endpoint, answer->code);
  }

  bool report(std::string_view phase, std::int64_t done, std::int64_t total) {
    return !options_.progress || options_.progress({phase, done, std::max<std::int64_t>(total, 1)});
  }

  const HfReference& reference_;
  const HfPullOptions& options_;
  HttpClient& client_;
  std::string url_;
};

Status check_options(const HfReference& reference, const HfPullOptions& options) {
  if (reference.file.empty()) {
    return invalid_argument("{} names no file; give hf:OWNER/REPO/FILE", reference.name());
  }
  const std::string origin = origin_of(options.endpoint);
  if (origin.empty() || options.endpoint.find_first_of(" ?#@") != std::string::npos) {
    return invalid_argument("the endpoint '{}' is no http or https address of a server",
                            options.endpoint);
  }
  const std::string_view token = options.token;
  const bool printable =
      std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 32 && c < 127; });
  if (!printable) return invalid_argument("the token has characters that no token has");
  const auto is_host = [&](std::string_view host) {
    const std::string plain = "http://" + std::string(host);
    return origin == plain || origin.starts_with(plain + ":");
  };
  const bool private_way = origin.starts_with("https:") || is_host("127.0.0.1") ||
                           is_host("localhost") || is_host("[::1]");
  if (!token.empty() && !private_way) {
    return invalid_argument(
        "the token would be readable on its way to {}; use https, or unset HF_TOKEN", origin);
  }
  return {};
}

Status check_disk(const fs::path& folder, const std::string& name, std::int64_t missing) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= static_cast<std::uintmax_t>(missing)) return {};
  return resource_exhausted(
      "{} has {} MB free; fetching {} takes {} MB; ONEBEAT_CACHE names another folder",
      folder.string(), space.available / 1'000'000, name, missing / 1'000'000);
}

}  // namespace

Result<fs::path> pull_hf_file(const HfReference& reference, const fs::path& folder,
                              const HfPullOptions& options) {
  ONEBEAT_RETURN_IF_ERROR(check_options(reference, options));
  ONEBEAT_ASSIGN_OR_RETURN(const auto client,
                           HttpClient::create(origin_of(options.endpoint), options.token));
  HfPull pull(reference, options, *client);
  ONEBEAT_ASSIGN_OR_RETURN(const RemoteFile file, pull.ask());

  const fs::path path = reference.path_below(folder);
  std::error_code error;
  if (fs::exists(path, error)) {
    const Status kept = pull.verify(path, file);
    if (kept.ok()) return path;
    if (kept.code() != StatusCode::kDataLoss) return kept;  // Another file is fetched over it.
  }
  fs::create_directories(path.parent_path(), error);
  if (error) {
    return unavailable("cannot create the model folder {}: {}; ONEBEAT_CACHE names another",
                       path.parent_path().string(), error.message());
  }
  // Its name has the checksum: a part of another file is not gone on with.
  const fs::path part_path = path.parent_path() / ("." + path.filename().string() + "." +
                                                   file.checksum.substr(0, 16) + ".part");
  ONEBEAT_ASSIGN_OR_RETURN(const auto part, PartFile::open_locked(part_path));
  ONEBEAT_RETURN_IF_ERROR(
      check_disk(path.parent_path(), reference.name(), file.size - part->size()));
  ONEBEAT_RETURN_IF_ERROR(pull.download(*part, file));
  if (const Status status = pull.verify(part->path(), file); !status.ok()) {
    if (status.code() == StatusCode::kDataLoss) part->remove();
    return status;
  }
  ONEBEAT_RETURN_IF_ERROR(place_file(part->path(), path));
  return path;
}

}  // namespace onebeat
