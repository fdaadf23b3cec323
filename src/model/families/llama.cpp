// SPDX-License-Identifier: Apache-2.0
#include "model/families/llama.h"

#include <fmt/format.h>

namespace onebeat {
namespace {

struct Layer {
  std::vector<float> attention_norm;  // [width]
  LinearWeight query;                 // [H * D, width]
  LinearWeight key;                   // [G * D, width]
  LinearWeight value;                 // [G * Dv, width]
  LinearWeight attention_output;      // [width, H * Dv]
  std::vector<float> feed_forward_norm;
  LinearWeight gate;  // [feed_forward, width]
  LinearWeight up;    // [feed_forward, width]
  LinearWeight down;  // [width, feed_forward]
};

class Llama final : public ModelFamily {
 public:
  Status forward(LayerOps& ops) const override;
  std::int64_t bytes_per_pass() const override;

  WeightView embedding;  // [vocabulary, width]
  std::vector<Layer> layers;
  std::vector<float> output_norm;  // [width]
  LinearWeight output;  // [vocabulary, width]; the embedding's matrix where the file has no other
};

Status forward_layer(const Layer& layer, std::int32_t index, LayerOps& ops) {
  ONEBEAT_RETURN_IF_ERROR(ops.rms_norm(Buffer::kResidual, layer.attention_norm, Buffer::kNormed));
  ONEBEAT_RETURN_IF_ERROR(ops.linear(Buffer::kNormed, {{&layer.query, Buffer::kQuery},
                                                       {&layer.key, Buffer::kKey},
                                                       {&layer.value, Buffer::kValue}}));
  ONEBEAT_RETURN_IF_ERROR(ops.rope());
  ONEBEAT_RETURN_IF_ERROR(ops.attention(index));
  ONEBEAT_RETURN_IF_ERROR(
      ops.linear_add(Buffer::kAttended, layer.attention_output, Buffer::kResidual));

  ONEBEAT_RETURN_IF_ERROR(
      ops.rms_norm(Buffer::kResidual, layer.feed_forward_norm, Buffer::kNormed));
  ONEBEAT_RETURN_IF_ERROR(
      ops.linear(Buffer::kNormed, {{&layer.gate, Buffer::kGate}, {&layer.up, Buffer::kUp}}));
  ONEBEAT_RETURN_IF_ERROR(ops.silu_mul());
  return ops.linear_add(Buffer::kGate, layer.down, Buffer::kResidual);
}

Status Llama::forward(LayerOps& ops) const {
  ONEBEAT_RETURN_IF_ERROR(ops.embed(embedding));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    ONEBEAT_RETURN_IF_ERROR(forward_layer(layers[i], static_cast<std::int32_t>(i), ops));
  }
  ONEBEAT_RETURN_IF_ERROR(ops.keep_output_rows());
  ONEBEAT_RETURN_IF_ERROR(ops.rms_norm(Buffer::kResidual, output_norm, Buffer::kNormed));
  return ops.linear(Buffer::kNormed, {{&output, Buffer::kLogits}});
}

std::int64_t Llama::bytes_per_pass() const {
  const auto floats = [](const std::vector<float>& v) {
    return static_cast<std::int64_t>(v.size() * 4);
  };
  std::int64_t bytes = embedding.row_bytes() + floats(output_norm) + output.matrix.size_bytes();
  for (const Layer& layer : layers) {
    bytes += floats(layer.attention_norm) + floats(layer.feed_forward_norm);
    for (const LinearWeight* weight :
         {&layer.query, &layer.key, &layer.value, &layer.attention_output, &layer.gate, &layer.up,
          &layer.down}) {
      bytes += weight->matrix.size_bytes() + floats(weight->bias);
    }
  }
  return bytes;
}

Result<Layer> load_layer(const ModelConfig& config, const TensorSource& tensors,
                         std::int32_t index) {
  const auto name = [index](std::string_view part) {
    return fmt::format("blk.{}.{}", index, part);
  };
  const std::int64_t width = config.width;
  const std::int64_t keys = static_cast<std::int64_t>(config.num_kv_heads) * config.head_dim;
  const std::int64_t values = static_cast<std::int64_t>(config.num_kv_heads) * config.head_dim_v;
  const std::int64_t queries = static_cast<std::int64_t>(config.num_heads) * config.head_dim;
  const std::int64_t attended = static_cast<std::int64_t>(config.num_heads) * config.head_dim_v;
  Layer layer;
  ONEBEAT_ASSIGN_OR_RETURN(layer.attention_norm, tensors.vector(name("attn_norm.weight"), width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.query, tensors.linear(name("attn_q"), queries, width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.key, tensors.linear(name("attn_k"), keys, width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.value, tensors.linear(name("attn_v"), values, width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.attention_output,
                           tensors.linear(name("attn_output"), width, attended));
  ONEBEAT_ASSIGN_OR_RETURN(layer.feed_forward_norm, tensors.vector(name("ffn_norm.weight"), width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.gate,
                           tensors.linear(name("ffn_gate"), config.feed_forward, width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.up, tensors.linear(name("ffn_up"), config.feed_forward, width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.down,
                           tensors.linear(name("ffn_down"), width, config.feed_forward));
  return layer;
}

}  // namespace

Result<std::unique_ptr<ModelFamily>> make_llama(const ModelConfig& config,
                                                const TensorSource& tensors) {
  auto model = std::make_unique<Llama>();
  ONEBEAT_ASSIGN_OR_RETURN(model->embedding,
                           tensors.matrix("token_embd.weight", config.vocabulary, config.width));
  ONEBEAT_ASSIGN_OR_RETURN(model->output_norm, tensors.vector("output_norm.weight", config.width));
  if (tensors.has("output.weight")) {
    ONEBEAT_ASSIGN_OR_RETURN(model->output,
                             tensors.linear("output", config.vocabulary, config.width));
  } else {
    model->output.matrix = model->embedding;
  }
  for (std::int32_t i = 0; i < config.num_layers; ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(Layer layer, load_layer(config, tensors, i));
    model->layers.push_back(std::move(layer));
  }
  return std::unique_ptr<ModelFamily>(std::move(model));
}

}  // namespace onebeat
