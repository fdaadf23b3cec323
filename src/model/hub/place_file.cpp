// SPDX-License-Identifier: Apache-2.0
#include "model/hub/place_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <system_error>

#include "base/error.h"

namespace onebeat {

Status place_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  const int file = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    fsync(file);
    close(file);
  }
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (error) return unavailable("cannot write {}: {}", to.string(), error.message());
  return {};
}

}  // namespace onebeat
