// SPDX-License-Identifier: Apache-2.0
#include "input.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "base/error.h"

namespace onebeat::cli {
namespace {

Result<std::string> read_all(std::FILE* file, const std::string& name) {
  std::string text;
  std::array<char, 1 << 16> block;
  errno = 0;
  for (std::size_t got = 0; (got = std::fread(block.data(), 1, block.size(), file)) > 0;) {
    text.append(block.data(), got);
  }
  if (std::ferror(file) != 0) {
    return unavailable("cannot read {}: {}", name, std::generic_category().message(errno));
  }
  return text;
}

}  // namespace

Result<std::string> read_input(const std::string& path) {
  if (path == "-") return read_all(stdin, "standard input");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (!file) {
    const int error = errno;
    const std::string reason = std::generic_category().message(error);
    if (error == ENOENT) return not_found("cannot read {}: {}", path, reason);
    return unavailable("cannot read {}: {}", path, reason);
  }
  return read_all(file.get(), path);
}

}  // namespace onebeat::cli
