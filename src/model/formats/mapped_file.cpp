// SPDX-License-Identifier: Apache-2.0
#include "model/formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace onebeat {
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

struct Descriptor {
  int fd = -1;
  explicit Descriptor(int opened) : fd(opened) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

void unmap(std::span<const std::byte> bytes) {
  if (!bytes.empty()) ::munmap(const_cast<std::byte*>(bytes.data()), bytes.size());
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // Without O_NONBLOCK a named pipe would hang here before it can be refused.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR) return not_found("{}: no such file", path.string());
    return unavailable("{}: cannot be opened: {}", path.string(), reason(error));
  }
  struct stat info = {};
  if (::fstat(file.fd, &info) != 0) {
    return unavailable("{}: cannot be examined: {}", path.string(), reason(errno));
  }
  if (S_ISDIR(info.st_mode)) return unavailable("{}: is a folder, not a file", path.string());
  if (!S_ISREG(info.st_mode)) return unavailable("{}: is not a regular file", path.string());
  if (info.st_size <= 0) return data_loss("{}: the file is empty", path.string());
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > std::numeric_limits<std::size_t>::max()) {
    return resource_exhausted("{}: {} bytes are more than this machine can address", path.string(),
                              size);
  }
  void* address =
      ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED) {
    return resource_exhausted("{}: {} bytes cannot be mapped: {}", path.string(), size,
                              reason(errno));
  }
  return MappedFile({static_cast<const std::byte*>(address), static_cast<std::size_t>(size)});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap(bytes_);
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

MappedFile::~MappedFile() {
  unmap(bytes_);
}

}  // namespace onebeat
