// SPDX-License-Identifier: Apache-2.0
#include "model/hub/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"

namespace onebeat {
namespace {

/// The digest of `header` and the file's content.
Result<std::string> digest_of_file(const std::filesystem::path& file, const EVP_MD* digest_kind,
                                   const std::string& header,
                                   const std::function<bool(std::int64_t)>& progress) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> input(std::fopen(file.c_str(), "rb"),
                                                              std::fclose);
  if (input == nullptr)
    return unavailable("cannot read {}: {}", file.string(), std::strerror(errno));
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  if (context == nullptr || EVP_DigestInit_ex(context.get(), digest_kind, nullptr) != 1) {
    return internal_error("the installed OpenSSL lacks {}", EVP_MD_get0_name(digest_kind));
  }
  EVP_DigestUpdate(context.get(), header.data(), header.size());
  std::vector<char> buffer(std::size_t{4} << 20);
  std::int64_t done = 0;
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), input.get())) {
    EVP_DigestUpdate(context.get(), buffer.data(), count);
    done += static_cast<std::int64_t>(count);
    if (progress && !progress(done)) return Status(StatusCode::kCancelled, "stopped");
  }
  if (std::ferror(input.get()) != 0)
    return unavailable("cannot read {}: {}", file.string(), std::strerror(errno));

  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  EVP_DigestFinal_ex(context.get(), digest.data(), &length);
  std::string text;
  for (unsigned int i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace

Result<std::string> sha256_of_file(const std::filesystem::path& file,
                                   const std::function<bool(std::int64_t)>& progress) {
  return digest_of_file(file, EVP_sha256(), "", progress);
}

Result<std::string> git_blob_of_file(const std::filesystem::path& file,
                                     const std::function<bool(std::int64_t)>& progress) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  if (error) return unavailable("cannot read {}: {}", file.string(), error.message());
  std::string header = fmt::format("blob {}", size);
  header.push_back('\0');
  return digest_of_file(file, EVP_sha1(), header, progress);
}

}  // namespace onebeat
