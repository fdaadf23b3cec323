// SPDX-License-Identifier: Apache-2.0
#include "model/families/qwen3.h"

#include "model/families/decoder_weights.h"

namespace onebeat {
namespace {

struct Layer {
  std::vector<float> attention_norm;  // [width]
  AttentionWeights attention;
  std::vector<float> query_norm;         // [D], of each head
  std::vector<float> key_norm;           // [D], of each head
  std::vector<float> feed_forward_norm;  // [width]
  FeedForwardWeights feed_forward;
};

class Qwen3 final : public ModelFamily {
 public:
  Status forward(LayerOps& ops) const override;

  EndWeights ends;
  std::vector<Layer> layers;
};

Status forward_layer(const Layer& layer, std::int32_t index, LayerOps& ops) {
  ONEBEAT_RETURN_IF_ERROR(ops.rms_norm(Buffer::kResidual, layer.attention_norm, Buffer::kNormed));
  ONEBEAT_RETURN_IF_ERROR(ops.linear(Buffer::kNormed, {{&layer.attention.query, Buffer::kQuery},
                                                       {&layer.attention.key, Buffer::kKey},
                                                       {&layer.attention.value, Buffer::kValue}}));
  ONEBEAT_RETURN_IF_ERROR(ops.rms_norm_heads(Buffer::kQuery, layer.query_norm));
  ONEBEAT_RETURN_IF_ERROR(ops.rms_norm_heads(Buffer::kKey, layer.key_norm));
  ONEBEAT_RETURN_IF_ERROR(ops.rope(index));
  ONEBEAT_RETURN_IF_ERROR(ops.attention(index));
  ONEBEAT_RETURN_IF_ERROR(
      ops.linear_add(Buffer::kAttended, layer.attention.output, Buffer::kResidual));

  ONEBEAT_RETURN_IF_ERROR(
      ops.rms_norm(Buffer::kResidual, layer.feed_forward_norm, Buffer::kNormed));
  ONEBEAT_RETURN_IF_ERROR(ops.linear(Buffer::kNormed, {{&layer.feed_forward.gate, Buffer::kGate},
                                                       {&layer.feed_forward.up, Buffer::kUp}}));
  ONEBEAT_RETURN_IF_ERROR(ops.silu_mul());
  return ops.linear_add(Buffer::kGate, layer.feed_forward.down, Buffer::kResidual);
}

Status Qwen3::forward(LayerOps& ops) const {
  ONEBEAT_RETURN_IF_ERROR(ops.embed(ends.embedding, 1.0f));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    ONEBEAT_RETURN_IF_ERROR(forward_layer(layers[i], static_cast<std::int32_t>(i), ops));
  }
  ONEBEAT_RETURN_IF_ERROR(ops.keep_output_rows());
  ONEBEAT_RETURN_IF_ERROR(ops.rms_norm(Buffer::kResidual, ends.output_norm, Buffer::kNormed));
  return ops.linear(Buffer::kNormed, {{&ends.output, Buffer::kLogits}});
}

Result<Layer> load_layer(const ModelConfig& config, TensorSource& tensors, std::int32_t index) {
  Layer layer;
  ONEBEAT_ASSIGN_OR_RETURN(layer.attention_norm,
                           tensors.norm(layer_tensor(index, "attn_norm.weight"), config.width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.attention, load_attention(config, tensors, index));
  ONEBEAT_ASSIGN_OR_RETURN(
      layer.query_norm, tensors.norm(layer_tensor(index, "attn_q_norm.weight"), config.head_dim));
  ONEBEAT_ASSIGN_OR_RETURN(
      layer.key_norm, tensors.norm(layer_tensor(index, "attn_k_norm.weight"), config.head_dim));
  ONEBEAT_ASSIGN_OR_RETURN(layer.feed_forward_norm,
                           tensors.norm(layer_tensor(index, "ffn_norm.weight"), config.width));
  ONEBEAT_ASSIGN_OR_RETURN(layer.feed_forward, load_feed_forward(config, tensors, index));
  return layer;
}

}  // namespace

Result<std::unique_ptr<ModelFamily>> make_qwen3(const ModelConfig& config, TensorSource& tensors) {
  auto model = std::make_unique<Qwen3>();
  ONEBEAT_ASSIGN_OR_RETURN(model->ends, load_ends(config, tensors));
  for (std::int32_t i = 0; i < config.num_layers; ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(Layer layer, load_layer(config, tensors, i));
    model->layers.push_back(std::move(layer));
  }
  return std::unique_ptr<ModelFamily>(std::move(model));
}

}  // namespace onebeat
