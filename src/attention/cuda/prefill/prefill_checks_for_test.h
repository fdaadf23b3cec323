// SPDX-License-Identifier: Apache-2.0
// What tests of prefill kernels share: a poisoned batch on a Hopper GPU, and its comparison with
// the oracle.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "attention/cuda/prefill/prefill_kernels.h"
#include "attention/poisoned_batch_for_test.h"
#include "device/cuda_device.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"
#include "onebeat/attention_prefill_cuda.h"

namespace onebeat {

template <typename T>
[[nodiscard]] T value_or_fail(Result<T> result) {
  EXPECT_TRUE(result.ok()) << to_string(result.status());
  return std::move(result).value();
}

/// The 16-bit number of `type` nearest to `value`, or next to it.
inline std::uint16_t to_element16(KvType type, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (type == KvType::kBF16) {
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  const int exponent = static_cast<int>(bits >> 23 & 255) - 127 + 15;
  const std::uint32_t half =
      exponent <= 0 ? 0 : static_cast<std::uint32_t>(exponent) << 10 | (bits >> 13 & 1023);
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000) | half);
}

inline double from_element16(KvType type, std::uint16_t bits) {
  return type == KvType::kBF16 ? oracle::from_bf16(bits) : oracle::from_f16(bits);
}

class DevicePrefill {
 public:
  /// Rounds the batch's queries to the cache's type, so that the oracle sees what the device sees.
  DevicePrefill(PoisonedBatch& host, cudaStream_t stream) : host_(host), stream_(stream) {
    const KvType type = host.options.geometry.kv_type;
    std::vector<std::uint16_t> q(host.q.size());
    for (std::size_t i = 0; i < q.size(); ++i) {
      q[i] = std::isnan(host.q[i]) ? 0xffff : to_element16(type, host.q[i]);
      host.q[i] = static_cast<float>(from_element16(type, q[i]));
    }
    q_ = copy<std::uint16_t>(q);
    k_ = copy<std::byte>(host.k);
    v_ = copy<std::byte>(host.v);
    pages_ = copy<std::int32_t>(host.page_ids);
    row_of_ = copy<std::int32_t>(host.row_of);
    sinks_ = copy<float>(host.sinks);
    query_begin_ = copy<std::int32_t>(host.query_begin);
    lens_ = copy<std::int32_t>(host.options.lens);
    out_ = value_or_fail(DeviceBuffer<std::uint16_t>::allocate(host.out.size()));
    lse_ = value_or_fail(DeviceBuffer<float>::allocate(host.lse.size()));
    faults_ = value_or_fail(PinnedBuffer<std::uint32_t>::allocate(1));
    faults_.data()[0] = 0;
    forget_results();
  }

  void forget_results() {
    EXPECT_TRUE(out_.fill_bytes(0xff, stream_).ok());
    EXPECT_TRUE(lse_.fill_bytes(0xff, stream_).ok());
  }

  [[nodiscard]] CudaPrefillBatch batch() const {
    const std::vector<std::int32_t>& tokens = host_.options.query_tokens;
    CudaPrefillBatch b{query_begin_.data(), lens_.data(),
                       static_cast<std::int32_t>(host_.options.lens.size()),
                       host_.query_begin.back(), 0};
    for (const std::int32_t count : tokens)
      b.max_query_tokens = std::max(b.max_query_tokens, count);
    return b;
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
    l.pages = h.pages;
    l.pages.pages = pages_.data();
    l.pages.row_of = h.pages.row_of == nullptr ? nullptr : row_of_.data();
    l.faults = faults_.data();
    return l;
  }
  [[nodiscard]] DeviceBuffer<std::int32_t>& page_buffer() { return pages_; }
  [[nodiscard]] DeviceBuffer<std::int32_t>& query_begin_buffer() { return query_begin_; }
  [[nodiscard]] DeviceBuffer<std::int32_t>& length_buffer() { return lens_; }
  [[nodiscard]] std::uint32_t& faults() { return faults_.data()[0]; }

  [[nodiscard]] std::vector<float> output() const {
    const std::vector<std::uint16_t> bits = value_or_fail(out_.download(stream_));
    std::vector<float> values(bits.size());
    for (std::size_t i = 0; i < bits.size(); ++i) {
      values[i] = static_cast<float>(from_element16(host_.options.geometry.kv_type, bits[i]));
    }
    return values;
  }

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

  /// Output within 4e-3 of the oracle in norm and no row far off, log-sum-exp within 1e-3, gaps
  /// untouched, no faults.
  void expect(const std::vector<oracle::Row>& rows, const std::string& what) const {
    const std::vector<float> out = output();
    const std::vector<float> lse = value_or_fail(lse_.download(stream_));
    const auto heads = static_cast<std::size_t>(host_.options.geometry.num_heads);
    std::vector<bool> written(out.size(), false);
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
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
    EXPECT_LE(std::sqrt(difference), 4e-3 * std::sqrt(size)) << what;
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_TRUE(written[i] || std::isnan(out[i])) << what << ": wrote out[" << i << "]";
    }
    ASSERT_EQ(faults_.data()[0], 0u) << what;
  }

 private:
  template <typename T>
  [[nodiscard]] DeviceBuffer<T> copy(std::span<const T> values) const {
    return value_or_fail(DeviceBuffer<T>::copy_of(values, stream_));
  }

  PoisonedBatch& host_;
  cudaStream_t stream_;
  DeviceBuffer<std::uint16_t> q_, out_;
  DeviceBuffer<std::byte> k_, v_;
  DeviceBuffer<std::int32_t> pages_, row_of_, query_begin_, lens_;
  DeviceBuffer<float> sinks_, lse_;
  PinnedBuffer<std::uint32_t> faults_;
};

/// Tests skip visibly without a Hopper GPU.
class PrefillChecks : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    if (facts->compute_major != 9) GTEST_SKIP() << facts->name << " is no Hopper GPU";
    stream_ = value_or_fail(CudaStream::create());
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

  /// Every kernel that serves the geometry, alone and in a chain of dependent launches.
  void check(const BatchOptions& options) {
    PoisonedBatch host(options);
    DevicePrefill device(host, stream());
    const std::vector<oracle::Row> rows = device.oracle_rows();
    int served = 0;
    for (const CudaPrefillVariant& variant : cuda_prefill_variants()) {
      const AttentionGeometry& g = options.geometry;
      if (variant.head_dim != g.head_dim || variant.type != g.kv_type ||
          variant.min_page_tokens > g.page_tokens) {
        continue;
      }
      ++served;
      const auto attention = value_or_fail(CudaPrefillAttention::create(g, variant.name));
      ASSERT_EQ(attention.variant().name, variant.name);
      for (const CudaOverlap overlap : {CudaOverlap::kNone, CudaOverlap::kLaunch}) {
        device.forget_results();
        CudaAttentionLaunch launch = device.launch();
        launch.overlap = overlap;
        for (int layer = 0; layer < 3; ++layer) {
          const Status status = attention.launch(device.batch(), launch, stream());
          ASSERT_TRUE(status.ok()) << to_string(status);
        }
        device.expect(rows, std::string(variant.name) + ", overlap " +
                                std::to_string(static_cast<int>(overlap)));
        if (HasFatalFailure()) return;
      }
    }
    ASSERT_GT(served, 0);
  }

 private:
  CudaStream stream_;
};

}  // namespace onebeat
