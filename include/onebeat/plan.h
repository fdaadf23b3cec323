// SPDX-License-Identifier: Apache-2.0
// The decode plan: who reads which KV tokens, where partial results go and who merges them, for one
// step and all layers of one attention class. Bytes in docs/plan_format.md; contract numbers (D1,
// B2, ...) are explained there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "onebeat/geometry.h"
#include "onebeat/status.h"

namespace onebeat {

/// What a planner is sized for (contract G4). Everything beyond is refused with both numbers.
struct PlanLimits {
  std::int32_t max_requests = 0;        ///< Largest B, 0 to 65,536.
  std::int64_t max_context_tokens = 0;  ///< Longest request, 1 to 2^31 - 1.
  friend bool operator==(const PlanLimits&, const PlanLimits&) = default;
};

/// First bytes of a plan. All offsets count from the plan's first byte and are multiples of 16.
struct alignas(16) PlanHeader {
  std::uint32_t stamp = 0;           ///< plan_stamp() of the geometry.
  std::uint32_t version = 0;         ///< kPlanVersion.
  std::uint32_t num_active = 0;      ///< Requests of this step; rows from here on are not touched.
  std::uint32_t workers_active = 0;  ///< W_active; records from here on are zero.
  std::uint64_t total_cost = 0;      ///< Sum over units, in 1/256 tile.
  std::uint32_t workers = 0;         ///< W, worker records in the plan.
  std::uint32_t capacity = 0;        ///< Largest B; there is room for capacity + 1 request records.
  std::uint32_t workers_offset = 0;  ///< W records WorkerRecord.
  std::uint32_t requests_offset =
      0;  ///< num_active + 1 records RequestRecord; the last holds the total.
  std::uint32_t queries_offset =
      0;  ///< num_active + 1 numbers: first query token of each request, and their sum.
  std::uint32_t size_bytes = 0;  ///< Bytes of the whole plan.
  std::uint32_t reserved[4] = {};
};
static_assert(sizeof(PlanHeader) == 64);

/// One worker's share: all tiles from (begin_request, begin_unit, begin_tile) up to, not including,
/// tile end_tile of the last unit (end_request, end_unit). Units of a request are numbered kv_head
/// * query_tiles + query_tile, tiles by absolute position (tile t covers tokens [t*N, (t+1)*N)).
/// All zero: idle.
struct alignas(16) WorkerRecord {
  std::uint32_t stamp = 0;  ///< The header's stamp, or 0 in an idle record.
  std::uint32_t begin_request = 0;
  std::uint32_t begin_tile = 0;
  std::uint32_t end_request = 0;
  std::uint32_t end_tile = 0;
  std::uint16_t begin_unit = 0;
  std::uint16_t end_unit = 0;
  /// Partial results of the unit that the first segment continues; 0: the first segment starts its
  /// unit.
  std::uint16_t continued_partials = 0;
  /// Worker that starts the continued unit; it names the arrival counter. Meaningless (0) without a
  /// continuation.
  std::uint16_t continued_owner = 0;
  /// Partial results of the unit that the last segment starts and leaves unfinished; 0: it finishes
  /// it or continues.
  std::uint16_t started_partials = 0;
  std::uint16_t reserved = 0;
};
static_assert(sizeof(WorkerRecord) == 32);

/// One request: where its units begin in the step's cost, and its KV tokens [first, len).
struct alignas(16) RequestRecord {
  std::uint64_t cost_begin = 0;  ///< Cost of all units of earlier requests, in 1/256 tile.
  std::uint32_t len = 0;         ///< KV tokens, the step's own included.
  std::uint32_t first = 0;       ///< First KV token that any query sees, and that is not left out.
};
static_assert(sizeof(RequestRecord) == 16);

/// What a step asks of the planner. Borrowed for the call.
struct PlanBatch {
  /// KV tokens of each request, the step's own included: B numbers from 0 to max_context_tokens.
  std::span<const std::int32_t> lens;
  /// Query tokens of each request, B numbers from 0 (the request takes no part) to
  /// max_query_tokens; empty: all have max_query_tokens. A request may have fewer KV tokens than
  /// query tokens only if it has none (len 0).
  std::span<const std::int32_t> query_tokens = {};
  /// Tokens at the beginning of each request that this plan leaves out, because another one covers
  /// them (onebeat/cascade.h): B multiples of tile_tokens, none beyond the request's own query
  /// tokens; empty: none are left out. Not with windows, chunks or batch-invariant mode.
  std::span<const std::int32_t> skip_tokens = {};
};

/// One run of tiles of one unit done by one worker.
struct Segment {
  std::uint32_t request = 0;
  std::uint32_t kv_head = 0;
  std::uint32_t query_tile = 0;
  std::uint32_t tile_begin = 0;  ///< First tile, absolute.
  std::uint32_t tile_end =
      0;  ///< One past the last; equal to tile_begin for a request of length 0.
  std::uint32_t token_begin = 0;  ///< First KV token, clipped to the request's [first, len).
  std::uint32_t token_end = 0;
  std::uint32_t partials = 0;  ///< Partial results of the unit; 0: this segment is the whole unit.
  std::uint32_t owner = 0;     ///< Worker that starts the unit; names its arrival counter.
  std::uint32_t slot =
      0;  ///< Scratch slot of this partial: 2*worker (continues) or 2*worker + 1 (starts).
  friend bool operator==(const Segment&, const Segment&) = default;
};

/// A typed view of a plan's bytes. Borrows them; copies freely. Thread-safe as long as nobody
/// writes the bytes.
class PlanView {
 public:
  /// Checks that `bytes` hold a plan of this geometry with consistent header, offsets and records
  /// in range. After this no function of the view reads outside `bytes`. Errors: kPlanMismatch,
  /// kDataLoss.
  [[nodiscard]] static Result<PlanView> open(std::span<const std::byte> bytes,
                                             const AttentionGeometry& geometry);

  [[nodiscard]] const PlanHeader& header() const { return *header_; }
  [[nodiscard]] const AttentionGeometry& geometry() const { return geometry_; }
  /// All W records, idle ones included.
  [[nodiscard]] std::span<const WorkerRecord> workers() const { return workers_; }
  /// num_active + 1 records.
  [[nodiscard]] std::span<const RequestRecord> requests() const { return requests_; }
  /// num_active + 1 numbers: query tokens of request r are rows [query_begin[r], query_begin[r +
  /// 1]).
  [[nodiscard]] std::span<const std::uint32_t> query_begin() const { return query_begin_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

  /// Query tokens of request r.
  [[nodiscard]] std::uint32_t query_tokens(std::uint32_t request) const {
    return query_begin_[request + 1] - query_begin_[request];
  }
  /// Query tiles of request r: ceil(R * T_r / 64); 0 if it takes no part.
  [[nodiscard]] std::uint32_t query_tiles(std::uint32_t request) const;
  /// Units of request r: G * query_tiles(r).
  [[nodiscard]] std::uint32_t units(std::uint32_t request) const;

  /// Calls visit(const Segment&) for every segment of a worker, in order.
  template <typename Visit>
  void for_each_segment(std::uint32_t worker, Visit&& visit) const {
    SegmentCursor cursor = first_segment(worker);
    Segment segment;
    while (next_segment(cursor, segment)) visit(static_cast<const Segment&>(segment));
  }

  /// Walks the segments of one worker without allocating: next_segment() fills `segment`, or
  /// returns false at the end.
  struct SegmentCursor {
    std::uint32_t worker = 0;
    std::uint32_t request = 0;
    std::uint32_t unit = 0;
    bool first = true;
    bool done = true;
  };
  [[nodiscard]] SegmentCursor first_segment(std::uint32_t worker) const;
  bool next_segment(SegmentCursor& cursor, Segment& segment) const;

 private:
  friend class Planner;
  /// Requires: bytes that a planner of this geometry wrote.
  PlanView(std::span<const std::byte> bytes, const AttentionGeometry& geometry);
  AttentionGeometry geometry_;
  std::span<const std::byte> bytes_;
  const PlanHeader* header_ = nullptr;
  std::span<const WorkerRecord> workers_;
  std::span<const RequestRecord> requests_;
  std::span<const std::uint32_t> query_begin_;
};

/// Scratch that the layers of one class share (contract D6): independent of B and of the lengths.
struct ScratchSize {
  std::int32_t slots = 0;  ///< 2W partial results, each of up to rows_per_slot rows.
  std::int32_t nodes_per_slot =
      1;  ///< Results in a slot: 1, or the tree nodes of batch-invariant mode.
  std::int32_t rows_per_slot = 0;  ///< Query rows of the largest query tile.
  std::int64_t output_floats = 0;  ///< slots * nodes * rows * Dv floats, 16-byte aligned.
  std::int64_t stats_floats = 0;   ///< (maximum, sum) per row: slots * nodes * rows * 2 floats.
  std::int32_t counters =
      0;  ///< Arrival counters, 32 bits each; zero before the step's first launch.
};

/// Makes plans for one class. Immutable after create(); safe to use from many threads.
class Planner {
 public:
  /// Errors: kInvalidArgument, kOutOfRange (geometry or limits; also limits whose largest total
  /// cost would not fit the 64-bit arithmetic), each with the numbers.
  [[nodiscard]] static Result<Planner> create(const AttentionGeometry& geometry,
                                              const CostModel& cost, const PlanLimits& limits);

  [[nodiscard]] const AttentionGeometry& geometry() const { return geometry_; }
  /// The cost model in use, min_worker_cost raised to what D3 needs.
  [[nodiscard]] const CostModel& cost_model() const { return cost_; }
  [[nodiscard]] const PlanLimits& limits() const { return limits_; }
  /// Bytes of every plan that this planner makes.
  [[nodiscard]] std::size_t plan_bytes() const { return plan_bytes_; }
  [[nodiscard]] ScratchSize scratch_size() const;

  /// Fills `out` (plan_bytes() bytes, 16-byte aligned, owned by the caller) with the plan of
  /// `batch`; same input, same bytes. O(B + W) time, no allocation. Bytes beyond the num_active'th
  /// records keep what they held. Errors: kInvalidArgument, kOutOfRange naming the request, its
  /// value and the limit; `out` is then unspecified.
  [[nodiscard]] Result<PlanView> make_plan(const PlanBatch& batch, std::span<std::byte> out) const;

 private:
  Planner() = default;
  AttentionGeometry geometry_;
  CostModel cost_;
  PlanLimits limits_;
  std::size_t plan_bytes_ = 0;
};

/// How evenly a plan divides the work. Costs in 1/256 tile, counted as the executors pay them
/// (every segment its overhead), so that splitting a unit shows.
struct PlanBalance {
  std::uint64_t largest_worker_cost = 0;
  std::uint64_t total_cost = 0;
  double balance = 1.0;  ///< largest_worker_cost * W_active / total_cost; 1 when there is no work.
  std::int32_t segments = 0;
  std::int32_t split_units = 0;   ///< Units done by more than one worker.
  std::int32_t scratch_rows = 0;  ///< Partial results that the plan writes.
};
[[nodiscard]] PlanBalance balance_of(const PlanView& plan, const CostModel& cost);

/// Proves in O(B + W + segments) that the plan covers every (unit, tile) of `batch` exactly once,
/// that lengths, firsts, slots, owners and partial counts are right, and that no worker has more
/// than its bound (contract B5). Errors: kInternal naming the first violation.
[[nodiscard]] Status check_plan(const PlanView& plan, const PlanBatch& batch,
                                const CostModel& cost);

/// One line per worker, after a line on the whole.
[[nodiscard]] std::string to_string(const PlanView& plan, const CostModel& cost);
/// The JSON of `onebeat plan --format json`.
[[nodiscard]] std::string to_json(const PlanView& plan, const CostModel& cost);
/// A picture: a lane per worker, a colour per request, splits and merges visible, the balance in
/// the title.
[[nodiscard]] std::string to_svg(const PlanView& plan, const CostModel& cost);

}  // namespace onebeat
