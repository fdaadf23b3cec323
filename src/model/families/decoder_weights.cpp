// SPDX-License-Identifier: Apache-2.0
#include "model/families/decoder_weights.h"

#include <fmt/format.h>

namespace onebeat {

std::string layer_tensor(std::int32_t layer, std::string_view part) {
  return fmt::format("blk.{}.{}", layer, part);
}

Result<EndWeights> load_ends(const ModelConfig& config, TensorSource& tensors) {
  const std::int64_t vocabulary = config.vocabulary;
  EndWeights ends;
  ONEBEAT_ASSIGN_OR_RETURN(ends.embedding,
                           tensors.table("token_embd.weight", vocabulary, config.width));
  ONEBEAT_ASSIGN_OR_RETURN(ends.output_norm, tensors.norm("output_norm.weight", config.width));
  if (config.tied_embeddings) {
    ONEBEAT_ASSIGN_OR_RETURN(ends.output.matrix, tensors.table_as_matrix(ends.embedding));
    ends.embedding = ends.output.matrix;
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(ends.output, tensors.linear("output", vocabulary, config.width));
  }
  return ends;
}

Result<AttentionWeights> load_attention(const ModelConfig& config, TensorSource& tensors,
                                        std::int32_t layer) {
  const std::int64_t width = config.width;
  const std::int64_t queries = static_cast<std::int64_t>(config.num_heads) * config.head_dim;
  const std::int64_t keys = static_cast<std::int64_t>(config.num_kv_heads) * config.head_dim;
  const std::int64_t values = static_cast<std::int64_t>(config.num_kv_heads) * config.head_dim_v;
  const std::int64_t attended = static_cast<std::int64_t>(config.num_heads) * config.head_dim_v;
  const auto load = [&](std::string_view part, std::int64_t rows, std::int64_t cols) {
    return tensors.linear(layer_tensor(layer, part), rows, cols);
  };
  AttentionWeights attention;
  ONEBEAT_ASSIGN_OR_RETURN(attention.query, load("attn_q", queries, width));
  ONEBEAT_ASSIGN_OR_RETURN(attention.key, load("attn_k", keys, width));
  ONEBEAT_ASSIGN_OR_RETURN(attention.value, load("attn_v", values, width));
  ONEBEAT_ASSIGN_OR_RETURN(attention.output, load("attn_output", width, attended));
  return attention;
}

Result<FeedForwardWeights> load_feed_forward(const ModelConfig& config, TensorSource& tensors,
                                             std::int32_t layer) {
  const auto load = [&](std::string_view part, std::int64_t rows, std::int64_t cols) {
    return tensors.linear(layer_tensor(layer, part), rows, cols);
  };
  FeedForwardWeights feed_forward;
  ONEBEAT_ASSIGN_OR_RETURN(feed_forward.gate, load("ffn_gate", config.feed_forward, config.width));
  ONEBEAT_ASSIGN_OR_RETURN(feed_forward.up, load("ffn_up", config.feed_forward, config.width));
  ONEBEAT_ASSIGN_OR_RETURN(feed_forward.down, load("ffn_down", config.width, config.feed_forward));
  return feed_forward;
}

}  // namespace onebeat
