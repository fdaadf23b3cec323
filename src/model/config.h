// SPDX-License-Identifier: Apache-2.0
// ModelConfig: the numbers of a model that its weights, its cache and its attention are built from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/formats/gguf.h"
#include "onebeat/geometry.h"
#include "onebeat/status.h"
#include "ops/rope.h"

namespace onebeat {

/// What the layers of one attention class share beside the head counts.
struct AttentionClassConfig {
  std::int32_t window_left = -1;  ///< Earlier tokens that a query sees besides itself; -1: all.
  float score_scale = 0.0f;       ///< Scores are scale * (q . k).
  float soft_cap = 0.0f;          ///< 0: none.
};

/// Checked: what read_config() returns is consistent in itself; the weights' shapes are checked
/// against it.
struct ModelConfig {
  std::string architecture;
  std::string name;  ///< What the file calls the model; may be empty.
  std::int32_t num_layers = 0;
  std::int32_t width = 0;           ///< Elements of the residual stream.
  std::int32_t num_heads = 0;       ///< H
  std::int32_t num_kv_heads = 0;    ///< G
  std::int32_t head_dim = 0;        ///< D
  std::int32_t head_dim_v = 0;      ///< Dv
  std::int32_t feed_forward = 0;    ///< Elements between the matrices of the feed-forward block.
  std::int32_t vocabulary = 0;      ///< Rows of the embedding table: ids are below it.
  std::int32_t context_tokens = 0;  ///< Longest sequence that the model was made for.
  float norm_epsilon = 0.0f;
  RopeParams rope;                            ///< freq_factors points into the model.
  std::vector<AttentionClassConfig> classes;  ///< At least one.
  std::vector<std::int32_t> class_of_layer;   ///< num_layers indices into classes.
};

/// Reads and checks the metadata of a model file. Errors: kUnsupported naming the architecture or
/// the feature; kNotFound, kInvalidArgument or kDataLoss naming the key and its value. Messages
/// start with the file's name.
[[nodiscard]] Result<ModelConfig> read_config(const GgufFile& file);

/// Architectures that read_config() takes, for messages: "llama".
[[nodiscard]] std::string supported_architectures();

/// The partition fields of a class of this model for a cache of `kv_type` in pages of
/// `page_tokens`.
[[nodiscard]] AttentionGeometry class_geometry(const ModelConfig& config, std::int32_t class_index,
                                               KvType kv_type, std::int32_t page_tokens);

/// Bytes of K and V that one token takes in all layers.
[[nodiscard]] std::int64_t kv_bytes_per_token(const ModelConfig& config, KvType kv_type);

}  // namespace onebeat
