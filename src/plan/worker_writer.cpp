// SPDX-License-Identifier: Apache-2.0
#include "plan/worker_writer.h"

namespace onebeat::plan {

void WorkerWriter::write() {
  const std::uint32_t active = header_.workers_active;
  const Pace pace = active > 0 ? pace_of(division_, header_.total_cost, active) : Pace{};
  for (std::uint32_t w = 0; w < active; ++w) {
    const Cut cut = find_cut(place_of_cut(pace, w));
    if (w > 0) set_end(workers_[w - 1], cut);
    workers_[w] = {};
    workers_[w].stamp = division_.stamp;
    set_begin(workers_[w], cut);
  }
  if (active > 0) set_end(workers_[active - 1], {header_.num_active, 0, 0});
  count_partials();
  for (std::uint32_t w = active; w < header_.workers; ++w) workers_[w] = {};
}

bool WorkerWriter::takes_part(std::uint32_t request) const {
  return requests_[request + 1].cost_begin > requests_[request].cost_begin;
}

std::uint32_t WorkerWriter::units(std::uint32_t request) const {
  return units_of(division_, query_begin_[request + 1] - query_begin_[request]);
}

bool WorkerWriter::continues(const WorkerRecord& worker) const {
  return worker.begin_tile > first_tile(division_, requests_[worker.begin_request].first);
}

Cut WorkerWriter::find_cut(const CutPlace& place) {
  while (cursor_ + 1 < header_.num_active &&
         begins_at_or_before_cut(requests_[cursor_ + 1].cost_begin, place)) {
    ++cursor_;
  }
  // The last request that begins at or before the cut has units: the next one begins behind the
  // cut.
  return cut_in_request(division_, cursor_, requests_[cursor_], place);
}

/// A begin at the end of a unit is the start of the next one.
void WorkerWriter::set_begin(WorkerRecord& worker, Cut cut) const {
  if (at_unit_end(division_, cut, requests_[cut.request])) {
    ++cut.unit;
    if (cut.unit == units(cut.request)) {
      cut.unit = 0;
      do ++cut.request;
      while (!takes_part(cut.request));
    }
    cut.tile = first_tile(division_, requests_[cut.request].first);
  }
  worker.begin_request = cut.request;
  worker.begin_unit = static_cast<std::uint16_t>(cut.unit);
  worker.begin_tile = cut.tile;
}

/// An end at the start of a unit is the end of the one before.
void WorkerWriter::set_end(WorkerRecord& worker, Cut cut) const {
  if (cut.request == header_.num_active || at_unit_start(division_, cut, requests_[cut.request])) {
    if (cut.unit > 0) {
      --cut.unit;
    } else {
      do --cut.request;
      while (!takes_part(cut.request));
      cut.unit = units(cut.request) - 1;
    }
    cut.tile = end_tile(division_, requests_[cut.request].len);
  }
  worker.end_request = cut.request;
  worker.end_unit = static_cast<std::uint16_t>(cut.unit);
  worker.end_tile = cut.tile;
}

/// A unit that worker o starts and workers o+1 to o+n continue has n + 1 partial results and is
/// owned by o.
void WorkerWriter::count_partials() {
  const std::uint32_t active = header_.workers_active;
  std::uint32_t owner = 0;
  while (owner < active) {
    const std::uint64_t unit = unit_key(workers_[owner].end_request, workers_[owner].end_unit);
    std::uint32_t end = owner + 1;
    while (end < active && continues(workers_[end]) &&
           unit_key(workers_[end].begin_request, workers_[end].begin_unit) == unit) {
      ++end;
    }
    const auto partials = static_cast<std::uint16_t>(end - owner);
    if (partials == 1) {
      ++owner;
      continue;
    }
    workers_[owner].started_partials = partials;
    for (std::uint32_t w = owner + 1; w < end; ++w) {
      workers_[w].continued_partials = partials;
      workers_[w].continued_owner = static_cast<std::uint16_t>(owner);
    }
    owner = end - 1;  // it may start another unit after this one
  }
}

}  // namespace onebeat::plan
