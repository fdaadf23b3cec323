// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "base/error.h"
#include "onebeat/plan.h"
#include "plan/division.h"

namespace onebeat {
namespace {

std::uint32_t tile_shift_of(const AttentionGeometry& geometry) {
  return static_cast<std::uint32_t>(
      std::countr_zero(static_cast<std::uint32_t>(geometry.tile_tokens)));
}

Status check_header(const PlanHeader& header, const AttentionGeometry& geometry, std::size_t size) {
  if (header.version != kPlanVersion) {
    return plan_mismatch("plan has format version {}; this library reads {}", header.version,
                         kPlanVersion);
  }
  const std::uint32_t stamp = plan_stamp(geometry);
  if (header.stamp != stamp || header.workers != static_cast<std::uint32_t>(geometry.workers)) {
    return plan_mismatch(
        "plan is stamped {:08x} for {} workers, the geometry {:08x} for {}; it was made for "
        "another "
        "geometry",
        header.stamp, header.workers, stamp, geometry.workers);
  }
  if (header.capacity > 65536 || header.num_active > header.capacity) {
    return data_loss("plan has {} requests and room for {}", header.num_active, header.capacity);
  }
  const plan::Layout layout = plan::layout_of(header.workers, header.capacity);
  if (header.workers_offset != layout.workers_offset ||
      header.requests_offset != layout.requests_offset ||
      header.queries_offset != layout.queries_offset || header.size_bytes != layout.size_bytes) {
    return data_loss("plan's offsets do not fit {} workers and {} requests", header.workers,
                     header.capacity);
  }
  if (size < header.size_bytes) {
    return data_loss("plan has {} bytes; {} are given", header.size_bytes, size);
  }
  if (header.workers_active > header.workers) {
    return data_loss("plan has {} active workers of {}", header.workers_active, header.workers);
  }
  return {};
}

}  // namespace

PlanView::PlanView(std::span<const std::byte> bytes, const AttentionGeometry& geometry)
    : geometry_(geometry),
      bytes_(bytes),
      header_(reinterpret_cast<const PlanHeader*>(bytes.data())) {
  workers_ = {reinterpret_cast<const WorkerRecord*>(bytes.data() + header_->workers_offset),
              header_->workers};
  requests_ = {reinterpret_cast<const RequestRecord*>(bytes.data() + header_->requests_offset),
               header_->num_active + std::size_t{1}};
  query_begin_ = {reinterpret_cast<const std::uint32_t*>(bytes.data() + header_->queries_offset),
                  header_->num_active + std::size_t{1}};
}

Result<PlanView> PlanView::open(std::span<const std::byte> bytes,
                                const AttentionGeometry& geometry) {
  ONEBEAT_RETURN_IF_ERROR(validate(geometry));
  if (bytes.size() < sizeof(PlanHeader) ||
      reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(PlanHeader) != 0) {
    return data_loss("{} bytes at this alignment hold no plan", bytes.size());
  }
  const auto& header = *reinterpret_cast<const PlanHeader*>(bytes.data());
  ONEBEAT_RETURN_IF_ERROR(check_header(header, geometry, bytes.size()));

  const PlanView view(bytes.first(header.size_bytes), geometry);
  for (std::uint32_t r = 0; r < header.num_active; ++r) {
    const std::uint64_t tokens = std::uint64_t{view.query_begin_[r + 1]} - view.query_begin_[r];
    if (tokens > static_cast<std::uint64_t>(geometry.max_query_tokens)) {
      return data_loss("request {} has {} query tokens; the geometry has at most {}", r, tokens,
                       geometry.max_query_tokens);
    }
    const RequestRecord& request = view.requests_[r];
    if (request.first > request.len || request.len > 0x7fffffffu) {
      return data_loss("request {} covers tokens {} to {}", r, request.first, request.len);
    }
  }
  for (std::uint32_t w = 0; w < header.workers_active; ++w) {
    const WorkerRecord& worker = view.workers_[w];
    const bool in_range = worker.stamp == header.stamp && worker.end_request < header.num_active &&
                          worker.begin_request <= worker.end_request &&
                          worker.begin_unit < view.units(worker.begin_request) &&
                          worker.end_unit < view.units(worker.end_request) &&
                          plan::unit_key(worker.begin_request, worker.begin_unit) <=
                              plan::unit_key(worker.end_request, worker.end_unit) &&
                          worker.continued_owner < header.workers;
    if (!in_range) return data_loss("worker {} has a record out of range", w);
  }
  return view;
}

std::uint32_t PlanView::query_tiles(std::uint32_t request) const {
  return plan::query_tiles_of(static_cast<std::uint32_t>(heads_per_kv_head(geometry_)),
                              query_tokens(request));
}

std::uint32_t PlanView::units(std::uint32_t request) const {
  return static_cast<std::uint32_t>(geometry_.num_kv_heads) * query_tiles(request);
}

PlanView::SegmentCursor PlanView::first_segment(std::uint32_t worker) const {
  SegmentCursor cursor;
  cursor.worker = worker;
  cursor.done = worker >= header_->workers_active;
  if (!cursor.done) {
    cursor.request = workers_[worker].begin_request;
    cursor.unit = workers_[worker].begin_unit;
  }
  return cursor;
}

bool PlanView::next_segment(SegmentCursor& cursor, Segment& segment) const {
  if (cursor.done) return false;
  const WorkerRecord& worker = workers_[cursor.worker];
  const RequestRecord& request = requests_[cursor.request];
  const std::uint32_t shift = tile_shift_of(geometry_);
  const std::uint32_t tiles = query_tiles(cursor.request);
  const bool last = cursor.request == worker.end_request && cursor.unit == worker.end_unit;

  segment.request = cursor.request;
  segment.kv_head = cursor.unit / tiles;
  segment.query_tile = cursor.unit % tiles;
  segment.tile_begin = cursor.first ? worker.begin_tile : request.first >> shift;
  segment.tile_end = last ? worker.end_tile : (request.len + (1u << shift) - 1) >> shift;
  segment.token_begin = static_cast<std::uint32_t>(
      std::max<std::uint64_t>(std::uint64_t{segment.tile_begin} << shift, request.first));
  segment.token_end = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{segment.tile_end} << shift, request.len));
  segment.partials = 0;
  segment.owner = cursor.worker;
  segment.slot = 2 * cursor.worker;
  if (cursor.first && worker.continued_partials > 0) {
    segment.partials = worker.continued_partials;
    segment.owner = worker.continued_owner;
  } else if (last && worker.started_partials > 0) {
    segment.partials = worker.started_partials;
    segment.slot = 2 * cursor.worker + 1;
  }

  cursor.first = false;
  cursor.done = last;
  if (!last && ++cursor.unit == static_cast<std::uint32_t>(geometry_.num_kv_heads) * tiles) {
    cursor.unit = 0;
    do ++cursor.request;
    while (cursor.request < worker.end_request && units(cursor.request) == 0);
  }
  return true;
}

}  // namespace onebeat
