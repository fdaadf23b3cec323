// SPDX-License-Identifier: Apache-2.0
// Hugging Face's names for the tensors of a model, and what differs in their numbers.
#include <algorithm>
#include <array>
#include <iterator>

#include "model/tensor_source.h"

namespace onebeat {
namespace {

struct Names {
  std::string_view ours;
  std::string_view theirs;
};

/// Tensors of a layer: behind "blk.N." and "model.layers.N.".
constexpr Names kLayerNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

/// Gemma 3 has norms behind both blocks, and calls them otherwise.
constexpr Names kGemma3LayerNames[] = {
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "pre_feedforward_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
};

const Names* find_name(std::span<const Names> table, std::string_view ours) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [ours](const Names& names) { return names.ours == ours; });
  return found == table.end() ? nullptr : &*found;
}

std::string_view layer_name(HfFamily family, std::string_view ours) {
  if (family == HfFamily::kGemma3) {
    if (const Names* names = find_name(kGemma3LayerNames, ours)) return names->theirs;
  }
  const Names* names = find_name(kLayerNames, ours);
  return names == nullptr ? std::string_view() : names->theirs;
}

constexpr WeightType weight_type(SafetensorsType type) {
  switch (type) {
    case SafetensorsType::kF32:
      return WeightType::kF32;
    case SafetensorsType::kF16:
      return WeightType::kF16;
    case SafetensorsType::kBF16:
      break;
  }
  return WeightType::kBF16;
}

}  // namespace

SafetensorsTensors::SafetensorsTensors(const SafetensorsModel& weights, const HfConfig& config)
    : weights_(weights),
      family_(config.family),
      norm_offset_(config.norm_adds_one ? 1.0f : 0.0f),
      prefix_("model.") {
  struct Place {
    std::string_view prefix, head;
  };
  // A model of texts alone, and the two ways in which one is a part of a model of pictures.
  constexpr Place kPlaces[] = {
      {"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}};
  for (const Place& place : kPlaces) {
    if (weights.find_tensor(std::string(place.prefix) + "embed_tokens.weight") == nullptr) continue;
    prefix_ = place.prefix;
    head_ = place.head;
    return;
  }
}

std::string SafetensorsTensors::name_in_file(std::string_view name) const {
  if (name == "token_embd.weight") return prefix_ + "embed_tokens.weight";
  if (name == "output_norm.weight") return prefix_ + "norm.weight";
  if (name == "output.weight") return head_ + "lm_head.weight";
  // blk.N.PART.KIND
  constexpr std::string_view kLayer = "blk.";
  const std::size_t part = name.find('.', kLayer.size());
  const std::size_t kind = name.rfind('.');
  if (!name.starts_with(kLayer) || part == std::string_view::npos || kind <= part) return {};
  const std::string_view theirs = layer_name(family_, name.substr(part + 1, kind - part - 1));
  if (theirs.empty()) return {};
  std::string full = prefix_ + "layers.";
  full += name.substr(kLayer.size(), part + 1 - kLayer.size());
  full += theirs;
  full += name.substr(kind);
  return full;
}

std::optional<TensorSource::Found> SafetensorsTensors::find(std::string_view name) const {
  const SafetensorsTensor* tensor = weights_.find_tensor(name_in_file(name));
  if (tensor == nullptr) return std::nullopt;
  return Found{
      tensor->name, weight_type(tensor->type), to_string(tensor->type), tensor->shape, false,
      tensor->bytes};
}

std::vector<std::string_view> SafetensorsTensors::expected() const {
  std::vector<std::string_view> names;
  const std::string layers = prefix_ + "layers.";
  for (const SafetensorsTensor* tensor : weights_.tensors()) {
    // Old files keep the rotary frequencies, which the configuration says as well.
    const std::string_view name = tensor->name;
    if (name.starts_with(layers) && !name.ends_with(".rotary_emb.inv_freq")) names.push_back(name);
  }
  return names;
}

}  // namespace onebeat
