// SPDX-License-Identifier: Apache-2.0
// Weights that the families share: what stands before, between and behind the blocks of a layer is
// each family's own.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/tensor_source.h"

namespace onebeat {

/// Both ends of a model.
struct EndWeights {
  WeightView embedding;            // [vocabulary, width]
  std::vector<float> output_norm;  // [width]
  LinearWeight output;             // [vocabulary, width]; may be the embedding's matrix
};

struct AttentionWeights {
  LinearWeight query;   // [H * D, width]
  LinearWeight key;     // [G * D, width]
  LinearWeight value;   // [G * Dv, width]
  LinearWeight output;  // [width, H * Dv]
};

struct FeedForwardWeights {
  LinearWeight gate;  // [feed_forward, width]
  LinearWeight up;    // [feed_forward, width]
  LinearWeight down;  // [width, feed_forward]
};

/// The name of a layer's tensor: "blk.3.attn_norm.weight".
[[nodiscard]] std::string layer_tensor(std::int32_t layer, std::string_view part);

/// Errors of all three: those of TensorSource.
[[nodiscard]] Result<EndWeights> load_ends(const ModelConfig& config, TensorSource& tensors);
[[nodiscard]] Result<AttentionWeights> load_attention(const ModelConfig& config,
                                                      TensorSource& tensors, std::int32_t layer);
[[nodiscard]] Result<FeedForwardWeights> load_feed_forward(const ModelConfig& config,
                                                           TensorSource& tensors,
                                                           std::int32_t layer);

}  // namespace onebeat
