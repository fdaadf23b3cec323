// SPDX-License-Identifier: Apache-2.0
// The load side of a warp: a private ring of granules of K and V in shared memory, filled
// by asynchronous copies that run ahead of the arithmetic, across the borders of segments and
// requests.
#pragma once

#include <cstdint>
#include <type_traits>

#include "attention/cuda/decode/decode_params.h"
#include "attention/cuda/decode/plan_walk.cuh"
#include "attention/cuda/ptx.cuh"

namespace onebeat::cuda {

/// Fault bits, as AttentionFault.
inline constexpr std::uint32_t kFaultBitPageId = 1u << 0;
inline constexpr std::uint32_t kFaultBitPageRow = 1u << 1;
inline constexpr std::uint32_t kFaultBitPlan = 1u << 3;

/// How a warp copies rows of kRowBytes: 16 bytes a thread, a block of columns of several rows at a
/// time.
template <int kRowBytes>
struct RowCopy {
  /// Of a block: the largest power of two that divides those of a row.
  static constexpr int kSegments = kRowBytes / 16 % 32 == 0   ? 32
                                   : kRowBytes / 16 % 16 == 0 ? 16
                                   : kRowBytes / 16 % 8 == 0  ? 8
                                                              : 4;
  static constexpr int kBlocks = kRowBytes / 16 / kSegments;
  static constexpr int kRows = 32 / kSegments;
  static_assert(kSegments * kBlocks * 16 == kRowBytes);
};

/// How a warp asks for the rows of a granule.
enum class RowFetch {
  kBlocks,      ///< Blocks of columns (RowCopy).
  kWholeLines,  ///< Rows of one and a half lines: the whole line, then the half.
  kLinesToL2,   ///< As kBlocks, and bring all of each line into L2: another warp wants the rest.
};

/// A granule of K or V in shared memory, what a warp loads and multiplies at a time: kTokens_ rows
/// of D elements of kElementBytes_, 16-byte segments permuted within a row so that copies and reads
/// are free of bank conflicts. Rows are an odd or an even multiple of 64 bytes.
template <int D, int kTokens_, int kElementBytes_, RowFetch kFetch_ = RowFetch::kBlocks>
struct Granule {
  static constexpr RowFetch kFetch = kFetch_;
  static constexpr int kElementBytes = kElementBytes_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kRowBytes = D * kElementBytes;
  static constexpr int kBytes = kTokens * kRowBytes;
  static constexpr int kRowPitch = kRowBytes;
  static_assert(kRowBytes % 64 == 0);
  /// Neighbouring rows lie 4 segments apart in the banks as it is.
  static constexpr bool kAlternate = kRowBytes % 128 != 0;

  /// K is read 8 threads at a time: 2 tokens by 4 segments.
  __host__ __device__ static constexpr int k_swizzle(int row) {
    return kAlternate ? 0 : (row & 1) << 2;
  }
  /// V is read as 8x8 matrices: 8 tokens by 1 segment.
  __host__ __device__ static constexpr int v_swizzle(int row) {
    return kAlternate ? row >> 1 & 3 : row & 7;
  }
  /// Where copying threads' segments go in the next block of columns.
  __device__ __forceinline__ static std::uint32_t block(std::uint32_t place, int index) {
    return place + index * RowCopy<kRowBytes>::kSegments * 16;
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
  using Copy = RowCopy<G::kRowBytes>;
  static constexpr int kTokens = G::kTokens;
  static constexpr int kCopies = kTokens / Copy::kRows;  ///< Of a block of columns.
  static constexpr int kAhead = 3;                       ///< Granules whose page ids are under way.

 public:
  /// `warp` is the number of this warp's granule in a tile; its rows begin `first_byte` behind
  /// those of a head.
  __device__ __forceinline__ KvStream(const DecodeParams& p, const Share& share, int warp, int lane,
                                      int first_byte = 0)
      : p_(p),
        share_(share),
        policy_(p.kv_is_shared != 0 ? ptx::evict_normal_policy() : ptx::evict_first_policy()),
        warp_(warp),
        lane_(lane),
        first_byte_(first_byte) {
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
    constexpr int kLineBytes = G::kRowBytes % 128 == 0 ? 128 : 64;
    constexpr int kLines = G::kRowBytes / kLineBytes;
    constexpr int kItems = kTokens * 2 * kLines;
    const std::uint32_t page = clamped_page();
#pragma unroll
    for (int i = 0; i < (kItems + 31) / 32; ++i) {
      const int item = i * 32 + lane_;
      const int row = item / (2 * kLines);
      const bool is_v = (item / kLines) % 2 != 0;
      const std::uint32_t row_page = __shfl_sync(~0u, page, row);
      const std::uint32_t in_page = (token_ + row) & p_.page_mask;
      const char* place = is_v ? v_head_ + std::uint64_t{row_page} * p_.v_page_bytes +
                                     std::uint64_t{in_page} * p_.v_token_bytes
                               : k_head_ + std::uint64_t{row_page} * p_.k_page_bytes +
                                     std::uint64_t{in_page} * p_.k_token_bytes;
      if ((kItems % 32 == 0 || item < kItems) && in_range(token_ + row))
        ptx::prefetch_l2(place + item % kLines * kLineBytes);
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
    k_head_ = static_cast<const char*>(p_.k) + walk_.kv_head * p_.k_head_stride * G::kElementBytes +
              first_byte_;
    v_head_ = static_cast<const char*>(p_.v) + walk_.kv_head * p_.v_head_stride * G::kElementBytes +
              first_byte_;
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

  __device__ __forceinline__ static void fetch(std::uint32_t destination, const void* source,
                                               std::uint32_t bytes, std::uint64_t policy) {
    if constexpr (G::kFetch == RowFetch::kLinesToL2) {
      ptx::copy_async_16_line(destination, source, bytes, policy);
    } else {
      ptx::copy_async_16(destination, source, bytes, policy);
    }
  }

  /// copy() of rows of 192 bytes: whole lines by 8 threads each, then the half lines that a row
  /// begins or ends with by 4 threads each. A line that is asked for in two halves costs more.
  template <bool kIsK>
  __device__ __forceinline__ void copy_lines(std::uint32_t destination, const char* head,
                                             std::uint32_t page_bytes, std::uint32_t token_bytes) {
    const std::uint32_t page = clamped_page();
    const bool inside = token_ >= walk_.first && token_ + kTokens <= walk_.len;
    const auto copy_part = [&](int row, bool whole) {
      const std::uint32_t row_page = kSmallPages ? __shfl_sync(~0u, page, row) : page;
      const std::uint32_t in_page =
          kSmallPages ? (token_ + row) & p_.page_mask : (token_ & p_.page_mask) + row;
      const char* from =
          head + std::uint64_t{row_page} * page_bytes + std::uint64_t{in_page} * token_bytes;
      const int half = static_cast<int>(reinterpret_cast<std::uintptr_t>(from) >> 6 & 1);
      const int segment = whole ? half * 4 + lane_ % 8 : (1 - half) * 8 + lane_ % 4;
      const std::uint32_t place =
          destination + G::place(row, segment, kIsK ? G::k_swizzle(row) : G::v_swizzle(row));
      const std::uint32_t bytes = inside || in_range(token_ + row) ? 16u : 0u;
      ptx::copy_async_16(place, from + segment * 16, bytes, policy_);
    };
#pragma unroll
    for (int i = 0; i < kTokens / 4; ++i) copy_part(i * 4 + lane_ / 8, true);
#pragma unroll
    for (int i = 0; i < kTokens / 8; ++i) copy_part(i * 8 + lane_ / 4, false);
  }

  /// Rows outside the request's tokens become zeros and are not read.
  template <bool kIsK>
  __device__ __forceinline__ void copy(std::uint32_t destination, const char* head,
                                       std::uint32_t page_bytes, std::uint32_t token_bytes) {
    if constexpr (G::kFetch == RowFetch::kWholeLines) {
      static_assert(G::kRowBytes == 192);
      copy_lines<kIsK>(destination, head, page_bytes, token_bytes);
      return;
    }
    const int segment = lane_ % Copy::kSegments;
    const int first_row = lane_ / Copy::kSegments;
    const int swizzle = kIsK ? G::k_swizzle(first_row) : G::v_swizzle(first_row);
    const std::uint32_t place = destination + G::place(first_row, segment, swizzle);
    const char* source = head + segment * 16;
    const std::uint32_t page = clamped_page();
    const bool inside = token_ >= walk_.first && token_ + kTokens <= walk_.len;
    if constexpr (!kSmallPages) {
      const std::uint32_t in_page = (token_ & p_.page_mask) + first_row;
      source += std::uint64_t{page} * page_bytes + std::uint64_t{in_page} * token_bytes;
      const std::uint32_t step = Copy::kRows * token_bytes;
      if (inside) {
#pragma unroll
        for (int i = 0; i < kCopies; ++i)
#pragma unroll
          for (int b = 0; b < Copy::kBlocks; ++b)
            if constexpr (G::kFetch == RowFetch::kLinesToL2) {
              fetch(moved<kIsK>(place, i, b), source + std::uint64_t{step} * i + b * kBlockBytes,
                    16, policy_);
            } else {
              ptx::copy_async_16(moved<kIsK>(place, i, b),
                                 source + std::uint64_t{step} * i + b * kBlockBytes, policy_);
            }
      } else {
#pragma unroll
        for (int i = 0; i < kCopies; ++i)
#pragma unroll
          for (int b = 0; b < Copy::kBlocks; ++b)
            fetch(moved<kIsK>(place, i, b), source + std::uint64_t{step} * i + b * kBlockBytes,
                  in_range(token_ + first_row + i * Copy::kRows) ? 16u : 0u, policy_);
      }
    } else {
      const std::uint32_t mask = p_.page_mask;
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const int row = first_row + i * Copy::kRows;
        const std::uint32_t row_page = __shfl_sync(~0u, page, row);
        const std::uint32_t in_page = (token_ + row) & mask;
        const char* from =
            source + std::uint64_t{row_page} * page_bytes + std::uint64_t{in_page} * token_bytes;
#pragma unroll
        for (int b = 0; b < Copy::kBlocks; ++b)
          fetch(moved<kIsK>(place, i, b), from + b * kBlockBytes,
                inside || in_range(token_ + row) ? 16u : 0u, policy_);
      }
    }
  }

  static constexpr int kBlockBytes = Copy::kSegments * 16;

  /// Where copy `i` of block `b` goes if the first one goes to `place`: further down, its segments
  /// permuted by its own row.
  template <bool kIsK>
  __device__ __forceinline__ static std::uint32_t moved(std::uint32_t place, int i, int b) {
    const int row = i * Copy::kRows;
    const int swizzle = kIsK ? G::k_swizzle(row) : G::v_swizzle(row);
    return G::block(place ^ (swizzle << 4), b) + row * G::kRowPitch;
  }

  const DecodeParams& p_;
  const Share& share_;
  UnitWalk<kTileShift> walk_;
  /// Rows of 64 bytes share lines, in pages that keep a token's heads together with those of other
  /// heads, which other workers read at about the same time.
  std::conditional_t<(G::kRowBytes < 128), ptx::LinePolicy, std::uint64_t> policy_;
  const std::int32_t* page_row_ = nullptr;
  const char* k_head_ = nullptr;  // the unit's head in page 0
  const char* v_head_ = nullptr;
  std::uint32_t tile_ = 0, pass_ = 0;
  std::uint32_t token_ = 0;              // first of the granule to load next
  std::uint32_t page_ids_[kAhead] = {};  // raw; of that granule and the ones behind it
  std::uint32_t faults_ = 0;
  int warp_, lane_, first_byte_;
  bool open_ = false;
};

}  // namespace onebeat::cuda
