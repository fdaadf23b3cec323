// SPDX-License-Identifier: Apache-2.0
// A random decode batch in any of the layouts that callers have, with the outputs that the contract
// promises for it. The expected values come from the definition (sums, a two-dimensional look-up, a
// floor division), never from the code under test. Outputs, and all memory between strided
// elements, start as sentinels and are compared whole.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "onebeat/step.h"

namespace onebeat::step_test {

inline constexpr std::int32_t kSentinel = -77;

/// A strided array of integers of either type, gaps filled with a value that must never be read.
class Numbers {
 public:
  Numbers() = default;
  Numbers(const std::vector<std::int64_t>& values, IndexType type, std::int64_t stride)
      : size_(static_cast<std::int64_t>(values.size())), stride_(stride), type_(type) {
    const std::size_t room = values.size() * static_cast<std::size_t>(stride) + 1;
    if (type == IndexType::kI64) wide_.assign(room, std::int64_t{1} << 60);
    if (type == IndexType::kI32) narrow_.assign(room, 0x7fffffff);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t at = i * static_cast<std::size_t>(stride);
      if (type == IndexType::kI64) wide_[at] = values[i];
      if (type == IndexType::kI32) narrow_[at] = static_cast<std::int32_t>(values[i]);
    }
  }
  IndexArray array() const { return {data(), size_, stride_, type_}; }
  const void* data() const {
    return type_ == IndexType::kI64 ? static_cast<const void*>(wide_.data()) : narrow_.data();
  }

 private:
  std::vector<std::int32_t> narrow_;
  std::vector<std::int64_t> wide_;
  std::int64_t size_ = 0;
  std::int64_t stride_ = 1;
  IndexType type_ = IndexType::kI32;
};

enum class RowOrder { kInOrder, kPermuted, kRepeated };

struct BatchShape {
  std::int32_t requests = 1;
  std::int32_t max_len =
      1;  ///< Lengths are drawn from [min_len, max_len]; min_len < 0: max_len / 2.
  std::int32_t page_tokens = 1;
  bool window = false;
  std::int32_t len_delta = 0;
  std::int32_t min_len = -1;
  std::vector<std::int64_t> lens = {};  ///< These instead of drawn ones.
  TableContract contract = TableContract::kDense;
  std::int64_t dense_pages = -1;  ///< -1: what the longest length needs.
  std::int64_t map_rows = -1;     ///< -1: one for each request.
  std::int64_t map_columns = -1;  ///< -1: 2 * max_len.
  RowOrder order = RowOrder::kInOrder;
  IndexType len_type = IndexType::kI64;
  IndexType row_type = IndexType::kI32;
  IndexType map_type = IndexType::kI32;
  IndexType window_type = IndexType::kI64;
  std::int64_t gaps = 0;  ///< Elements left between neighbours in every view.
  std::int32_t active = -1;
};

class DecodeBatch {
 public:
  explicit DecodeBatch(const BatchShape& shape_in, std::uint64_t seed = 1) : shape(shape_in) {
    std::mt19937_64 random(seed);
    draw_lengths(random);
    draw_rows(random);
    draw_map(random);
    make_outputs();
    expect_outputs();
  }
  DecodeBatch(const DecodeBatch&) = delete;
  DecodeBatch& operator=(const DecodeBatch&) = delete;

  StepLimits limits() const { return {shape.requests, 1 << 20, 1}; }

  StepArguments arguments() {
    StepArguments step;
    step.num_requests = shape.requests;
    if (shape.active >= 0) step.num_active = &shape.active;
    step.lens = lens_in.array();
    step.len_delta = shape.len_delta;
    step.rows_of = rows_in.array();
    step.page_map = PageMapKind::kSlots;
    step.pages = {shape.map_type == IndexType::kI64 ? static_cast<const void*>(map_wide.data())
                                                    : map_narrow.data(),
                  shape.map_rows,
                  shape.map_columns,
                  map_row_stride(),
                  step_of(),
                  shape.map_type};
    step.out_lens = {out_lens.data(), shape.requests, step_of()};
    step.cu_seqlens_q = {cu_q.data(), shape.requests + 1, step_of()};
    step.cu_seqlens_k = {cu_k.data(), shape.requests + 1, step_of()};
    step.tables = shape.contract;
    step.dense_pages = shape.dense_pages;
    step.page_table = {table.data(), shape.requests, table_columns, table_row_stride(), step_of()};
    if (shape.window) {
      step.window_slot_of = window_in.array();
      step.window_table = {window_table.data(), shape.requests, table_columns, table_row_stride(),
                           step_of()};
    }
    return step;
  }

  /// Runs `step`, by default on the CPU twin, and compares every element of every buffer.
  void prepare_and_check() {
    Result<StepPlanner> planner = StepPlanner::create({}, shape.page_tokens, limits());
    ASSERT_TRUE(planner.ok()) << to_string(planner.status());
    const Status status = planner->prepare(arguments());
    ASSERT_TRUE(status.ok()) << to_string(status);
    check();
  }

  void check() const {
    expect_same("lens", out_lens, expected_lens);
    expect_same("cu_seqlens_q", cu_q, expected_cu_q);
    expect_same("cu_seqlens_k", cu_k, expected_cu_k);
    expect_same("page_table", table, expected_table);
    expect_same("window_table", window_table, expected_window_table);
  }

  std::int64_t slot(std::int64_t row, std::int64_t column) const {
    const auto at = static_cast<std::size_t>(row * map_row_stride() + column * step_of());
    return shape.map_type == IndexType::kI64 ? map_wide[at] : map_narrow[at];
  }

  BatchShape shape;
  std::vector<std::int64_t> lens;  // with delta: what the step is to write
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> window_slots;
  Numbers lens_in, rows_in, window_in;
  std::vector<std::int32_t> map_narrow;
  std::vector<std::int64_t> map_wide;
  std::int64_t table_columns = 0;
  std::vector<std::int32_t> out_lens, cu_q, cu_k, table, window_table;
  std::vector<std::int32_t> expected_lens, expected_cu_q, expected_cu_k, expected_table,
      expected_window_table;

 private:
  std::int64_t step_of() const { return 1 + shape.gaps; }
  std::int64_t map_row_stride() const { return (shape.map_columns + shape.gaps) * step_of(); }
  std::int64_t table_row_stride() const { return (table_columns + shape.gaps) * step_of(); }
  std::int32_t active() const { return shape.active < 0 ? shape.requests : shape.active; }

  void draw_lengths(std::mt19937_64& random) {
    if (shape.min_len < 0) shape.min_len = shape.max_len / 2;
    std::vector<std::int64_t> stored = shape.lens;
    if (stored.empty()) {
      std::uniform_int_distribution<std::int64_t> draw(shape.min_len, shape.max_len);
      for (std::int32_t b = 0; b < shape.requests; ++b) stored.push_back(draw(random));
    }
    for (const std::int64_t len : stored) lens.push_back(len + shape.len_delta);
    lens_in = Numbers(stored, shape.len_type, step_of());
    if (shape.dense_pages < 0) {
      const std::int64_t longest = lens.empty() ? 0 : *std::max_element(lens.begin(), lens.end());
      shape.dense_pages = (longest + shape.page_tokens - 1) / shape.page_tokens;
    }
    table_columns = shape.dense_pages + 10;
  }

  void draw_rows(std::mt19937_64& random) {
    if (shape.map_rows < 0) shape.map_rows = std::max(shape.requests, 1);
    std::vector<std::int64_t> all(static_cast<std::size_t>(shape.map_rows));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    if (shape.order != RowOrder::kInOrder) std::shuffle(all.begin(), all.end(), random);
    for (std::size_t b = 0; b < static_cast<std::size_t>(shape.requests); ++b) {
      rows.push_back(shape.order == RowOrder::kRepeated ? all[b / 3] : all[b]);
    }
    rows_in = Numbers(rows, shape.row_type, step_of());
  }

  void draw_map(std::mt19937_64& random) {
    if (shape.map_columns < 0) shape.map_columns = 2 * std::int64_t{shape.max_len};
    constexpr std::int64_t kSlots = 10000;
    std::uniform_int_distribution<std::int32_t> draw(0, kSlots - 1);
    const auto size = static_cast<std::size_t>(shape.map_rows * map_row_stride() + 1);
    if (shape.map_type == IndexType::kI64) map_wide.assign(size, std::int64_t{1} << 60);
    if (shape.map_type == IndexType::kI32) map_narrow.assign(size, 0x7fffffff);
    for (std::int64_t r = 0; r < shape.map_rows; ++r) {
      for (std::int64_t c = 0; c < shape.map_columns; ++c) {
        const auto at = static_cast<std::size_t>(r * map_row_stride() + c * step_of());
        if (shape.map_type == IndexType::kI64) map_wide[at] = draw(random);
        if (shape.map_type == IndexType::kI32) map_narrow[at] = draw(random);
      }
    }
    std::uniform_int_distribution<std::int64_t> shift(0, 99);
    for (std::int64_t s = 0; s < kSlots; ++s) window_slots.push_back((s + shift(random)) % kSlots);
    window_in = Numbers(window_slots, shape.window_type, step_of());
  }

  void make_outputs() {
    const auto room = [&](std::int64_t n) {
      return std::vector<std::int32_t>(static_cast<std::size_t>(n * step_of() + 1), kSentinel);
    };
    expected_lens = out_lens = room(shape.requests);
    expected_cu_q = cu_q = room(shape.requests + 1);
    expected_cu_k = cu_k = room(shape.requests + 1);
    const std::vector<std::int32_t> pages(
        static_cast<std::size_t>(shape.requests * table_row_stride() + 1), kSentinel);
    expected_table = table = pages;
    expected_window_table = window_table = pages;
  }

  void expect_outputs() {
    const auto at = [&](std::int64_t i) { return static_cast<std::size_t>(i * step_of()); };
    std::int64_t sum = 0;
    expected_cu_q[0] = expected_cu_k[0] = 0;
    for (std::int32_t b = 0; b < active(); ++b) {
      const std::int64_t len = lens[static_cast<std::size_t>(b)];
      sum += len;
      expected_lens[at(b)] = static_cast<std::int32_t>(len);
      expected_cu_q[at(b + 1)] = b + 1;
      expected_cu_k[at(b + 1)] = static_cast<std::int32_t>(sum);
      std::int64_t columns = shape.dense_pages;
      if (shape.contract == TableContract::kLive) {
        columns = 0;
        while (columns * shape.page_tokens < len) ++columns;
      }
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t token_slot =
            slot(rows[static_cast<std::size_t>(b)], c * shape.page_tokens);
        const auto entry = static_cast<std::size_t>(b * table_row_stride() + c * step_of());
        expected_table[entry] = static_cast<std::int32_t>(token_slot / shape.page_tokens);
        if (shape.window) {
          expected_window_table[entry] = static_cast<std::int32_t>(
              window_slots[static_cast<std::size_t>(token_slot)] / shape.page_tokens);
        }
      }
    }
  }

  static void expect_same(const char* name, const std::vector<std::int32_t>& got,
                          const std::vector<std::int32_t>& expected) {
    ASSERT_EQ(got.size(), expected.size()) << name;
    const auto [g, e] = std::mismatch(got.begin(), got.end(), expected.begin());
    EXPECT_TRUE(g == got.end()) << name << "[" << (g - got.begin()) << "] is " << *g
                                << ", expected " << *e;
  }
};

}  // namespace onebeat::step_test
