// SPDX-License-Identifier: Apache-2.0
// CpuForward: forward passes of a model on the CPU over a paged cache. One pass takes the next
// tokens of decoding requests, whose attention executes plans that step preparation made once, and
// beside them parts of prompts.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/cpu/kv_storage.h"
#include "kv/page_pool.h"
#include "model/cpu_layer_ops.h"
#include "model/model.h"
#include "onebeat/engine.h"
#include "onebeat/step.h"

namespace onebeat {

struct CpuForwardOptions {
  ComputeMode mode = ComputeMode::kAuto;
  CpuIsa isa = CpuIsa::kPortable;
  KvType kv_type = KvType::kF16;
  bool prompts_on_tiles = true;      ///< LinearOptions::tiles, for prompts that are long enough.
  std::int64_t context_tokens = 0;   ///< Longest request.
  std::int32_t max_decode_rows = 1;  ///< Most requests that decode in one pass.
  std::int32_t max_rows = 256;       ///< Most tokens of one pass.
  std::int32_t max_output_rows = 1;  ///< Most tokens of one pass whose logits are wanted.
};

/// Shorter prompts do not gain by tiles: weights are expanded for them.
inline constexpr std::int32_t kFewestTileTokens = 16;

/// Tokens in a page of the CPU's cache.
inline constexpr std::int32_t kCpuPageTokens = 32;

/// The next token of a request: its place and its row of the page map.
struct DecodeToken {
  std::int32_t row = 0;
  std::int32_t token = 0;
  std::int32_t position = 0;
};

/// Which tokens of a part of a prompt need logits.
enum class PromptLogits : std::uint8_t { kNone, kLast, kAll };

/// Consecutive tokens of a request.
struct PromptTokens {
  std::int32_t row = 0;
  std::int32_t position = 0;  ///< Of the first.
  std::span<const std::int32_t> tokens;
  PromptLogits wanted = PromptLogits::kNone;
  std::int32_t tiles = 0;  ///< How many of its first tokens take tiles (LinearOptions::tiles).
};

/// For one call at a time. After create() and the first passes nothing allocates.
class CpuForward {
 public:
  /// `model`, `pages` (which says where the tokens of each row are) and `pool` must outlive it.
  /// Errors: kUnsupported, kOutOfRange, kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<CpuForward>> create(const Model& model,
                                                                  const CpuForwardOptions& options,
                                                                  const PagePool& pages,
                                                                  ThreadPool& pool);

  /// Computes all these tokens and stores their K and V; rows must have pages for them, and no row
  /// may be named twice. Logits of the decoding requests come first, then those of the parts, in
  /// the order given. Errors: kOutOfRange (an id beyond the vocabulary), kResourceExhausted; what
  /// the pages held before is as it was.
  [[nodiscard]] Status run(std::span<const DecodeToken> decode,
                           std::span<const PromptTokens> parts);

  /// Of the last pass: [wanted tokens, vocabulary].
  [[nodiscard]] ConstMatrix logits() const { return ops_->logits(); }
  /// Copies all layers' K and V of one page to another.
  void copy_page(std::int32_t from, std::int32_t to) { storage_->copy_page(from, to); }
  [[nodiscard]] EngineCounters counters() const;

 private:
  CpuForward(const Model& model, const CpuForwardOptions& options, const PagePool& pages)
      : model_(model), options_(options), pages_(pages) {}
  [[nodiscard]] Status make_planner();
  void reserve_rows();
  [[nodiscard]] Status prepare_decode(std::span<const DecodeToken> decode);
  void add_run(std::int64_t count, bool tiles);
  void lay_out_parts(std::size_t decode_rows, std::span<const PromptTokens> parts);
  [[nodiscard]] PageMap page_map(std::size_t first_request) const;

  /// One attention class: its plan's bytes and the scratch of its launches.
  struct ClassMemory {
    std::vector<std::byte> plan;  // 16 bytes longer than the plan, to align it
    std::vector<float> outputs, stats;
    std::vector<std::uint32_t> counters;
    [[nodiscard]] std::byte* plan_bytes();
  };

  const Model& model_;
  CpuForwardOptions options_;
  const PagePool& pages_;
  std::unique_ptr<KvStorage> storage_;
  std::unique_ptr<StepPlanner> planner_;
  std::vector<ClassMemory> classes_;
  std::unique_ptr<CpuLayerOps> ops_;

  // The pass being run. Of each token:
  std::vector<std::int32_t> tokens_, positions_, slots_, output_rows_;
  // Of each request:
  std::vector<std::int32_t> rows_of_, query_begin_, lens_;
  std::vector<RowRun> runs_;
  std::vector<PlanView> plans_;
  EngineCounters counters_;
};

}  // namespace onebeat
