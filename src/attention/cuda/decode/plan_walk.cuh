// SPDX-License-Identifier: Apache-2.0
// Walks the units of one worker's share on the device, from the plan's bytes alone.
#pragma once

#include <cstdint>

#include "attention/cuda/decode/decode_params.h"

namespace onebeat::cuda {

/// A worker's record in registers.
struct Share {
  std::uint32_t begin_request, begin_unit, begin_tile;
  std::uint32_t end_request, end_unit, end_tile;
  std::uint32_t continued_partials, continued_owner, started_partials;
};

/// Reads a record in two loads; returns its stamp.
__device__ __forceinline__ std::uint32_t load_share(const WorkerRecord* record, Share& share) {
  const auto* words = reinterpret_cast<const uint4*>(record);
  const uint4 a = words[0];
  const uint4 b = words[1];
  share.begin_request = a.y;
  share.begin_tile = a.z;
  share.end_request = a.w;
  share.end_tile = b.x;
  share.begin_unit = b.y & 0xffffu;
  share.end_unit = b.y >> 16;
  share.continued_partials = b.z & 0xffffu;
  share.continued_owner = b.z >> 16;
  share.started_partials = b.w & 0xffffu;
  return a.x;
}

/// One unit of the share: which queries, which KV tokens. N is 1 << kTileShift.
template <int kTileShift>
struct UnitWalk {
  std::uint32_t request, unit;
  std::uint32_t len, first;                 ///< KV tokens [first, len) of the request.
  std::uint32_t query_begin, query_tokens;  ///< Its query rows.
  std::uint32_t kv_head, query_tile;
  std::uint32_t tile_begin, tile_end;  ///< This worker's tiles of the unit.
  std::uint32_t rows;                  ///< Query rows of the query tile, at most 64.

  /// Goes to the first unit.
  __device__ __forceinline__ void begin(const DecodeParams& p, const Share& share) {
    request = share.begin_request;
    unit = share.begin_unit;
    load_request(p);
    enter_unit(p, share);
  }

  /// Goes to the next unit; false behind the last one.
  __device__ __forceinline__ bool next(const DecodeParams& p, const Share& share) {
    if (request == share.end_request && unit == share.end_unit) return false;
    ++unit;
    if (unit >= units_) {
      unit = 0;
      do {
        ++request;
        if (request > share.end_request || request >= p.capacity) return false;
        load_request(p);
      } while (units_ == 0);
    }
    enter_unit(p, share);
    return true;
  }

  /// Whether a worker before this one has the unit's first tiles.
  __device__ __forceinline__ bool is_continuation(const Share& share) const {
    return share.continued_partials != 0 && request == share.begin_request &&
           unit == share.begin_unit;
  }
  /// Whether workers behind this one have the unit's last tiles, and this one its first.
  __device__ __forceinline__ bool is_left_open(const Share& share) const {
    return share.started_partials != 0 && request == share.end_request && unit == share.end_unit;
  }

 private:
  std::uint32_t query_tiles_, units_;

  __device__ __forceinline__ void load_request(const DecodeParams& p) {
    request = min(request, p.capacity - 1);  // whatever the record holds
    const uint4 record = *reinterpret_cast<const uint4*>(p.requests + request);
    const std::uint32_t begin = p.query_begin[request];
    const std::uint32_t end = p.query_begin[request + 1];
    len = record.z;
    first = record.w;
    query_begin = begin;
    query_tokens = end - begin;
    query_tiles_ = (query_tokens * p.heads_per_kv_head + kQueryTileRows - 1) / kQueryTileRows;
    units_ = query_tiles_ * p.kv_heads;
  }

  __device__ __forceinline__ void enter_unit(const DecodeParams& p, const Share& share) {
    kv_head = query_tiles_ <= 1 ? unit : unit / query_tiles_;
    query_tile = query_tiles_ <= 1 ? 0 : unit - kv_head * query_tiles_;
    rows = min(query_tokens * p.heads_per_kv_head - query_tile * kQueryTileRows,
               static_cast<std::uint32_t>(kQueryTileRows));
    tile_begin = first >> kTileShift;
    tile_end = (len + (1u << kTileShift) - 1) >> kTileShift;
    if (request == share.begin_request && unit == share.begin_unit) tile_begin = share.begin_tile;
    if (request == share.end_request && unit == share.end_unit) tile_end = share.end_tile;
  }
};

}  // namespace onebeat::cuda
