// SPDX-License-Identifier: Apache-2.0
// Random steps of everything at once: page maps of pages or slots, updates, unequal query counts,
// lengths by row, window translation, tables, several classes. Two copies of the same step (same
// seed) start with the same memory, so that two implementations can be compared byte by byte.
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "onebeat/step.h"
#include "plan/plan_fixture.h"

namespace onebeat::step_test {

class RandomStep {
 public:
  RandomStep(std::uint64_t seed, std::int32_t max_requests) : random_(seed) {
    shift_ = draw(0, 7);
    requests_ = draw(0, 9) == 0 ? draw(0, 3) : draw(1, max_requests);
    active_ = draw(0, 3) == 0 ? draw(0, requests_) : requests_;
    max_query_tokens_ = draw(0, 1) == 0 ? 1 : draw(1, 16);
    columns_ = draw(1, 60);
    make_classes();
    make_requests();
    make_map();
    make_outputs();
  }
  RandomStep(const RandomStep&) = delete;
  RandomStep& operator=(const RandomStep&) = delete;

  Result<StepPlanner> make_planner() const {
    return StepPlanner::create(classes_, std::int32_t{1} << shift_,
                               {requests_, std::int64_t{1} << 20, max_query_tokens_});
  }

  StepArguments arguments(const StepPlanner& planner) {
    StepArguments step = arguments_;
    if (plans_.empty()) {
      for (std::int32_t c = 0; c < planner.num_classes(); ++c) {
        plans_.emplace_back(planner.plan_bytes(c));
        counters_.emplace_back(static_cast<std::size_t>(planner.planner(c).scratch_size().counters),
                               0xdeadbeefu);
      }
    }
    for (std::size_t c = 0; c < plans_.size(); ++c) {
      step.plans[c] = plans_[c].span().data();
      step.counters[c] = counters_[c].data();
    }
    return step;
  }

  /// Name of the first memory that differs, or null.
  const char* first_difference(RandomStep& other) {
    if (page_rows_ != other.page_rows_) return "page map";
    static constexpr const char* kNames[] = {"lens",       "cu_seqlens_q", "cu_seqlens_k",
                                             "positions",  "slots",        "window_slots",
                                             "page_table", "window_table"};
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
      if (outputs_[i] != other.outputs_[i]) return kNames[i];
    }
    for (std::size_t c = 0; c < plans_.size(); ++c) {
      const auto mine = plans_[c].span();
      if (std::memcmp(mine.data(), other.plans_[c].span().data(), mine.size()) != 0) return "plan";
      if (counters_[c] != other.counters_[c]) return "counters";
    }
    return nullptr;
  }

 private:
  std::int32_t draw(std::int32_t low, std::int32_t high) {
    return std::uniform_int_distribution<std::int32_t>(low, high)(random_);
  }

  void make_classes() {
    const std::int32_t count = draw(0, 3);
    for (std::int32_t c = 0; c < count; ++c) {
      StepClass of_class;
      AttentionGeometry& g = of_class.geometry;
      g.num_kv_heads = 1 << draw(0, 4);
      g.num_heads = g.num_kv_heads * draw(1, 16);
      g.head_dim = g.head_dim_v = 64;
      g.page_tokens = 1 << shift_;
      g.tile_tokens = 16 << draw(0, 3);
      g.workers = draw(0, 5) == 0 ? draw(1, 1100) : 132;
      g.max_query_tokens = max_query_tokens_;
      g.window_left = draw(0, 1) == 0 ? -1 : draw(0, 500);
      if (draw(0, 3) == 0) g.chunk_tokens = 1 << draw(0, 10);
      of_class.cost.min_tiles = static_cast<std::uint32_t>(draw(1, 3));
      classes_.push_back(of_class);
    }
  }

  void make_requests() {
    StepArguments& step = arguments_;
    step.num_requests = requests_;
    step.num_active = &active_;
    step.query_tokens_each = draw(1, max_query_tokens_);
    step.add_query_tokens = draw(0, 1) == 0;
    if (draw(0, 1) == 0) {
      for (std::int32_t b = 0; b < requests_; ++b)
        query_tokens_.push_back(draw(0, max_query_tokens_));
      step.query_tokens = std::span<const std::int32_t>(query_tokens_);
    }
    rows_.resize(static_cast<std::size_t>(requests_));
    std::iota(rows_.begin(), rows_.end(), 0);
    std::shuffle(rows_.begin(), rows_.end(), random_);
    step.rows_of = std::span<const std::int64_t>(rows_);
    // What is stored leaves room for up to 16 tokens and is never shorter than the step's own.
    const std::int32_t room = columns_ << shift_;
    for (std::int32_t b = 0; b < requests_; ++b) {
      const std::int32_t low = step.add_query_tokens ? 0 : 16;
      const std::int32_t high = step.add_query_tokens ? room - 16 : room;
      lens_.push_back(high < low ? 0 : draw(low, high));
    }
    if (room < 16) {  // too small a map for any token: all requests are empty
      step.add_query_tokens = false;
      std::fill(lens_.begin(), lens_.end(), 0);
    }
    step.lens_by_row = draw(0, 1) == 0;
    lay_out_lens(draw(0, 2) == 0 ? draw(2, 3) : 1, draw(0, 2) == 0);
  }

  /// Lengths as callers keep them: of either type, with gaps that must never be read.
  void lay_out_lens(std::int64_t stride, bool wide) {
    const std::size_t room = lens_.size() * static_cast<std::size_t>(stride) + 1;
    spread_lens_.assign(room, 0x7fffffff);
    for (std::size_t b = 0; b < lens_.size(); ++b) {
      spread_lens_[b * static_cast<std::size_t>(stride)] = lens_[b];
    }
    wide_lens_.assign(spread_lens_.begin(), spread_lens_.end());
    arguments_.lens = {wide ? static_cast<const void*>(wide_lens_.data()) : spread_lens_.data(),
                       requests_, stride, wide ? IndexType::kI64 : IndexType::kI32};
  }

  void make_map() {
    StepArguments& step = arguments_;
    const bool of_slots = draw(0, 1) == 0;
    const std::int64_t columns = of_slots ? std::int64_t{columns_} << shift_ : columns_;
    const std::int32_t pool_pages = std::max(1, 4096 >> shift_);
    for (std::int64_t i = 0; i < std::max(1, requests_) * columns; ++i) {
      page_rows_.push_back(draw(0, of_slots ? (pool_pages << shift_) - 1 : pool_pages - 1));
    }
    step.page_map = of_slots ? PageMapKind::kSlots : PageMapKind::kPages;
    step.pages = {page_rows_.data(), std::max(1, requests_), columns, columns};
    step.pool_pages = pool_pages;
    if (!of_slots && draw(0, 1) == 0) {
      update_begin_.push_back(0);
      for (std::int32_t b = 0; b < requests_; ++b) {
        for (std::int32_t u = draw(-3, 3); u > 0; --u) {
          updates_.push_back({draw(0, columns_ - 1), draw(0, pool_pages - 1)});
        }
        update_begin_.push_back(static_cast<std::int32_t>(updates_.size()));
      }
      step.updates = {update_begin_.data(), updates_.data(),
                      static_cast<std::int64_t>(updates_.size()), page_rows_.data()};
    }
    window_ = draw(0, 1) == 0;
    if (window_) {
      for (std::int32_t s = 0; s < pool_pages << shift_; ++s) {
        window_of_.push_back((s * 7 + 3) % (pool_pages << shift_));
      }
      step.window_slot_of = std::span<const std::int64_t>(window_of_);
    }
    // Without slots asked for, -1 in the map may not matter; with them it would be refused.
    step.tables = static_cast<TableContract>(draw(0, 2));
    step.dense_pages = columns_;
  }

  void make_outputs() {
    StepArguments& step = arguments_;
    const auto b = static_cast<std::size_t>(requests_);
    const std::size_t tokens = b * static_cast<std::size_t>(max_query_tokens_);
    const std::size_t table = b * static_cast<std::size_t>(columns_ + 5);
    for (const std::size_t size : {b, b + 1, b + 1, tokens, tokens, tokens, table, table}) {
      outputs_.emplace_back(size + 1, -77);
    }
    const auto array = [&](std::size_t i) {
      return IntArray{outputs_[i].data(), static_cast<std::int64_t>(outputs_[i].size()), 1};
    };
    step.out_lens = array(0);
    step.cu_seqlens_q = array(1);
    step.cu_seqlens_k = array(2);
    step.positions = array(3);
    step.slots = array(4);
    if (window_) step.window_slots = array(5);
    if (step.tables == TableContract::kNone) return;
    step.page_table = {outputs_[6].data(), requests_, columns_ + 5, columns_ + 5};
    if (window_) step.window_table = {outputs_[7].data(), requests_, columns_ + 5, columns_ + 5};
  }

  std::mt19937_64 random_;
  std::int32_t shift_ = 0, requests_ = 0, active_ = 0, max_query_tokens_ = 1, columns_ = 1;
  bool window_ = false;
  std::vector<StepClass> classes_;
  std::vector<std::int32_t> lens_, spread_lens_, query_tokens_, update_begin_, page_rows_;
  std::vector<std::int64_t> wide_lens_, rows_, window_of_;
  std::vector<PageUpdate> updates_;
  std::vector<std::vector<std::int32_t>> outputs_;
  std::vector<plan_fixture::PlanBytes> plans_;
  std::vector<std::vector<std::uint32_t>> counters_;
  StepArguments arguments_;
};

}  // namespace onebeat::step_test
