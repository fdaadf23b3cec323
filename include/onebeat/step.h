// SPDX-License-Identifier: Apache-2.0
// prepare_step: everything a decode step needs besides the layers' own numbers, written in one call
// (on a GPU one launch): lengths, prefix sums, positions and slots of the new tokens, page tables
// for those who want them, and one plan per attention class.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "onebeat/geometry.h"
#include "onebeat/plan.h"
#include "onebeat/status.h"

namespace onebeat {

/// Most attention classes that one step prepares.
inline constexpr std::int32_t kMaxStepClasses = 8;

/// Type of the integers behind an input view.
enum class IndexType : std::uint8_t { kI32, kI64 };

/// A borrowed, strided array of integers to read. Strides count elements and may be 0 or negative.
struct IndexArray {
  const void* data = nullptr;
  std::int64_t size = 0;
  std::int64_t stride = 1;
  IndexType type = IndexType::kI32;

  IndexArray() = default;
  IndexArray(const void* data_in, std::int64_t size_in, std::int64_t stride_in, IndexType type_in)
      : data(data_in), size(size_in), stride(stride_in), type(type_in) {}
  /// Contiguous numbers. Not explicit: a span is such an array.
  IndexArray(std::span<const std::int32_t> values)  // NOLINT(google-explicit-constructor)
      : data(values.data()), size(static_cast<std::int64_t>(values.size())) {}
  IndexArray(std::span<const std::int64_t> values)  // NOLINT(google-explicit-constructor)
      : data(values.data()),
        size(static_cast<std::int64_t>(values.size())),
        type(IndexType::kI64) {}
};

/// A borrowed, strided matrix of integers to read.
struct IndexTable {
  const void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_stride = 0;
  std::int64_t column_stride = 1;
  IndexType type = IndexType::kI32;
};

/// A borrowed, strided array of 32-bit integers to write; null data: not wanted.
struct IntArray {
  std::int32_t* data = nullptr;
  std::int64_t size = 0;
  std::int64_t stride = 1;

  IntArray() = default;
  IntArray(std::int32_t* data_in, std::int64_t size_in, std::int64_t stride_in)
      : data(data_in), size(size_in), stride(stride_in) {}
  /// Contiguous numbers. Not explicit: a span is such an array.
  IntArray(std::span<std::int32_t> values)  // NOLINT(google-explicit-constructor)
      : data(values.data()), size(static_cast<std::int64_t>(values.size())) {}
};

/// A borrowed, strided matrix of 32-bit integers to write; null data: not wanted.
struct IntTable {
  std::int32_t* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_stride = 0;
  std::int64_t column_stride = 1;
};

/// Where the KV of a request lies: row rows_of[b] of a table.
enum class PageMapKind : std::uint8_t {
  kNone,   ///< No page map: no slots and no page tables can be asked for.
  kPages,  ///< Column p holds the id of the request's page p (the engine's own form).
  kSlots,  ///< Column t holds the slot of token t (`req_to_token`); its page is slot / P.
};

/// What the materialised page tables are to hold.
enum class TableContract : std::uint8_t {
  kNone,  ///< None: kernels read the page map directly.
  /// Row b gets the ceil(len / P) pages of its tokens; all other columns keep what they held.
  kLive,
  /// Every row gets columns [0, dense_pages), whatever its own length; columns from there on keep
  /// what they held. Columns beyond a row's own length hold what the page map has there. With
  /// dense_pages = 0 no column is written.
  kDense,
};

/// One changed entry of the page map.
struct PageUpdate {
  std::int32_t column = 0;
  std::int32_t page = 0;
};

/// Changed entries of the page map, applied before anything reads it. Null begin: none.
struct PageUpdates {
  /// B + 1 numbers: request b's changes are entries [begin[b], begin[b + 1]); a later change of a
  /// column wins. A row with changes may stand for one request of the step only.
  const std::int32_t* begin = nullptr;
  const PageUpdate* entries = nullptr;
  std::int64_t num_entries = 0;  ///< Room behind `entries`; begin[B] may not exceed it.
  std::int32_t* page_rows =
      nullptr;  ///< The page map (kPages, 32 bits), writable: same address as pages.data.
};

/// Everything one step reads and writes. All memory is borrowed: host memory for prepare(), device
/// memory at fixed addresses for prepare_cuda(). Trivially copyable.
struct StepArguments {
  /// B, rows of the batch (of the captured bucket under a CUDA graph).
  std::int32_t num_requests = 0;
  /// Requests of this step, from 0 to B, read when the step runs; null: B. Rows from there on are
  /// not touched.
  const std::int32_t* num_active = nullptr;

  // Lengths. len_b = lens[i] + len_delta + (add_query_tokens ? T_b : 0), i = b, or rows_of[b] with
  // lens_by_row.
  IndexArray lens;
  bool lens_by_row = false;
  bool add_query_tokens = false;
  std::int32_t len_delta = 0;
  /// T_b of each request, from 0 (it takes no part); empty: all have query_tokens_each.
  IndexArray query_tokens;
  std::int32_t query_tokens_each = 1;

  // Pages.
  IndexArray rows_of;  ///< Row of each request in the page map; empty: row b. Repeats are allowed.
  PageMapKind page_map = PageMapKind::kNone;
  IndexTable pages;
  PageUpdates updates;
  /// Pages of the pool; slots of new tokens on other pages are refused (device: slot -1,
  /// reported). 0: unchecked.
  std::int64_t pool_pages = 0;
  /// Slot in the sliding-window pool of each slot of the full pool; needed for window_table and
  /// window_slots, unless window_identity says that both pools share their slots. A slot outside
  /// it, or one that it maps below 0 (freed there), becomes page 0 in tables and is refused for new
  /// tokens (device: slot -1, reported).
  IndexArray window_slot_of;
  bool window_identity = false;

  // Outputs.
  IntArray out_lens;      ///< B: len_b.
  IntArray cu_seqlens_q;  ///< B + 1: exclusive prefix sums of T_b, the last the total.
  IntArray cu_seqlens_k;  ///< B + 1: exclusive prefix sums of len_b (modulo 2^32, as 32-bit
                          ///< additions give them).
  // One number per new token, in the order of cu_seqlens_q.
  IntArray positions;     ///< len_b - T_b + t, the token's place in its request.
  IntArray slots;         ///< Slot where the token's K and V go: page * P + position % P.
  IntArray window_slots;  ///< The same in the sliding-window pool.
  TableContract tables = TableContract::kNone;
  std::int64_t dense_pages = 0;  ///< Columns that kDense writes (`max_seq_pages`).
  IntTable page_table;           ///< Page ids: slot / P.
  IntTable window_table;  ///< window_slot_of[slot] / P of the page's first slot: translated before
                          ///< the division.

  /// Plan of each class: plan_bytes(c) bytes, 16-byte aligned; null: the class is left out.
  std::array<std::byte*, kMaxStepClasses> plans{};
  /// Arrival counters of each class, scratch_size().counters words, set to zero; null: none.
  std::array<std::uint32_t*, kMaxStepClasses> counters{};
};

/// One attention class of the model.
struct StepClass {
  AttentionGeometry geometry;
  CostModel cost;
};

/// What a step preparer is sized for (contract G4).
struct StepLimits {
  std::int32_t max_requests = 0;        ///< Largest B, 0 to 65,536.
  std::int64_t max_context_tokens = 0;  ///< Longest request, 1 to 2^31 - 1.
  std::int32_t max_query_tokens = 1;    ///< Largest T, 1 to 16.
};

/// Prepares steps. Holds the planners of all classes and scratch for one step: one object per
/// stream or thread.
class StepPlanner {
 public:
  /// `page_tokens` is P of the page map and tables, a power of two; every class must have the same.
  /// `classes` may be empty (tables only). Errors: kInvalidArgument, kOutOfRange with the field and
  /// the numbers.
  [[nodiscard]] static Result<StepPlanner> create(std::span<const StepClass> classes,
                                                  std::int32_t page_tokens,
                                                  const StepLimits& limits);

  [[nodiscard]] std::int32_t num_classes() const {
    return static_cast<std::int32_t>(planners_.size());
  }
  [[nodiscard]] const Planner& planner(std::int32_t index) const {
    return planners_[static_cast<std::size_t>(index)];
  }
  [[nodiscard]] std::size_t plan_bytes(std::int32_t index) const {
    return planner(index).plan_bytes();
  }
  [[nodiscard]] std::int32_t page_tokens() const { return page_tokens_; }
  [[nodiscard]] const StepLimits& limits() const { return limits_; }

  /// Prepares one step on this thread. Everything is checked before the first byte is written: on
  /// an error all outputs hold what they held. No allocation. Errors: kInvalidArgument (views that
  /// contradict each other), kOutOfRange (a length, row, page, slot or count beyond its limit,
  /// naming the request and both numbers).
  [[nodiscard]] Status prepare(const StepArguments& step);

 private:
  StepPlanner() = default;
  std::vector<Planner> planners_;
  std::int32_t page_tokens_ = 1;
  StepLimits limits_;
  std::vector<std::int32_t> lens_;          // len_b of the step being prepared
  std::vector<std::int32_t> query_tokens_;  // T_b
};

/// Speculative decoding with several drafts per request, second pass: request b has top_k rows
/// b*top_k + i, each of which sees the last, partly filled page of the request's prefix and its own
/// draft's tokens.
struct DraftExpandArguments {
  std::int32_t num_requests = 0;  ///< B
  std::int32_t top_k = 1;
  std::int32_t decode_length = 0;  ///< Draft tokens so far, added to every length.
  std::int32_t page_tokens = 1;    ///< P, a power of two.
  IndexArray
      last_page_lens;  ///< B: tokens of the prefix in its last page, 0 to P - 1 in a sound batch.
  /// Slots of each row's tokens, starting in the prefix's last page: [rows, tokens], rows at most B
  /// * top_k.
  IndexTable slots;
  IntArray out_lens;  ///< B * top_k: decode_length + last_page_lens[b].
  /// Row r gets, from column 0, the pages of slots[r] with consecutive repeats dropped; other
  /// columns and rows keep what they held.
  IntTable page_table;
};

/// Fills lengths and page table of the expand pass. Checked before the first byte is written.
/// Errors: kInvalidArgument, kOutOfRange (a slot below 0, more distinct pages than columns) with
/// the numbers.
[[nodiscard]] Status prepare_draft_expand(const DraftExpandArguments& draft);

}  // namespace onebeat
