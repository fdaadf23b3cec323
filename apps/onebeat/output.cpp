// SPDX-License-Identifier: Apache-2.0
#include "output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace onebeat::cli {
namespace {

namespace fs = std::filesystem;

Status failure(const std::string& path) {
  return unavailable("cannot write {}: {}", path, std::strerror(errno));
}

Status write_file(const std::string& path, std::string_view text, const std::string& shown) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return failure(shown);
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int write_error = errno;
  const bool closed = std::fclose(file) == 0;
  if (!written) errno = write_error;
  return written && closed ? Status() : failure(shown);
}

}  // namespace

Status write_output(const std::string& path, std::string_view text) {
  if (path.empty() || path == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return {};  // main() checks the stream at the end.
  }
  std::error_code error;
  const fs::file_status target = fs::status(path, error);
  if (fs::exists(target) && !fs::is_regular_file(target)) return write_file(path, text, path);

  const std::string draft = path + ".part" + std::to_string(getpid());
  Status status = write_file(draft, text, path);
  if (status.ok()) {
    fs::rename(draft, path, error);
    if (error) status = unavailable("cannot write {}: {}", path, error.message());
  }
  if (!status.ok()) fs::remove(draft, error);
  return status;
}

}  // namespace onebeat::cli
