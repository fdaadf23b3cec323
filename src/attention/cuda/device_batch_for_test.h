// SPDX-License-Identifier: Apache-2.0
// A poisoned batch on the device, with its plan and scratch, and its comparison with the oracle.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "attention/poisoned_batch_for_test.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"

namespace onebeat {

inline std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// To nearest even; values below fp16's largest.
inline std::uint16_t to_f16(float value) {
  const double magnitude = std::abs(static_cast<double>(value));
  int exponent = 0;
  (void)std::frexp(magnitude, &exponent);
  exponent = std::max(exponent, -13);  // below it are subnormals
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 11 - exponent)));
  return static_cast<std::uint16_t>(((exponent + 13) << 10) + units +
                                    (std::signbit(value) ? 0x8000 : 0));
}

template <typename T>
[[nodiscard]] T value_of(Result<T> result) {
  EXPECT_TRUE(result.ok()) << to_string(result.status());
  return std::move(result).value();
}

class DeviceBatch {
 public:
  /// Rounds the batch's queries to the type that the device takes, so that the oracle sees what the
  /// device sees.
  DeviceBatch(PoisonedBatch& host, cudaStream_t stream, CostModel cost = {})
      : host_(host), stream_(stream), planned_(host.options.geometry, host.plan_batch(), cost) {
    std::vector<std::uint16_t> q(host.q.size());
    for (std::size_t i = 0; i < q.size(); ++i) {
      q[i] = std::isnan(host.q[i]) ? 0xffff : is_f16() ? to_f16(host.q[i]) : to_bf16(host.q[i]);
      host.q[i] = from_bits(q[i]);
    }
    q_ = copy<std::uint16_t>(q);
    k_ = copy<std::byte>(host.k);
    v_ = copy<std::byte>(host.v);
    pages_ = copy<std::int32_t>(host.page_ids);
    row_of_ = copy<std::int32_t>(host.row_of);
    sinks_ = copy<float>(host.sinks);
    k_scales_ = copy<float>(host.k_scales);
    v_scales_ = copy<float>(host.v_scales);
    plan_ = copy<std::byte>(planned_.plan().bytes());
    out_ = value_of(DeviceBuffer<std::uint16_t>::allocate(host.out.size()));
    lse_ = value_of(DeviceBuffer<float>::allocate(host.lse.size()));
    const AttentionScratch size = planned_.scratch();
    outputs_ = value_of(DeviceBuffer<float>::allocate(size.outputs.size()));
    stats_ = value_of(DeviceBuffer<float>::allocate(size.stats.size()));
    counters_ = value_of(DeviceBuffer<std::uint32_t>::allocate(size.counters.size()));
    faults_ = value_of(PinnedBuffer<std::uint32_t>::allocate(1));
    faults_.data()[0] = 0;
    EXPECT_TRUE(outputs_.fill_bytes(0xff, stream).ok());
    EXPECT_TRUE(stats_.fill_bytes(0xff, stream).ok());
    EXPECT_TRUE(counters_.fill_bytes(0, stream).ok());
    forget_results();
  }

  void forget_results() {
    EXPECT_TRUE(out_.fill_bytes(0xff, stream_).ok());
    EXPECT_TRUE(lse_.fill_bytes(0xff, stream_).ok());
  }

  [[nodiscard]] CudaPlan plan() const {
    const AttentionGeometry& g = host_.options.geometry;
    return {plan_.data(), plan_stamp(g), g.workers,
            static_cast<std::int32_t>(host_.options.lens.size())};
  }
  [[nodiscard]] CudaAttentionLaunch launch() const {
    CudaAttentionLaunch l;
    const AttentionLaunch& h = host_.launch;
    l.q = {q_.data(), h.q.num_tokens, h.q.num_heads, h.q.dim, h.q.token_stride, h.q.head_stride};
    l.out = {out_.data(), h.out.num_tokens,   h.out.num_heads,
             h.out.dim,   h.out.token_stride, h.out.head_stride};
    l.lse = h.lse;
    l.lse.data = lse_.data();
    l.score = h.score;
    l.score.sinks = h.score.sinks == nullptr ? nullptr : sinks_.data();
    l.kv = h.kv;
    l.kv.k = k_.data();
    l.kv.v = v_.data();
    l.kv.k_scales = h.kv.k_scales == nullptr ? nullptr : k_scales_.data();
    l.kv.v_scales = h.kv.v_scales == nullptr ? nullptr : v_scales_.data();
    l.pages = h.pages;
    l.pages.pages = pages_.data();
    l.pages.row_of = h.pages.row_of == nullptr ? nullptr : row_of_.data();
    l.faults = faults_.data();
    return l;
  }
  [[nodiscard]] AttentionScratch scratch() const {
    return {{outputs_.data(), outputs_.size()},
            {stats_.data(), stats_.size()},
            {counters_.data(), counters_.size()}};
  }
  [[nodiscard]] DeviceBuffer<std::byte>& plan_buffer() { return plan_; }
  [[nodiscard]] DeviceBuffer<std::int32_t>& page_buffer() { return pages_; }
  [[nodiscard]] DeviceBuffer<float>& k_scales() { return k_scales_; }
  [[nodiscard]] DeviceBuffer<float>& v_scales() { return v_scales_; }
  [[nodiscard]] std::uint32_t& faults() { return faults_.data()[0]; }

  [[nodiscard]] std::vector<float> output() const {
    const std::vector<std::uint16_t> bits = value_of(out_.download(stream_));
    std::vector<float> values(bits.size());
    for (std::size_t i = 0; i < bits.size(); ++i) values[i] = from_bits(bits[i]);
    return values;
  }
  [[nodiscard]] std::vector<float> log_sum_exp() const { return value_of(lse_.download(stream_)); }

  /// What every (query token, head) should give, computed once. Slow.
  [[nodiscard]] std::vector<oracle::Row> oracle_rows() const {
    std::vector<oracle::Row> rows;
    for (std::size_t r = 0; r < host_.options.lens.size(); ++r) {
      const std::int32_t tokens = host_.options.query_tokens[r];
      for (std::int32_t t = 0; t < tokens; ++t) {
        const std::int64_t position = std::int64_t{host_.options.lens[r]} - tokens + t;
        for (std::int32_t head = 0; head < host_.options.geometry.num_heads; ++head) {
          rows.push_back(oracle::attend(host_.options.geometry, host_.launch,
                                        static_cast<std::int64_t>(r), host_.query_begin[r] + t,
                                        position, host_.options.lens[r], head));
        }
      }
    }
    return rows;
  }

  /// How far output may be from the exact one, in norm: probabilities and outputs are rounded.
  [[nodiscard]] double tolerance() const { return is_f16() ? 7e-4 : 4e-3; }

  /// Output within tolerance() of the oracle in norm and no row far off, log-sum-exp within 1e-3,
  /// gaps untouched, counters zero again, no faults.
  void expect(const std::vector<oracle::Row>& rows, const std::string& what) const {
    const std::vector<float> out = output();
    const std::vector<float> lse = log_sum_exp();
    const AttentionGeometry& g = host_.options.geometry;
    std::vector<bool> written(out.size(), false);
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto heads = static_cast<std::size_t>(g.num_heads);
      const std::string where = what + ": query token " + std::to_string(i / heads) + ", head " +
                                std::to_string(i % heads);
      double row_difference = 0;
      double row_size = 0;
      for (std::size_t d = 0; d < rows[i].out.size(); ++d) {
        const std::size_t place =
            i / heads * static_cast<std::size_t>(host_.launch.out.token_stride) +
            i % heads * static_cast<std::size_t>(host_.launch.out.head_stride) + d;
        const double error = static_cast<double>(out[place]) - rows[i].out[d];
        written[place] = true;
        ASSERT_FALSE(std::isnan(error)) << where << ", element " << d;
        row_difference += error * error;
        row_size += rows[i].out[d] * rows[i].out[d];
      }
      ASSERT_LE(std::sqrt(row_difference), 2e-2 * std::sqrt(row_size)) << where;
      difference += row_difference;
      size += row_size;
      if (std::isinf(rows[i].lse)) {
        ASSERT_EQ(lse[i], -std::numeric_limits<float>::infinity()) << where;
      } else {
        ASSERT_NEAR(lse[i], rows[i].lse, 1e-3) << where;
      }
    }
    EXPECT_LE(std::sqrt(difference), tolerance() * std::sqrt(size)) << what;
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_TRUE(written[i] || std::isnan(out[i])) << what << ": wrote out[" << i << "]";
    }
    for (const std::uint32_t counter : value_of(counters_.download(stream_))) {
      ASSERT_EQ(counter, 0u) << what;
    }
    ASSERT_EQ(faults_.data()[0], 0u) << what;
  }

 private:
  [[nodiscard]] bool is_f16() const { return host_.options.geometry.kv_type == KvType::kF16; }
  [[nodiscard]] float from_bits(std::uint16_t bits) const {
    return static_cast<float>(is_f16() ? oracle::from_f16(bits) : oracle::from_bf16(bits));
  }

  template <typename T>
  [[nodiscard]] DeviceBuffer<T> copy(std::span<const T> values) const {
    return value_of(DeviceBuffer<T>::copy_of(values, stream_));
  }

  PoisonedBatch& host_;
  cudaStream_t stream_;
  PlannedBatch planned_;
  DeviceBuffer<std::uint16_t> q_, out_;
  DeviceBuffer<std::byte> k_, v_, plan_;
  DeviceBuffer<std::int32_t> pages_, row_of_;
  DeviceBuffer<float> sinks_, k_scales_, v_scales_, lse_, outputs_, stats_;
  DeviceBuffer<std::uint32_t> counters_;
  PinnedBuffer<std::uint32_t> faults_;
};

}  // namespace onebeat
