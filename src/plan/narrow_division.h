// SPDX-License-Identifier: Apache-2.0
// The division of work (division.h) in 32-bit arithmetic, for steps whose total cost fits and whose
// requests all have the same query tokens. The numbers are the same; on a device the narrow form
// takes a third of the instructions, and instructions are what a small step waits for.
#pragma once

#include <cstdint>

#include "plan/division.h"

namespace onebeat::plan {

/// Constants of one class in such a step; trivially copyable.
struct NarrowDivision {
  Division base;
  std::uint32_t units = 0;       ///< Of every request.
  std::uint32_t full_total = 0;  ///< All workers are active from this total on.
  std::uint32_t query_tokens = 1;
  std::uint32_t window = 0xffffffffu;  ///< window_left; without a window no request is longer.
  std::uint32_t tile_mask = 0;
};

/// Whether a step of `requests` requests of at most `max_len` tokens fits; every request has
/// `query_tokens`. Each then costs something, so all take part.
[[nodiscard]] constexpr bool fits_narrow(const Division& d, std::uint64_t requests,
                                         std::uint32_t max_len, std::uint32_t query_tokens) {
  const std::uint64_t units = units_of(d, query_tokens);
  if (units == 0) return false;
  const std::uint64_t unit = unit_cost(d, max_len, 0);
  if (unit >= (std::uint64_t{1} << 30) / units) return false;
  return requests * units * unit < 0xffffffffu;
}

[[nodiscard]] constexpr NarrowDivision narrow_division(const Division& d,
                                                       std::uint32_t query_tokens) {
  NarrowDivision n;
  n.base = d;
  n.units = units_of(d, query_tokens);
  const std::uint64_t full = std::uint64_t{d.min_worker_cost} * d.workers;
  n.full_total = full < 0xffffffffu ? static_cast<std::uint32_t>(full) : 0xffffffffu;
  n.query_tokens = query_tokens;
  if (d.window_left >= 0) n.window = static_cast<std::uint32_t>(d.window_left);
  n.tile_mask = (1u << d.tile_shift) - 1;
  return n;
}

/// High 32 bits of a product.
ONEBEAT_HD constexpr std::uint32_t multiply_high_narrow(std::uint32_t a, std::uint32_t b) {
#ifdef __CUDA_ARCH__
  return __umulhi(a, b);
#else
  return static_cast<std::uint32_t>((std::uint64_t{a} * b) >> 32);
#endif
}

/// a / b. Requires: b < 2^31, quotient < 2^16, and 0 if b is above 2^30.
ONEBEAT_HD constexpr std::uint32_t small_quotient(std::uint32_t a, std::uint32_t b) {
#ifdef __CUDA_ARCH__
  // A quotient of floats is at most 1 off; half the instructions of an exact one.
  std::uint32_t quotient = __float2uint_rz(__fdividef(__uint2float_rn(a), __uint2float_rn(b)));
  const std::uint32_t rest = a - quotient * b;
  if (static_cast<std::int32_t>(rest) < 0) {
    --quotient;
  } else if (rest >= b) {
    ++quotient;
  }
  return quotient;
#else
  return a / b;
#endif
}

ONEBEAT_HD constexpr std::uint32_t larger(std::uint32_t a, std::uint32_t b) {
  return a > b ? a : b;
}

/// first_visible_token(), without branches where there are no chunks.
ONEBEAT_HD constexpr std::uint32_t narrow_first(const NarrowDivision& n, std::uint32_t len) {
  const std::uint32_t earliest = larger(len, n.query_tokens) - n.query_tokens;
  std::uint32_t first = larger(earliest, n.window) - n.window;
  if (n.base.chunk_tokens > 0) {
    first = larger(first, earliest / n.base.chunk_tokens * n.base.chunk_tokens);
  }
  return first;
}

/// end_tile()
ONEBEAT_HD constexpr std::uint32_t narrow_end_tile(const NarrowDivision& n, std::uint32_t len) {
  return (len + n.tile_mask) >> n.base.tile_shift;
}

/// unit_cost()
ONEBEAT_HD constexpr std::uint32_t narrow_unit_cost(const NarrowDivision& n, std::uint32_t len,
                                                    std::uint32_t first) {
  return kTileCost * (narrow_end_tile(n, len) - first_tile(n.base, first)) + n.base.overhead;
}

/// Cost of a request that takes part.
ONEBEAT_HD constexpr std::uint32_t narrow_request_cost(const NarrowDivision& n, std::uint32_t len) {
  return n.units * narrow_unit_cost(n, len, narrow_first(n, len));
}

/// active_workers()
ONEBEAT_HD constexpr std::uint32_t narrow_active_workers(const NarrowDivision& n,
                                                         std::uint32_t total) {
  if (total >= n.full_total) return n.base.workers;
  if (total == 0) return 0;
  const std::uint32_t enough = total / n.base.min_worker_cost;
  return enough < 1 ? 1 : enough < n.base.workers ? enough : n.base.workers;
}

/// What all cuts share: the mean cost of a worker is quotient + remainder / active.
struct NarrowPace {
  std::uint32_t quotient = 0;
  std::uint32_t remainder = 0;
  std::uint32_t active = 1;
  std::uint32_t reciprocal = 0;  ///< floor((2^32 - 1) / active)
};

/// Requires: active > 0.
ONEBEAT_HD constexpr NarrowPace narrow_pace(const NarrowDivision& n, std::uint32_t total,
                                            std::uint32_t active) {
  NarrowPace pace;
  pace.active = active;
  pace.reciprocal = active == n.base.workers
                        ? static_cast<std::uint32_t>(n.base.workers_reciprocal >> 32)
                        : 0xffffffffu / active;
  pace.quotient = multiply_high_narrow(total, pace.reciprocal);  // at most 2 too low
  pace.remainder = total - pace.quotient * active;
  for (int i = 0; i < 2; ++i) {
    if (pace.remainder < active) continue;
    ++pace.quotient;
    pace.remainder -= active;
  }
  return pace;
}

/// Where a cut lies on the line: CutPlace::halves is 2 cost + half.
struct NarrowPlace {
  std::uint32_t cost = 0;
  std::uint32_t half = 0;
  bool exact = true;
};

ONEBEAT_HD constexpr NarrowPlace narrow_place(const NarrowPace& pace, std::uint32_t worker) {
  const std::uint32_t rest = pace.remainder * worker;                 // below 2^24
  std::uint32_t carry = multiply_high_narrow(rest, pace.reciprocal);  // at most 1 too low
  std::uint32_t left = rest - carry * pace.active;
  if (left >= pace.active) {
    ++carry;
    left -= pace.active;
  }
  return {pace.quotient * worker + carry, 2 * left >= pace.active ? 1u : 0u,
          left == 0 || 2 * left == pace.active};
}

/// A cut inside its request, and how it touches its unit.
struct NarrowCut {
  std::uint32_t unit = 0;
  std::uint32_t tile = 0;
  bool at_start = false;
  bool at_end = false;
};

/// snapped_tile(), relative to the unit's first tile. `halves` / 2 is the distance from the unit's
/// start.
ONEBEAT_HD constexpr std::uint32_t narrow_snapped(const Division& d, std::uint32_t first,
                                                  std::uint32_t tiles, std::uint32_t halves,
                                                  bool exact) {
  // No early returns: selections cost a device less than branches.
  const std::uint32_t overhead = 2 * d.overhead;
  const bool at_start = halves < overhead || (halves == overhead && exact);
  const std::uint32_t behind = halves - overhead;
  std::uint32_t nearest = (behind + kTileCost) / (2 * kTileCost);
  if (d.grain_tiles != 1) {
    const std::uint32_t skipped = first % d.grain_tiles;  // multiples of the grain are absolute
    const std::uint32_t grain = kTileCost * d.grain_tiles;
    const std::uint32_t end =
        (2 * kTileCost * skipped + behind + grain) / (2 * grain) * d.grain_tiles;
    nearest = end > skipped ? end - skipped : 0;
  }
  const std::uint32_t tail = tiles - nearest;
  const bool apart = nearest >= d.min_tiles && tail >= d.min_tiles;
  const std::uint32_t inside = apart ? nearest : nearest < tail ? 0 : tiles;
  return at_start ? 0 : nearest >= tiles ? tiles : inside;
}

/// The cut at `place`, which falls into the request that begins at `cost_begin`.
ONEBEAT_HD constexpr NarrowCut narrow_cut(const NarrowDivision& n, std::uint32_t len,
                                          std::uint32_t first, std::uint32_t cost_begin,
                                          const NarrowPlace& place) {
  const Division& d = n.base;
  const std::uint32_t offset = 2 * (place.cost - cost_begin) + place.half;
  const std::uint32_t unit_length = 2 * narrow_unit_cost(n, len, first);
  NarrowCut cut;
  cut.unit = small_quotient(offset, unit_length);
  const std::uint32_t begin = first_tile(d, first);
  const std::uint32_t tiles = narrow_end_tile(n, len) - begin;
  const std::uint32_t snapped =
      narrow_snapped(d, begin, tiles, offset - cut.unit * unit_length, place.exact);
  cut.tile = begin + snapped;
  cut.at_start = snapped == 0;
  cut.at_end = snapped == tiles && snapped != 0;
  return cut;
}

}  // namespace onebeat::plan
