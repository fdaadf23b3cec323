// SPDX-License-Identifier: Apache-2.0
// ModelConfig: the numbers of a model that its weights, its cache and its attention are built from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/formats/gguf.h"
#include "model/formats/hf_config.h"
#include "onebeat/geometry.h"
#include "onebeat/status.h"
#include "ops/rope.h"

namespace onebeat {

/// What the layers of one attention class share beside the head counts.
struct AttentionClassConfig {
  std::int32_t window_left = -1;  ///< Earlier tokens that a query sees besides itself; -1: all.
  float score_scale = 0.0f;       ///< Scores are scale * (q . k).
  float soft_cap = 0.0f;          ///< 0: none.
  RopeParams rope;                ///< freq_factors points into the model.
};

/// Checked: what read_config() returns is consistent in itself; the weights' shapes are checked
/// against it.
struct ModelConfig {
  std::string architecture;  ///< As GGUF files spell it: one of supported_architectures().
  std::string name;          ///< What the file calls the model; may be empty.
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
  bool tied_embeddings = false;               ///< The output matrix is the embedding table.
  float embedding_scale = 1.0f;               ///< Embeddings are multiplied with this.
  std::vector<AttentionClassConfig> classes;  ///< At least one.
  std::vector<std::int32_t> class_of_layer;   ///< num_layers indices into classes.
};

/// Reads and checks the metadata of a model file. Errors: kUnsupported naming the architecture or
/// the feature; kNotFound, kInvalidArgument or kDataLoss naming the key and its value. Messages
/// start with the file's name.
[[nodiscard]] Result<ModelConfig> read_config(const GgufFile& file);

/// The same of a config.json that was read and checked; `name` starts the messages. Errors:
/// kUnsupported naming a feature that no family here computes; those of validate().
[[nodiscard]] Result<ModelConfig> config_from_hf(const HfConfig& hf, const std::string& name);

/// What divides the rotary frequencies of layers with full attention under llama3's rule: one
/// number for each pair. Empty under any other rule.
[[nodiscard]] std::vector<float> llama3_freq_factors(const HfConfig& hf);

/// Architectures that are implemented, for messages: "llama, qwen2, qwen3, gemma3".
[[nodiscard]] std::string supported_architectures();
[[nodiscard]] bool is_supported_architecture(std::string_view name);

/// Fills classes and class_of_layer: `local` for windowed layers and `full` for the others, in the
/// order in which layers first use them; a class without layers is left out.
void set_classes(ModelConfig& config, const AttentionClassConfig& full,
                 const AttentionClassConfig& local, const std::vector<bool>& windowed);

/// What the attention kernels cannot take is refused before any weight is looked at. Errors: those
/// of validate().
[[nodiscard]] Status validate_classes(const ModelConfig& config);

/// The partition fields of a class of this model for a cache of `kv_type` in pages of
/// `page_tokens`.
[[nodiscard]] AttentionGeometry class_geometry(const ModelConfig& config, std::int32_t class_index,
                                               KvType kv_type, std::int32_t page_tokens);

/// Bytes of K and V that one token takes in all layers.
[[nodiscard]] std::int64_t kv_bytes_per_token(const ModelConfig& config, KvType kv_type);

}  // namespace onebeat
