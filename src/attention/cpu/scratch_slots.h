// SPDX-License-Identifier: Apache-2.0
// Where partial results lie in the scratch of a launch (contracts D6, D9): slot 2w holds what
// worker w continues, slot 2w + 1 what it starts; each has room for some tree nodes of up to 64
// rows. A run in the middle of its unit, which both continues it and leaves it unfinished, may use
// both slots of its worker, which are neighbours.
#pragma once

#include <algorithm>
#include <cstdint>

#include "attention/cpu/kernels.h"
#include "onebeat/attention.h"

namespace onebeat::cpu {

class ScratchSlots {
 public:
  ScratchSlots(const AttentionGeometry& geometry, const AttentionScratch& scratch)
      : scratch_(scratch),
        rows_(std::min(kQueryTileRows, heads_per_kv_head(geometry) * geometry.max_query_tokens)),
        dim_v_(geometry.head_dim_v) {
    const std::int64_t rows = std::int64_t{2} * geometry.workers * rows_;
    const auto outputs = static_cast<std::int64_t>(scratch.outputs.size()) / (rows * dim_v_);
    const auto stats = static_cast<std::int64_t>(scratch.stats.size()) / (rows * 2);
    nodes_ = std::min(outputs, stats);
  }

  /// Tree nodes that a slot has room for.
  [[nodiscard]] std::int64_t nodes_per_slot() const { return nodes_; }

  /// Node `node` of a slot; from nodes_per_slot() on those of the next slot.
  [[nodiscard]] RowPartials at(std::uint32_t slot, std::int64_t node) const {
    const std::int64_t place = slot * nodes_ + node;
    float* stats = scratch_.stats.data() + place * rows_ * 2;
    return {stats, stats + rows_, scratch_.outputs.data() + place * rows_ * dim_v_, dim_v_};
  }

 private:
  AttentionScratch scratch_;
  std::int64_t rows_;
  std::int64_t dim_v_;
  std::int64_t nodes_ = 0;
};

}  // namespace onebeat::cpu
