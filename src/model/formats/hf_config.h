// SPDX-License-Identifier: Apache-2.0
// The config.json beside safetensors weights: the numbers of a model, every one checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

/// Families whose config.json is understood.
enum class HfFamily : std::uint8_t { kLlama, kMistral, kQwen2, kQwen3, kGemma3 };

/// The family's name as GGUF files spell architectures: mistral is "llama" there. Static storage.
[[nodiscard]] std::string_view gguf_architecture(HfFamily family);

/// How the rotary frequencies of full-attention layers are stretched.
struct HfRopeScaling {
  enum class Kind : std::uint8_t { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1.0;           ///< At least 1.
  double low_freq_factor = 1.0;  ///< kLlama3: wavelengths above original / this are stretched.
  double high_freq_factor =
      4.0;  ///< kLlama3: wavelengths below original / this stay; above the low.
  std::int32_t original_context_tokens = 0;  ///< kLlama3.
};

/// A checked configuration: heads divide, sizes are positive and below limits that keep the product
/// of any two of them inside 64 bits.
struct HfConfig {
  HfFamily family = HfFamily::kLlama;
  std::int32_t num_layers = 0;
  std::int32_t width = 0;           ///< hidden_size
  std::int32_t feed_forward = 0;    ///< intermediate_size
  std::int32_t num_heads = 0;       ///< H
  std::int32_t num_kv_heads = 0;    ///< G; divides H
  std::int32_t head_dim = 0;        ///< D; even
  std::int32_t vocabulary = 0;      ///< Rows of the embedding table.
  std::int32_t context_tokens = 0;  ///< max_position_embeddings
  double norm_epsilon = 0.0;

  double rope_theta = 10000.0;        ///< Of layers with full attention.
  double rope_local_theta = 10000.0;  ///< Of layers with a window; differs in gemma3 alone.
  HfRopeScaling rope_scaling;         ///< Of layers with full attention.

  double score_scale = 0.0;            ///< Scores are scale * (q . k).
  std::optional<std::int32_t> window;  ///< Tokens that a query of a windowed layer sees, itself
                                       ///< included; window_left is one less.
  std::vector<bool> layer_has_window;  ///< num_layers entries; all false without a window.
  double attention_soft_cap = 0.0;     ///< 0: none.
  double logit_soft_cap = 0.0;         ///< 0: none.
  bool qk_norm = false;                ///< Queries and keys are normalised per head.
  bool attention_bias = false;         ///< Of the q, k and v matrices.
  bool attention_output_bias = false;  ///< Of the matrix after attention.
  bool mlp_bias = false;               ///< Of the feed-forward matrices.
  bool tied_embeddings = false;        ///< The output matrix is the embedding table.
  bool norm_adds_one = false;          ///< Norms multiply with 1 + weight (gemma3).
  double embedding_scale = 1.0;        ///< Embeddings are multiplied with this (gemma3).
  bool gelu = false;                   ///< tanh-approximated GELU gates; otherwise SiLU.

  std::optional<std::int32_t> bos;       ///< Begins a sequence.
  std::vector<std::int32_t> end_tokens;  ///< Tokens that end a sequence; may be empty.
};

/// Reads the text of a config.json; `name` starts the messages. A text model inside a larger one
/// (gemma3's "text_config") is taken out. Errors: kUnsupported naming the architecture or the
/// feature; kNotFound, kInvalidArgument or kDataLoss naming the member and its value; those of
/// JsonDocument::parse.
[[nodiscard]] Result<HfConfig> parse_hf_config(std::string_view text, std::string_view name);

/// Reads `folder`/config.json. Errors: those of MappedFile::open and parse_hf_config.
[[nodiscard]] Result<HfConfig> read_hf_config(const std::filesystem::path& folder);

}  // namespace onebeat
