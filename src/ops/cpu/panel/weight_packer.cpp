// SPDX-License-Identifier: Apache-2.0
#include "ops/weight_packer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/panel/panel_layout.h"

namespace onebeat {
namespace {

/// A piece of address space: memory is used as it is written.
constexpr std::size_t kBufferBytes = std::size_t{256} << 20;
constexpr std::size_t kAlignment = 64;
/// Behind the last weights, so that asking for what comes next never leaves the memory.
constexpr std::size_t kSlack = 4096;
/// Below this the padding to whole panels and the work of making them buy nothing.
constexpr std::int64_t kFewestRows = kPanelRows;
constexpr std::uintptr_t kPage = 4096;
/// Of a matrix, this much is in memory twice for a moment.
constexpr std::int64_t kSliceBytes = std::int64_t{16} << 20;

/// Gives back the whole pages of a mapping of a file.
void drop_pages(const std::byte* begin, const std::byte* end) {
  const std::uintptr_t first =
      (reinterpret_cast<std::uintptr_t>(begin) + kPage - 1) / kPage * kPage;
  const std::uintptr_t last = reinterpret_cast<std::uintptr_t>(end) / kPage * kPage;
  // A hint: where the system refuses it, only memory is lost.
  if (first < last) {
    static_cast<void>(madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED));
  }
}

}  // namespace

Result<std::byte*> WeightPacker::allocate(std::size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (buffers_.empty() || buffers_.back().size() - used_ < bytes + kSlack) {
    ONEBEAT_ASSIGN_OR_RETURN(HostBuffer buffer,
                             HostBuffer::create(std::max(kBufferBytes, bytes + kSlack)));
    buffers_.push_back(std::move(buffer));
    used_ = 0;
  }
  return buffers_.back().data() + std::exchange(used_, used_ + bytes);
}

Result<WeightView> WeightPacker::pack(const WeightView& weight) {
  const bool pays = options_.mode == ComputeMode::kAuto &&
                    linear_kernels(options_.isa).dot_panels != nullptr &&
                    block_elements(weight.type) > 1 && weight.rows >= kFewestRows;
  if (!pays || weight.layout != WeightLayout::kRows) return weight;
  ONEBEAT_ASSIGN_OR_RETURN(std::byte* const memory,
                           allocate(static_cast<std::size_t>(packed_bytes(weight))));
  const std::int64_t bytes = panel_bytes(weight.type, weight.cols);
  const std::int64_t panels = panels_of(weight.rows);
  const std::int64_t slice = std::max<std::int64_t>(1, kSliceBytes / bytes);
  constexpr std::int64_t kGrain = 8;
  for (std::int64_t first = 0; first < panels; first += slice) {
    const std::int64_t count = std::min(slice, panels - first);
    pool_->parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t panel = first + begin; panel < first + end; ++panel) {
        pack_panel(weight, panel, memory + panel * bytes);
      }
    });
    if (drop_source_pages_) {
      const std::int64_t rows = std::min(weight.rows, (first + count) * kPanelRows);
      drop_pages(weight.bytes + first * kPanelRows * weight.row_bytes(),
                 weight.bytes + rows * weight.row_bytes());
    }
  }
  WeightView packed = weight;
  packed.bytes = memory;
  packed.layout = WeightLayout::kPanels;
  return packed;
}

}  // namespace onebeat
