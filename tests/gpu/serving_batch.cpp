// SPDX-License-Identifier: Apache-2.0
// The host's side of the small server: who is in the batch, which pages are whose, what a step is
// given, and what it must have done.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "attention/oracle.h"
#include "serving_for_test.h"

namespace onebeat::gpu_test {
namespace {

constexpr std::uint16_t kNaN16 = 0xffff;
/// In the places of requests that take no part.
constexpr std::int32_t kBadRow = 0x7ffffff0;

std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace

/// About -2 to 2, with 7 bits of fraction.
std::uint16_t Serving::random_bf16() {
  const auto bits = static_cast<std::uint32_t>(random_());
  return static_cast<std::uint16_t>(0x3e00u + (bits >> 31 << 15) + (bits >> 8 & 0x1ffu));
}

std::int32_t Serving::first_seen(std::int32_t position) const {
  std::int32_t first = position;
  for (const StepClass& of_class : options_.classes) {
    const AttentionGeometry& g = of_class.geometry;
    std::int32_t begin = g.window_left < 0 ? 0 : std::max(0, position - g.window_left);
    if (g.chunk_tokens > 0) begin = std::max(begin, position / g.chunk_tokens * g.chunk_tokens);
    first = std::min(first, begin);
  }
  return first;
}

std::int32_t Serving::tokens_of_batch() const {
  std::int32_t tokens = 0;
  for (std::size_t b = 0; b < batch_.size(); ++b) tokens += staged_.host[staging_.query_tokens + b];
  return tokens;
}

void Serving::copy_page(Layer& layer, std::int32_t page, bool poison) {
  const AttentionGeometry& g = geometry(layer.of_class);
  const bool runs = options_.layout == KvLayout::kRuns;
  const std::size_t row = size(page_tokens_ * g.head_dim * (runs ? 1 : g.num_kv_heads));
  const std::size_t height = runs ? size(g.num_kv_heads) : 1;
  const std::size_t pitch = row * size(num_pages_);
  for (Twin<std::uint16_t>* twin : {&layer.k, &layer.v}) {
    std::uint16_t* host = twin->host.data() + size(page) * row;
    std::uint16_t* device = twin->device.data() + size(page) * row;
    if (poison) {
      for (std::size_t h = 0; h < height; ++h) std::fill_n(host + h * pitch, row, kNaN16);
      ASSERT_EQ(cudaMemset2DAsync(device, pitch * 2, 0xff, row * 2, height, stream_), cudaSuccess);
    } else {
      ASSERT_EQ(cudaMemcpy2DAsync(device, pitch * 2, host, pitch * 2, row * 2, height,
                                  cudaMemcpyDefault, stream_),
                cudaSuccess);
    }
  }
}

void Serving::reserve(std::int32_t row, std::int32_t len) {
  std::int32_t& column = reserved_[size(row)];
  for (; column * page_tokens_ < len; ++column) {
    ASSERT_FALSE(free_pages_.empty());
    const std::int32_t page = free_pages_.back();
    free_pages_.pop_back();
    owned_[entry(row, column)] = page;
    pending_[size(row)].push_back({column, page});
  }
}

void Serving::free_page(std::int32_t row, std::int32_t column) {
  const std::size_t at = entry(row, column);
  if (owned_[at] < 0) return;
  for (Layer& layer : layers_) copy_page(layer, owned_[at], true);
  free_pages_.push_back(owned_[at]);
  owned_[at] = -1;
  page_rows_.host[at] = kNoPage;
  page_rows_.send(at, 1, stream_);
}

void Serving::put_token(Layer& layer, std::int64_t slot, std::size_t token) {
  const AttentionGeometry& g = geometry(layer.of_class);
  const KvPool kv = pool(layer, false);
  const std::int64_t page = slot / page_tokens_;
  const std::int64_t offset = slot % page_tokens_;
  for (std::int32_t head = 0; head < g.num_kv_heads; ++head) {
    const std::size_t from = (token * size(g.num_kv_heads) + size(head)) * size(g.head_dim);
    std::copy_n(layer.new_k.host.data() + from, g.head_dim,
                static_cast<std::uint16_t*>(kv.k) + page * kv.k_page_stride +
                    offset * kv.k_token_stride + head * kv.k_head_stride);
    std::copy_n(layer.new_v.host.data() + from, g.head_dim,
                static_cast<std::uint16_t*>(kv.v) + page * kv.v_page_stride +
                    offset * kv.v_token_stride + head * kv.v_head_stride);
  }
}

void Serving::join(std::int32_t prompt) {
  ASSERT_LT(active(), options_.most_requests);
  const std::int32_t row = free_rows_.back();
  free_rows_.pop_back();
  batch_.push_back(row);
  const std::int32_t first = options_.free_behind_windows ? first_seen(prompt) / page_tokens_ : 0;
  reserved_[size(row)] = first;
  reserve(row, prompt);
  for (Layer& layer : layers_) {
    for (std::int32_t t = first * page_tokens_; t < prompt; ++t) {
      const std::size_t elements =
          size(geometry(layer.of_class).num_kv_heads * geometry(layer.of_class).head_dim);
      for (std::size_t i = 0; i < elements; ++i) {
        layer.new_k.host[i] = random_bf16();
        layer.new_v.host[i] = random_bf16();
      }
      const std::int32_t page = owned_[entry(row, t / page_tokens_)];
      put_token(layer, std::int64_t{page} * page_tokens_ + t % page_tokens_, 0);
    }
    for (std::int32_t c = first; c < reserved_[size(row)]; ++c) {
      copy_page(layer, owned_[entry(row, c)], false);
    }
  }
  lens_.host[size(row)] = prompt;
  lens_.send(size(row), 1, stream_);
}

void Serving::leave(std::int32_t request) {
  const std::int32_t row = batch_[size(request)];
  for (std::int32_t c = 0; c < columns_; ++c) free_page(row, c);
  pending_[size(row)].clear();
  reserved_[size(row)] = 0;
  free_rows_.push_back(row);
  batch_[size(request)] = batch_.back();
  batch_.pop_back();
}

void Serving::change_batch(std::int32_t wanted) {
  const std::int32_t step_tokens = geometry(0).max_query_tokens;
  for (std::int32_t b = active() - 1; b >= 0; --b) {
    if (length(b) + step_tokens > options_.context || random_below(80) == 0) leave(b);
  }
  while (active() > wanted) leave(random_below(active()));
  while (active() < wanted) join(random_below(4) == 0 ? 0 : random_below(options_.prompt + 1));
}

void Serving::stage(bool ahead) {
  const auto most = size(options_.most_requests);
  const std::int32_t most_query_tokens = geometry(0).max_query_tokens;
  std::vector<std::int32_t>& s = staged_.host;
  std::fill(s.begin(), s.end(), kBadRow);
  s[0] = active();
  std::size_t updates = 0;
  s[staging_.update_begin] = 0;
  for (std::size_t b = 0; b < most; ++b) {
    if (b < batch_.size()) {
      const std::int32_t row = batch_[b];
      const std::int32_t len = lens_.host[size(row)];
      const std::int32_t tokens =
          options_.unequal_query_tokens ? random_below(most_query_tokens + 1) : most_query_tokens;
      s[staging_.rows_of + b] = row;
      s[staging_.query_tokens + b] = tokens;
      if (options_.free_behind_windows) {
        for (std::int32_t c = 0; c < first_seen(len) / page_tokens_; ++c) free_page(row, c);
      }
      reserve(row, len + tokens);
      for (const PageUpdate& update : pending_[size(row)]) {
        if (owned_[entry(row, update.column)] != update.page) continue;  // given up since
        s[staging_.updates + 2 * updates] = update.column;
        s[staging_.updates + 2 * updates + 1] = update.page;
        ++updates;
      }
      pending_[size(row)].clear();
    }
    s[staging_.update_begin + b + 1] = static_cast<std::int32_t>(updates);
  }
  for (std::size_t i = 0; i < q_.host.size(); ++i) {
    q_.host[i] = random_bf16();
    host_q_[i] = from_bf16(q_.host[i]);
  }
  q_.send(stream_);
  for (Layer& layer : layers_) {
    for (std::size_t i = 0; i < layer.new_k.host.size(); ++i) {
      layer.new_k.host[i] = random_bf16();
      layer.new_v.host[i] = random_bf16();
    }
    layer.new_k.send(stream_);
    layer.new_v.send(stream_);
  }
  forget_results(!ahead);
  const std::size_t number = steps_++ % 2;
  std::int32_t* slot = ring_[number].data();
  ASSERT_EQ(cudaEventSynchronize(slot_is_free_[number].get()), cudaSuccess);
  std::copy(s.begin(), s.end(), slot);
  ASSERT_EQ(cudaMemcpyAsync(staged_.device.data(), slot, staging_.size * sizeof(std::int32_t),
                            cudaMemcpyDefault, stream_),
            cudaSuccess);
  ASSERT_TRUE(slot_is_free_[number].record(stream_).ok());
}

void Serving::replay() {
  const Status launched = graph_.launch(stream_);
  ASSERT_TRUE(launched.ok()) << to_string(launched);
}

void Serving::prepare_on_host() {
  const Status prepared = planner_->prepare(arguments(false));
  ASSERT_TRUE(prepared.ok()) << to_string(prepared);
}

void Serving::run_on_host() {
  prepare_on_host();
  if (testing::Test::HasFatalFailure()) return;
  const StepArguments step = arguments(false);
  const auto tokens = size(tokens_of_batch());
  for (Layer& layer : layers_) {
    for (std::size_t t = 0; t < tokens; ++t) put_token(layer, step.slots.data[t], t);
    const auto c = size(layer.of_class);
    const auto bytes = std::as_bytes(std::span<const PlanHeader>(plans_[c].host))
                           .first(planner_->plan_bytes(layer.of_class));
    const Result<PlanView> plan = PlanView::open(bytes, geometry(layer.of_class));
    ASSERT_TRUE(plan.ok()) << to_string(plan.status());
    Scratch& scratch = scratch_[c];
    const Status status = decode_attention(
        *plan, host_launch(layer),
        {scratch.host_outputs, scratch.host_stats, scratch.host_counters}, *threads_);
    ASSERT_TRUE(status.ok()) << to_string(status);
  }
  for (std::size_t b = 0; b < batch_.size(); ++b) {
    lens_.host[size(batch_[b])] = step.out_lens.data[b];
  }
}

void Serving::compare_layer(std::size_t index, bool with_oracle) {
  Layer& layer = layers_[index];
  const AttentionGeometry& g = geometry(layer.of_class);
  const std::vector<std::uint16_t> out = value_of(layer.out.download(stream_));
  const std::vector<float> lse = value_of(layer.lse.download(stream_));
  const AttentionLaunch launch = host_launch(layer);
  const auto dim = size(g.head_dim);
  double all_difference = 0;
  double all_size = 0;
  std::int64_t token = 0;
  for (std::size_t b = 0; b < batch_.size(); ++b) {
    const std::int32_t len = sums_.host[b];
    const std::int32_t tokens = staged_.host[staging_.query_tokens + b];
    for (std::int32_t t = 0; t < tokens; ++t, ++token) {
      for (std::int32_t head = 0; head < g.num_heads; ++head) {
        const std::size_t row = size(token * g.num_heads + head);
        std::vector<double> expected(
            layer.host_out.begin() + static_cast<std::ptrdiff_t>(row * dim),
            layer.host_out.begin() + static_cast<std::ptrdiff_t>((row + 1) * dim));
        double expected_lse = layer.host_lse[row];
        if (with_oracle) {
          const oracle::Row naive = oracle::attend(g, launch, static_cast<std::int64_t>(b), token,
                                                   len - tokens + t, len, head);
          expected = naive.out;
          expected_lse = naive.lse;
        }
        double difference = 0;
        double norm = 0;
        for (std::size_t d = 0; d < dim; ++d) {
          const double error = static_cast<double>(from_bf16(out[row * dim + d])) - expected[d];
          difference += error * error;
          norm += expected[d] * expected[d];
        }
        const auto where = [&] {
          return testing::Message() << "layer " << index << ", request " << b << " of length "
                                    << len << ", query token " << t << ", head " << head;
        };
        ASSERT_FALSE(std::isnan(difference)) << where();
        ASSERT_LE(std::sqrt(difference), 2e-2 * std::sqrt(norm) + 1e-4) << where();
        ASSERT_NEAR(static_cast<double>(lse[row]), expected_lse, 1e-3) << where();
        all_difference += difference;
        all_size += norm;
      }
    }
  }
  ASSERT_LE(std::sqrt(all_difference), 4e-3 * std::sqrt(all_size) + 1e-9) << "layer " << index;
  const auto is_nan = [](std::uint16_t bits) { return bits == kNaN16; };
  ASSERT_TRUE(
      std::all_of(out.begin() + static_cast<std::ptrdiff_t>(size(token * g.num_heads) * dim),
                  out.end(), is_nan))
      << "layer " << index << " wrote rows of requests that take no part";
  ASSERT_TRUE(std::all_of(lse.begin() + static_cast<std::ptrdiff_t>(token * g.num_heads), lse.end(),
                          [](float x) { return std::isnan(x); }))
      << "layer " << index << " wrote log-sum-exps of requests that take no part";
}

void Serving::expect_same(bool with_oracle) {
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  ASSERT_EQ(faults(), 0u);
  ASSERT_TRUE(sums_.equal(stream_)) << "lengths, sums, positions or slots";
  ASSERT_TRUE(page_rows_.equal(stream_)) << "page rows";
  ASSERT_TRUE(table_.equal(stream_)) << "page table";
  ASSERT_TRUE(window_table_.equal(stream_)) << "window table";
  ASSERT_TRUE(lens_.equal(stream_)) << "device-owned lengths";
  for (std::size_t c = 0; c < plans_.size(); ++c) {
    ASSERT_TRUE(plans_[c].equal(stream_)) << "plan of class " << c;
    ASSERT_TRUE(counters_[c].equal(stream_)) << "arrival counters of class " << c;
  }
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    compare_layer(l, with_oracle);
    if (testing::Test::HasFatalFailure()) return;
  }
}

void Serving::expect_same_cache() const {
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    ASSERT_TRUE(layers_[l].k.equal(stream_)) << "K of layer " << l;
    ASSERT_TRUE(layers_[l].v.equal(stream_)) << "V of layer " << l;
  }
}

void Serving::step_ahead() {
  stage(true);
  if (testing::Test::HasFatalFailure()) return;
  replay();
  if (testing::Test::HasFatalFailure()) return;
  run_on_host();
}

void Serving::step(bool with_oracle) {
  stage();
  if (testing::Test::HasFatalFailure()) return;
  replay();
  if (testing::Test::HasFatalFailure()) return;
  run_on_host();
  if (testing::Test::HasFatalFailure()) return;
  expect_same(with_oracle);
}

}  // namespace onebeat::gpu_test
