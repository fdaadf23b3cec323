// SPDX-License-Identifier: Apache-2.0
// A batch for tests, poisoned: what attention must not read is NaN or an id out of range, what it
// must write starts as NaN, and every array ends where its last valid element does, so that the
// address sanitizer sees what is beyond.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "attention/oracle.h"
#include "onebeat/attention.h"
#include "onebeat/plan.h"
#include "onebeat/thread_pool.h"

namespace onebeat {

struct BatchOptions {
  AttentionGeometry geometry = {};
  std::vector<std::int32_t> lens = {};
  std::vector<std::int32_t> query_tokens =
      {};  ///< Empty: all have max_query_tokens (0 for length 0 is not needed).
  KvLayout layout = KvLayout::kRuns;
  bool direct = true;        ///< Rows of a page map, shuffled; else a table made for the step.
  bool padded_rows = false;  ///< q and out with gaps between heads and tokens.
  float soft_cap = 0.0f;
  bool sinks = false;
  bool scales = true;  ///< An fp8 cache has scales of its heads.
  unsigned seed = 1;
};

class PoisonedBatch {
 public:
  explicit PoisonedBatch(BatchOptions options_in)
      : options(std::move(options_in)), random_(options.seed) {
    if (options.query_tokens.empty()) {
      options.query_tokens.assign(options.lens.size(), options.geometry.max_query_tokens);
    }
    query_begin.push_back(0);
    for (const std::int32_t tokens : options.query_tokens)
      query_begin.push_back(query_begin.back() + tokens);
    make_pages();
    fill_cache();
    make_rows();
  }

  [[nodiscard]] PlanBatch plan_batch() const { return {options.lens, options.query_tokens}; }
  [[nodiscard]] PrefillBatch prefill_batch() const { return {query_begin, options.lens}; }

  PoisonedBatch(const PoisonedBatch&) = delete;
  PoisonedBatch& operator=(const PoisonedBatch&) = delete;

  void forget_results() {
    std::fill(out.begin(), out.end(), kNaN);
    std::fill(lse.begin(), lse.end(), kNaN);
  }

  /// Compares all rows of output and log-sum-exp with the oracle, and that gaps and rows beyond are
  /// untouched.
  void expect_oracle(const std::string& what, double tolerance = 2e-5) const {
    const AttentionGeometry& g = options.geometry;
    std::vector<bool> written(out.size(), false);
    double worst = 0;
    for (std::size_t r = 0; r < options.lens.size(); ++r) {
      for (std::int32_t t = 0; t < options.query_tokens[r]; ++t) {
        const std::int64_t token = query_begin[r] + t;
        const std::int64_t position = std::int64_t{options.lens[r]} - options.query_tokens[r] + t;
        for (std::int32_t head = 0; head < g.num_heads; ++head) {
          const oracle::Row expected = oracle::attend(g, launch, static_cast<std::int64_t>(r),
                                                      token, position, options.lens[r], head);
          const std::int64_t at = token * launch.out.token_stride + head * launch.out.head_stride;
          for (std::int32_t d = 0; d < g.head_dim_v; ++d) {
            const auto place = static_cast<std::size_t>(at + d);
            written[place] = true;
            const double error =
                std::abs(double{out[place]} - expected.out[static_cast<std::size_t>(d)]);
            worst = error <= worst ? worst : error;  // keeps NaN
            ASSERT_LE(error, tolerance)
                << what << ": request " << r << " of length " << options.lens[r] << ", token " << t
                << ", head " << head << ", element " << d << " is " << out[place] << ", expected "
                << expected.out[static_cast<std::size_t>(d)];
          }
          const float got = lse[static_cast<std::size_t>(token * g.num_heads + head)];
          if (std::isinf(expected.lse)) {
            ASSERT_EQ(got, -std::numeric_limits<float>::infinity()) << what << ": request " << r;
          } else {
            ASSERT_NEAR(got, expected.lse, tolerance)
                << what << ": request " << r << ", token " << t << ", head " << head;
          }
        }
      }
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (!written[i]) {
        ASSERT_TRUE(std::isnan(out[i])) << what << ": wrote out[" << i << "], which is not its own";
      }
    }
  }

  BatchOptions options;
  std::vector<std::int32_t> query_begin;
  AttentionLaunch launch;  ///< Borrows from this object; variant and report are left to the test.
  std::vector<std::byte> k;
  std::vector<std::byte> v;
  std::vector<std::int32_t> page_ids;
  std::vector<std::int32_t> row_of;
  std::vector<float> q;
  std::vector<float> out;
  std::vector<float> lse;
  std::vector<float> sinks;
  std::vector<float> k_scales;
  std::vector<float> v_scales;

  static constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

 private:
  /// Whether any query of the request sees the token.
  [[nodiscard]] bool is_live(std::size_t request, std::int64_t token) const {
    const std::int64_t len = options.lens[request];
    for (std::int32_t t = 0; t < options.query_tokens[request]; ++t) {
      if (oracle::sees(options.geometry, len - options.query_tokens[request] + t, token, len))
        return true;
    }
    return false;
  }

  void make_pages() {
    const std::int64_t p = options.geometry.page_tokens;
    const std::size_t requests = options.lens.size();
    std::int32_t longest = 0;
    for (const std::int32_t len : options.lens) longest = std::max(longest, len);
    const std::int64_t columns = (longest + p - 1) / p + 3;
    const std::size_t rows = options.direct ? requests + 2 : requests;
    // Ids that no pool has, of both signs.
    page_ids.assign(rows * static_cast<std::size_t>(columns), -1);
    for (std::size_t i = 0; i < page_ids.size(); i += 2) page_ids[i] = 0x7ffffff0;
    std::vector<std::int32_t> row_numbers(rows);
    for (std::size_t i = 0; i < rows; ++i) row_numbers[i] = static_cast<std::int32_t>(i);
    if (options.direct) {
      std::shuffle(row_numbers.begin(), row_numbers.end(), random_);
      row_of.assign(row_numbers.begin(),
                    row_numbers.begin() + static_cast<std::ptrdiff_t>(requests));
    }
    std::vector<std::int32_t*> places;
    for (std::size_t r = 0; r < requests; ++r) {
      for (std::int64_t page = 0; page * p < options.lens[r]; ++page) {
        bool live = false;
        for (std::int64_t t = page * p; t < (page + 1) * p && !live; ++t) live = is_live(r, t);
        if (live)
          places.push_back(&page_ids[static_cast<std::size_t>(row_numbers[r] * columns + page)]);
      }
    }
    num_pages_ = static_cast<std::int64_t>(places.size()) + 2;
    std::shuffle(places.begin(), places.end(), random_);
    for (std::size_t i = 0; i < places.size(); ++i) *places[i] = static_cast<std::int32_t>(i + 1);
    launch.pages = {page_ids.data(), columns, static_cast<std::int32_t>(rows),
                    static_cast<std::int32_t>(columns), options.direct ? row_of.data() : nullptr};
  }

  void fill_cache() {
    const AttentionGeometry& g = options.geometry;
    const auto elements = static_cast<std::size_t>(num_pages_ * g.page_tokens * g.num_kv_heads);
    const auto size = static_cast<std::size_t>(size_of(g.kv_type));
    k.assign(elements * static_cast<std::size_t>(g.head_dim) * size,
             std::byte{0xff});  // NaN in every type
    v.assign(elements * static_cast<std::size_t>(g.head_dim_v) * size, std::byte{0xff});
    launch.kv = make_kv_pool(g, options.layout, num_pages_, k.data(), v.data());
    if (g.kv_type == KvType::kF8E4M3 && options.scales) {
      for (std::int32_t head = 0; head < g.num_kv_heads; ++head) {
        k_scales.push_back(0.375f + 0.5f * static_cast<float>(head));
        v_scales.push_back(1.75f / static_cast<float>(1 + head));
      }
      launch.kv.k_scales = k_scales.data();
      launch.kv.v_scales = v_scales.data();
    }
    const KvPool& kv = launch.kv;
    std::normal_distribution<float> normal;
    for (std::size_t r = 0; r < options.lens.size(); ++r) {
      const std::size_t row = options.direct ? static_cast<std::size_t>(row_of[r]) : r;
      for (std::int64_t t = 0; t < options.lens[r]; ++t) {
        if (!is_live(r, t)) continue;
        const std::int64_t page = page_ids[row * static_cast<std::size_t>(launch.pages.row_stride) +
                                           static_cast<std::size_t>(t / g.page_tokens)];
        for (std::int32_t head = 0; head < g.num_kv_heads; ++head) {
          const std::int64_t offset = t % g.page_tokens;
          const std::int64_t k_at =
              page * kv.k_page_stride + offset * kv.k_token_stride + head * kv.k_head_stride;
          const std::int64_t v_at =
              page * kv.v_page_stride + offset * kv.v_token_stride + head * kv.v_head_stride;
          for (std::int32_t d = 0; d < g.head_dim; ++d) put(k, k_at + d, normal(random_));
          for (std::int32_t d = 0; d < g.head_dim_v; ++d) put(v, v_at + d, normal(random_));
        }
      }
    }
  }

  void put(std::vector<std::byte>& memory, std::int64_t at, float value) const {
    if (options.geometry.kv_type == KvType::kF32) {
      reinterpret_cast<float*>(memory.data())[at] = value;
    } else if (options.geometry.kv_type == KvType::kBF16) {
      reinterpret_cast<std::uint16_t*>(memory.data())[at] =
          static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
    } else if (options.geometry.kv_type == KvType::kF8E4M3) {
      // The same for fp8; near 0 the nearest multiple of its smallest number.
      const auto bits = std::bit_cast<std::uint32_t>(value);
      const int exponent = static_cast<int>(bits >> 23 & 255) - 127 + 7;
      const std::uint32_t code = exponent <= 0
                                     ? static_cast<std::uint32_t>(std::abs(value) * 512.0f)
                                     : static_cast<std::uint32_t>(exponent) << 3 | (bits >> 20 & 7);
      memory[static_cast<std::size_t>(at)] = static_cast<std::byte>((bits >> 24 & 0x80) | code);
    } else {
      // Some half near the value: its exponent and upper fraction.
      const auto bits = std::bit_cast<std::uint32_t>(value);
      const int exponent = static_cast<int>(bits >> 23 & 255) - 127 + 15;
      const std::uint32_t half =
          exponent <= 0 ? 0 : static_cast<std::uint32_t>(exponent) << 10 | (bits >> 13 & 1023);
      reinterpret_cast<std::uint16_t*>(memory.data())[at] =
          static_cast<std::uint16_t>((bits >> 16 & 0x8000) | half);
    }
  }

  void make_rows() {
    const AttentionGeometry& g = options.geometry;
    const std::int64_t tokens = query_begin.back();
    const std::int64_t gap = options.padded_rows ? 8 : 0;
    const std::int64_t q_head = g.head_dim + gap;
    const std::int64_t out_head = g.head_dim_v + gap;
    launch.q = {nullptr, tokens, g.num_heads, g.head_dim, g.num_heads * q_head + gap, q_head};
    launch.out = {nullptr, tokens, g.num_heads, g.head_dim_v, g.num_heads * out_head + gap,
                  out_head};
    q.assign(static_cast<std::size_t>(tokens * launch.q.token_stride), kNaN);
    out.assign(static_cast<std::size_t>(tokens * launch.out.token_stride), kNaN);
    lse.assign(static_cast<std::size_t>(tokens * g.num_heads), kNaN);
    std::normal_distribution<float> normal;
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int32_t head = 0; head < g.num_heads; ++head) {
        for (std::int32_t d = 0; d < g.head_dim; ++d) {
          q[static_cast<std::size_t>(t * launch.q.token_stride + head * q_head + d)] =
              normal(random_);
        }
      }
    }
    launch.q.data = q.data();
    launch.out.data = out.data();
    launch.lse = {lse.data(), static_cast<std::int64_t>(lse.size()), 0, g.num_heads, 1};
    launch.score.scale = 1.0f / std::sqrt(static_cast<float>(g.head_dim));
    launch.score.soft_cap = options.soft_cap;
    if (options.sinks) {
      sinks.resize(static_cast<std::size_t>(g.num_heads));
      for (float& sink : sinks) sink = 2 * normal(random_);
      launch.score.sinks = sinks.data();
    }
  }

  std::mt19937 random_;
  std::int64_t num_pages_ = 0;
};

/// A plan and the scratch for it; scratch starts as NaN.
class PlannedBatch {
 public:
  PlannedBatch(const AttentionGeometry& geometry, const PlanBatch& batch, CostModel cost = {}) {
    std::int64_t longest = 1;
    for (const std::int32_t len : batch.lens) longest = std::max<std::int64_t>(longest, len);
    auto planner =
        Planner::create(geometry, cost, {static_cast<std::int32_t>(batch.lens.size()), longest});
    EXPECT_TRUE(planner.ok()) << to_string(planner.status());
    bytes_.resize(planner->plan_bytes() / 16 + 1);
    auto made = planner->make_plan(batch, std::as_writable_bytes(std::span(bytes_)));
    EXPECT_TRUE(made.ok()) << to_string(made.status());
    const Status checked = check_plan(*made, batch, planner->cost_model());
    EXPECT_TRUE(checked.ok()) << to_string(checked);
    plan_ = std::make_unique<PlanView>(*made);
    size_ = planner->scratch_size();
    outputs_.assign(static_cast<std::size_t>(size_.output_floats), PoisonedBatch::kNaN);
    stats_.assign(static_cast<std::size_t>(size_.stats_floats), PoisonedBatch::kNaN);
    counters_.assign(static_cast<std::size_t>(size_.counters), 0);
  }

  [[nodiscard]] const PlanView& plan() const { return *plan_; }
  [[nodiscard]] AttentionScratch scratch() { return {outputs_, stats_, counters_}; }
  /// For damage.
  [[nodiscard]] std::span<std::byte> writable_bytes() {
    return std::as_writable_bytes(std::span(bytes_)).first(plan_->bytes().size());
  }
  [[nodiscard]] const std::vector<std::uint32_t>& counters() const { return counters_; }

 private:
  struct alignas(16) Block {
    std::byte bytes[16];
  };
  std::vector<Block> bytes_;
  std::unique_ptr<PlanView> plan_;
  ScratchSize size_;
  std::vector<float> outputs_;
  std::vector<float> stats_;
  std::vector<std::uint32_t> counters_;
};

inline std::unique_ptr<ThreadPool> make_pool_for_test(int threads) {
  auto pool = ThreadPool::create(threads);
  EXPECT_TRUE(pool.ok()) << to_string(pool.status());
  return std::move(*pool);
}

}  // namespace onebeat
