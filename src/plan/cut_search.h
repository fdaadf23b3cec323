// SPDX-License-Identifier: Apache-2.0
// The worker records of a plan, each computed alone: cuts are found by binary search over the
// requests' costs, neighbours by a search for the next request that takes part, owners and numbers
// of partial results by looking at one bit per worker. Every number comes from division.h, so the
// bytes are those of the host's walk (worker_writer.h).
//
// `Requests` offers cost_begin(r) for r in [0, count], record(r) and query_tokens(r) for r in
// [0, count), and count().
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "onebeat/plan.h"
#include "plan/division.h"

namespace onebeat::plan {

/// The last request in [0, end) for which `holds`; it holds for request 0 and, once it fails, for
/// no later one. Requires: end > 0.
template <typename Requests, typename Predicate>
ONEBEAT_HD constexpr std::uint32_t last_request_with(const Requests& requests, std::uint32_t end,
                                                     Predicate&& holds) {
  std::uint32_t low = 0;
  std::uint32_t high = end;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (holds(requests.cost_begin(middle))) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

/// A cut and how it touches its unit.
struct FoundCut {
  Cut cut;
  bool inside = false;    ///< Strictly inside the unit, which is split here.
  bool at_start = false;  ///< At the unit's start, or at the end of the line.
};

/// Cut `worker` of pace.active; cut `active` is the end of the line.
template <typename Requests>
ONEBEAT_HD constexpr FoundCut find_cut(const Division& d, const Requests& requests,
                                       const Pace& pace, std::uint32_t worker) {
  if (worker == pace.active) return {{requests.count(), 0, 0}, false, true};
  const CutPlace place = place_of_cut(pace, worker);
  const std::uint32_t r = last_request_with(
      requests, requests.count(),
      [&](std::uint64_t cost_begin) { return begins_at_or_before_cut(cost_begin, place); });
  const RequestRecord record = requests.record(r);
  FoundCut found;
  found.cut = cut_in_request(d, r, record, place);
  found.at_start = at_unit_start(d, found.cut, record);
  found.inside = !found.at_start && !at_unit_end(d, found.cut, record);
  return found;
}

/// Where the worker behind a cut begins: a cut at the end of a unit is the start of the next one.
template <typename Requests>
ONEBEAT_HD constexpr Cut begin_behind(const Division& d, const Requests& requests,
                                      const FoundCut& found) {
  Cut cut = found.cut;
  if (found.inside || found.at_start) return cut;
  ++cut.unit;
  if (cut.unit == units_of(d, requests.query_tokens(cut.request))) {
    const std::uint64_t end = requests.cost_begin(cut.request + 1);
    cut.unit = 0;
    // The next one usually takes part; else the last of those that begin at the same cost does.
    ++cut.request;
    if (requests.cost_begin(cut.request + 1) == end) {
      cut.request = last_request_with(requests, requests.count(),
                                      [&](std::uint64_t cost) { return cost <= end; });
    }
  }
  cut.tile = first_tile(d, requests.record(cut.request).first);
  return cut;
}

/// Where the worker before a cut ends: a cut at the start of a unit is the end of the one before.
template <typename Requests>
ONEBEAT_HD constexpr Cut end_before(const Division& d, const Requests& requests,
                                    const FoundCut& found) {
  Cut cut = found.cut;
  if (!found.at_start) return cut;
  if (cut.unit > 0) {
    --cut.unit;
  } else {
    const std::uint64_t begin = requests.cost_begin(cut.request);
    --cut.request;
    if (requests.cost_begin(cut.request) == begin) {
      cut.request = last_request_with(requests, cut.request,
                                      [&](std::uint64_t cost) { return cost < begin; });
    }
    cut.unit = units_of(d, requests.query_tokens(cut.request)) - 1;
  }
  cut.tile = end_tile(d, requests.record(cut.request).len);
  return cut;
}

/// A worker's record, still without its partial results, and the two bits that these follow from.
struct WorkerShare {
  WorkerRecord record;
  bool continues = false;  ///< Its first segment continues a unit.
  bool leaves = false;     ///< It leaves its last unit unfinished.
  bool passes = false;     ///< Both, and it is the same unit: neither starts nor finishes it.
};

/// The share of the worker between two neighbouring cuts.
template <typename Requests>
ONEBEAT_HD constexpr WorkerShare share_between(const Division& d, const Requests& requests,
                                               const FoundCut& begin_cut, const FoundCut& end_cut) {
  const Cut begin = begin_behind(d, requests, begin_cut);
  const Cut end = end_before(d, requests, end_cut);
  WorkerShare share;
  share.record.stamp = d.stamp;
  share.record.begin_request = begin.request;
  share.record.begin_unit = static_cast<std::uint16_t>(begin.unit);
  share.record.begin_tile = begin.tile;
  share.record.end_request = end.request;
  share.record.end_unit = static_cast<std::uint16_t>(end.unit);
  share.record.end_tile = end.tile;
  share.continues = begin_cut.inside;
  share.leaves = end_cut.inside;
  share.passes =
      share.continues && share.leaves && begin.request == end.request && begin.unit == end.unit;
  return share;
}

// One bit per worker says whether it passes. It stands at the place of the cut where the worker
// ends, w + 1; bit 0 is never set. The first worker and the last active one never pass, so both
// searches end.

/// The highest place below `place` whose bit is clear.
ONEBEAT_HD constexpr std::uint32_t last_clear_before(const std::uint32_t* words,
                                                     std::uint32_t place) {
  std::uint32_t index = place / 32;
  std::uint32_t clear = ~words[index] & ((1u << (place % 32)) - 1);
  while (clear == 0) clear = ~words[--index];
#ifdef __CUDA_ARCH__
  return index * 32 + 31 - static_cast<std::uint32_t>(__clz(static_cast<int>(clear)));
#else
  return index * 32 + 31 - static_cast<std::uint32_t>(__builtin_clz(clear));
#endif
}

/// The lowest place from `place` on whose bit is clear.
ONEBEAT_HD constexpr std::uint32_t first_clear_from(const std::uint32_t* words,
                                                    std::uint32_t place) {
  std::uint32_t index = place / 32;
  std::uint32_t clear = ~words[index] & ~((1u << (place % 32)) - 1);
  while (clear == 0) clear = ~words[++index];
#ifdef __CUDA_ARCH__
  return index * 32 + static_cast<std::uint32_t>(__ffs(static_cast<int>(clear)) - 1);
#else
  return index * 32 + static_cast<std::uint32_t>(__builtin_ctz(clear));
#endif
}

/// Fills in the partial results: a unit that worker o starts and workers o+1 to o+n continue has
/// n + 1 and is owned by o.
ONEBEAT_HD constexpr void set_partials(WorkerRecord& record, bool continues, bool leaves,
                                       bool passes, const std::uint32_t* passing_words,
                                       std::uint32_t worker) {
  const std::uint32_t place = worker + 1;
  if (continues) {
    const std::uint32_t owner = last_clear_before(passing_words, place);
    const std::uint32_t last = first_clear_from(passing_words, place);
    record.continued_owner = static_cast<std::uint16_t>(owner - 1);
    record.continued_partials = static_cast<std::uint16_t>(last - owner + 1);
  }
  if (leaves && !passes) {
    const std::uint32_t last = first_clear_from(passing_words, place + 1);
    record.started_partials = static_cast<std::uint16_t>(last - place + 1);
  }
}

}  // namespace onebeat::plan
