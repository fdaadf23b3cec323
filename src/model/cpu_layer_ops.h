// SPDX-License-Identifier: Apache-2.0
// CpuLayerOps: LayerOps on the CPU. Activations are fp32; decode attention executes the step's
// plans.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "model/layer_ops.h"
#include "onebeat/attention.h"
#include "onebeat/compute.h"
#include "onebeat/thread_pool.h"
#include "ops/linear.h"

namespace onebeat {

/// Neighbouring rows of a pass that take the same kernels of matrix products.
struct RowRun {
  std::int64_t count = 0;
  bool tiles = false;  ///< LinearOptions::tiles.
};

/// The rows of one forward pass: those of decoding requests, then those of parts of prompts.
/// Everything is borrowed until the pass is over.
struct ForwardRows {
  std::span<const std::int32_t> tokens;       ///< Ids, requests one after the other.
  std::span<const std::int32_t> positions;    ///< Place of each token in its request.
  std::span<const std::int32_t> slots;        ///< Where its K and V go.
  std::span<const std::int32_t> output_rows;  ///< Rows whose logits are wanted, rising.
  std::span<const RowRun> runs;               ///< All rows, in their order.
  /// Rows [0, decode_rows) are what the plans, one for each class, say; none without plans.
  std::int64_t decode_rows = 0;
  std::span<const PlanView> plans;
  PageMap decode_pages;
  /// The rows from decode_rows on.
  PrefillBatch prefill;
  PageMap prefill_pages;
};

/// What a CpuLayerOps is made of. Pools and scratch are borrowed for its life.
struct CpuLayerOpsParts {
  std::int64_t max_rows = 0;         ///< Most tokens of a pass.
  std::int64_t max_output_rows = 0;  ///< Most rows whose logits are wanted.
  ComputeMode mode = ComputeMode::kAuto;
  CpuIsa isa = CpuIsa::kPortable;
  std::vector<AttentionGeometry> geometries;  ///< Of each class.
  std::vector<AttentionScratch> scratch;      ///< Of each class.
  std::vector<KvPool> kv;                     ///< Of each layer.
};

/// For one pass at a time. A pass allocates nothing.
class CpuLayerOps final : public LayerOps {
 public:
  /// `config` and `pool` must outlive it. Errors: kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<CpuLayerOps>> create(const ModelConfig& config,
                                                                   CpuLayerOpsParts parts,
                                                                   ThreadPool& pool);

  /// Starts a pass. Requires: rows within the limits.
  void begin(const ForwardRows& rows);
  /// After a pass: logits of the wanted rows, [output_rows, vocabulary].
  [[nodiscard]] ConstMatrix logits() const { return view(Buffer::kLogits); }
  /// Decode attention launches that executed a plan to the end, since creation.
  [[nodiscard]] std::int64_t planned_launches() const { return planned_launches_; }

  Status embed(const WeightView& table, float scale) override;
  Status rms_norm(Buffer x, std::span<const float> gain, Buffer out) override;
  Status rms_norm_add(Buffer x, std::span<const float> gain, Buffer out) override;
  Status rms_norm_heads(Buffer x, std::span<const float> gain) override;
  Status linear(Buffer x, std::initializer_list<Product> products) override;
  Status linear_add(Buffer x, const LinearWeight& weight, Buffer out) override;
  Status rope(std::int32_t layer) override;
  Status attention(std::int32_t layer) override;
  Status silu_mul() override;
  Status gelu_mul() override;
  Status keep_output_rows() override;

 private:
  CpuLayerOps(const ModelConfig& config, CpuLayerOpsParts parts, ThreadPool& pool)
      : config_(config), parts_(std::move(parts)), pool_(pool) {}
  [[nodiscard]] Matrix view(Buffer buffer) const;
  /// linear(), run by run.
  [[nodiscard]] Status multiply(ConstMatrix x, std::span<const LinearPart> parts);
  /// Attention of `count` rows from `first` on, without pages and score options.
  [[nodiscard]] AttentionLaunch attention_rows(std::int64_t first, std::int64_t count) const;
  /// The cosines and sines of a class for the rows of the pass.
  [[nodiscard]] Matrix angles(std::size_t class_index);
  [[nodiscard]] std::size_t class_of(std::int32_t layer) const;

  const ModelConfig& config_;
  CpuLayerOpsParts parts_;
  ThreadPool& pool_;
  std::array<std::vector<float>, kNumBuffers> buffers_;
  std::vector<std::vector<float>> angles_;  // of each class: [max_rows, rotary_dims]
  ForwardRows rows_;
  RowRun outputs_;          // after keep_output_rows()
  std::int64_t count_ = 0;  // rows of the pass, or the wanted ones after keep_output_rows()
  std::int64_t planned_launches_ = 0;
};

}  // namespace onebeat
