// SPDX-License-Identifier: Apache-2.0
// The load side of a warp: a private ring of granules of K and V in shared memory, filled
// by asynchronous copies that run ahead of the arithmetic, across the borders of segments and
// requests.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/plan_walk.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// Fault bits, as AttentionFault.
inline constexpr std::uint32_t kFaultBitPageId = 1u << 0;
inline constexpr std::uint32_t kFaultBitPageRow = 1u << 1;
inline constexpr std::uint32_t kFaultBitPlan = 1u << 3;

/// A granule of K or V in shared memory, what a warp loads and multiplies at a time: kTokens_ rows
/// of D elements of kElementBytes_, 16-byte segments permuted within a row so that copies and reads
/// are free of bank conflicts.
template <int D, int kTokens_, int kElementBytes_>
struct Granule {
  static constexpr int kElementBytes = kElementBytes_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kRowBytes = D * kElementBytes;
  static constexpr int kBytes = kTokens * kRowBytes;
  static constexpr int kSegments = kRowBytes / 16;
  static constexpr int kRowsPerCopy = 32 / kSegments;
  static constexpr int kCopies = kTokens / kRowsPerCopy;

  static constexpr int kRowPitch = kRowBytes;

  /// K is read 8 threads at a time: 2 tokens by 4 segments. With 4 segments a row all is well.
  __host__ __device__ static constexpr int k_swizzle(int row) {
    return kSegments == 4 ? 0 : (row & 1) << 2;
  }
  /// V is read as 8x8 matrices: 8 tokens by 1 segment.
  __host__ __device__ static constexpr int v_swizzle(int row) {
    return kSegments == 4 ? row >> 1 & 3 : row & 7;
  }
  /// Where a segment of a row lies.
  __device__ __forceinline__ static std::uint32_t place(int row, int segment, int swizzle) {
    return row * kRowPitch + ((segment ^ swizzle) << 4);
  }
};

/// G says how a granule lies in shared memory. kRows query rows are done in one pass over a unit's
/// tokens; more rows take more passes. kSmallPages: pages of fewer than kTokens tokens, so that the
/// rows of a granule lie anywhere.
template <typename G, int kTileShift, int kRows, bool kSmallPages>
class KvStream {
  static constexpr int kTokens = G::kTokens;
  static constexpr int kAhead = 3;  ///< Granules whose page ids are under way.

 public:
  __device__ __forceinline__ KvStream(const DecodeParams& p, const Share& share, int warp, int lane)
      : p_(p),
        share_(share),
        policy_(p.kv_is_shared != 0 ? ptx::evict_normal_policy() : ptx::evict_first_policy()),
        warp_(warp),
        lane_(lane) {
    walk_.begin(p, share);
    open_ = true;
    enter_request();
    if (walk_.tile_begin >= walk_.tile_end) {
      next_unit();
    } else {
      enter_unit();
    }
  }

  /// Whether a granule is left to load.
  [[nodiscard]] __device__ __forceinline__ bool open() const { return open_; }

  /// Whether the granule holds tokens of this step, which the kernel before this one may still be
  /// writing.
  [[nodiscard]] __device__ __forceinline__ bool holds_new_tokens() const {
    return token_ < walk_.len && token_ + kTokens + walk_.query_tokens > walk_.len;
  }

  __device__ __forceinline__ void load_k(std::uint32_t destination) {
    copy<true>(destination, k_head_, p_.k_page_bytes, p_.k_token_bytes);
  }
  __device__ __forceinline__ void load_v(std::uint32_t destination) {
    copy<false>(destination, v_head_, p_.v_page_bytes, p_.v_token_bytes);
  }

  /// Brings the granule into L2 without taking its values.
  __device__ __forceinline__ void prefetch() {
    constexpr int kLines = (G::kRowBytes + 127) / 128;
    const std::uint32_t page = clamped_page();
#pragma unroll
    for (int i = 0; i < kTokens * 2 * kLines / 32; ++i) {
      const int item = i * 32 + lane_;
      const int row = item / (2 * kLines);
      const bool is_v = (item / kLines) % 2 != 0;
      const std::uint32_t row_page = __shfl_sync(~0u, page, row);
      const std::uint32_t in_page = (token_ + row) & p_.page_mask;
      const char* place = is_v ? v_head_ + std::uint64_t{row_page} * p_.v_page_bytes +
                                     std::uint64_t{in_page} * p_.v_token_bytes
                               : k_head_ + std::uint64_t{row_page} * p_.k_page_bytes +
                                     std::uint64_t{in_page} * p_.k_token_bytes;
      if (in_range(token_ + row)) ptx::prefetch_l2(place + item % kLines * 128);
    }
  }

  /// Goes to the next granule and asks for the page ids of a later one.
  __device__ __forceinline__ void advance() {
    ++tile_;
    if (tile_ < walk_.tile_end) {
      token_ += 1u << kTileShift;
#pragma unroll
      for (int i = 0; i + 1 < kAhead; ++i) page_ids_[i] = page_ids_[i + 1];
      page_ids_[kAhead - 1] = fetch_page(token_ + ((kAhead - 1) << kTileShift));
      return;
    }
    if constexpr (kRows < kQueryTileRows) {
      if (++pass_ * kRows < walk_.rows) {
        restart_unit();
        return;
      }
    }
    next_unit();
  }

  [[nodiscard]] __device__ __forceinline__ std::uint32_t faults() const {
    return faults_;
  }

 private:
  [[nodiscard]] __device__ __forceinline__ bool in_range(std::uint32_t token) const {
    return token >= walk_.first && token < walk_.len;
  }

  __device__ __forceinline__ void enter_request() {
    std::uint32_t row = walk_.request;
    if (p_.row_of != nullptr) row = static_cast<std::uint32_t>(p_.row_of[walk_.request]);
    if (row >= p_.num_rows) {
      row = p_.num_rows - 1;
      faults_ |= kFaultBitPageRow;
    }
    page_row_ = p_.pages + row * p_.row_stride;
  }

  __device__ __forceinline__ void enter_unit() {
    k_head_ = static_cast<const char*>(p_.k) + walk_.kv_head * p_.k_head_stride * G::kElementBytes;
    v_head_ = static_cast<const char*>(p_.v) + walk_.kv_head * p_.v_head_stride * G::kElementBytes;
    pass_ = 0;
    restart_unit();
  }

  __device__ __forceinline__ void restart_unit() {
    tile_ = walk_.tile_begin;
    token_ = (tile_ << kTileShift) + warp_ * kTokens;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) page_ids_[i] = fetch_page(token_ + (i << kTileShift));
  }

  __device__ __forceinline__ void next_unit() {
    do {
      const std::uint32_t before = walk_.request;
      open_ = walk_.next(p_, share_);
      if (!open_) return;
      if (walk_.request != before) enter_request();
    } while (walk_.tile_begin >= walk_.tile_end);
    enter_unit();
  }

  /// Page of the granule from `token` on, or of token + lane % kTokens with small pages; used
  /// granules later.
  __device__ __forceinline__ std::uint32_t fetch_page(std::uint32_t token) {
    bool needed;
    if constexpr (kSmallPages) {
      token += lane_ % kTokens;
      needed = in_range(token);
    } else {
      needed = token < walk_.len && token + kTokens > walk_.first;
    }
    std::uint32_t column = token >> p_.page_shift;
    if (!needed) return 0;
    if (column >= p_.num_columns) {
      column = p_.num_columns - 1;
      faults_ |= kFaultBitPageRow;
    }
    return static_cast<std::uint32_t>(page_row_[column]);
  }

  /// Ids are clamped, whatever they are.
  [[nodiscard]] __device__ __forceinline__ std::uint32_t clamped_page() {
    if (page_ids_[0] >= p_.num_pages) {
      page_ids_[0] = p_.num_pages - 1;
      faults_ |= kFaultBitPageId;
    }
    return page_ids_[0];
  }

  /// Rows outside the request's tokens become zeros and are not read.
  template <bool kIsK>
  __device__ __forceinline__ void copy(std::uint32_t destination, const char* head,
                                       std::uint32_t page_bytes, std::uint32_t token_bytes) {
    const int segment = lane_ % G::kSegments;
    const int first_row = lane_ / G::kSegments;
    const int swizzle = kIsK ? G::k_swizzle(first_row) : G::v_swizzle(first_row);
    const std::uint32_t place = destination + G::place(first_row, segment, swizzle);
    const char* source = head + segment * 16;
    const std::uint32_t page = clamped_page();
    const bool inside = token_ >= walk_.first && token_ + kTokens <= walk_.len;
    if constexpr (!kSmallPages) {
      const std::uint32_t in_page = (token_ & p_.page_mask) + first_row;
      source += std::uint64_t{page} * page_bytes + std::uint64_t{in_page} * token_bytes;
      const std::uint32_t step = G::kRowsPerCopy * token_bytes;
      if (inside) {
#pragma unroll
        for (int i = 0; i < G::kCopies; ++i)
          ptx::copy_async_16(moved<kIsK>(place, i), source + std::uint64_t{step} * i, policy_);
      } else {
#pragma unroll
        for (int i = 0; i < G::kCopies; ++i)
          ptx::copy_async_16(moved<kIsK>(place, i), source + std::uint64_t{step} * i,
                             in_range(token_ + first_row + i * G::kRowsPerCopy) ? 16u : 0u,
                             policy_);
      }
    } else {
      const std::uint32_t mask = p_.page_mask;
#pragma unroll
      for (int i = 0; i < G::kCopies; ++i) {
        const int row = first_row + i * G::kRowsPerCopy;
        const std::uint32_t row_page = __shfl_sync(~0u, page, row);
        const std::uint32_t in_page = (token_ + row) & mask;
        const char* from =
            source + std::uint64_t{row_page} * page_bytes + std::uint64_t{in_page} * token_bytes;
        ptx::copy_async_16(moved<kIsK>(place, i), from, inside || in_range(token_ + row) ? 16u : 0u,
                           policy_);
      }
    }
  }

  /// Where copy `i` goes if copy 0 goes to `place`: further down, its segments permuted by its own
  /// row.
  template <bool kIsK>
  __device__ __forceinline__ static std::uint32_t moved(std::uint32_t place, int i) {
    const int row = i * G::kRowsPerCopy;
    const int swizzle = kIsK ? G::k_swizzle(row) : G::v_swizzle(row);
    return (place ^ (swizzle << 4)) + row * G::kRowPitch;
  }

  const DecodeParams& p_;
  const Share& share_;
  UnitWalk<kTileShift> walk_;
  std::uint64_t policy_;
  const std::int32_t* page_row_ = nullptr;
  const char* k_head_ = nullptr;  // the unit's head in page 0
  const char* v_head_ = nullptr;
  std::uint32_t tile_ = 0, pass_ = 0;
  std::uint32_t token_ = 0;              // first of the granule to load next
  std::uint32_t page_ids_[kAhead] = {};  // raw; of that granule and the ones behind it
  std::uint32_t faults_ = 0;
  int warp_, lane_;
  bool open_ = false;
};

}  // namespace onebeat::cuda
