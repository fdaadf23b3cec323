// SPDX-License-Identifier: Apache-2.0
// With pages of 4 KiB a KV cache of some GB misses the TLB at every run of tokens, and the
// processor's prefetchers stop at each page's end; huge pages cure both.
#include "device/host_buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/error.h"

namespace onebeat {
namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}

Result<HostBuffer> HostBuffer::create(std::size_t bytes) {
  HostBuffer buffer;
  if (bytes == 0) return buffer;
  if (bytes > SIZE_MAX - 2 * kHugePage) return resource_exhausted("no memory for {} bytes", bytes);
  const std::size_t mapped = bytes + kHugePage;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return resource_exhausted("no memory for {} bytes: {}", bytes, std::strerror(errno));
  }
  auto* begin = static_cast<std::byte*>(memory);
  buffer.mapping_ = {begin, mapped};
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
  buffer.bytes_ = buffer.mapping_.subspan(misaligned == 0 ? 0 : kHugePage - misaligned, bytes);
#ifdef MADV_HUGEPAGE
  // A hint: where the system refuses it, the memory is as good as any.
  static_cast<void>(madvise(buffer.data(), bytes, MADV_HUGEPAGE));
#endif
  return buffer;
}

HostBuffer::~HostBuffer() {
  if (!mapping_.empty()) munmap(mapping_.data(), mapping_.size());
}

}  // namespace onebeat
