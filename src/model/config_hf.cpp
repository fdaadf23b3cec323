// SPDX-License-Identifier: Apache-2.0
// A config.json as a ModelConfig.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "model/config.h"

namespace onebeat {

Result<ModelConfig> config_from_hf(const HfConfig& hf, const std::string& name) {
  if (hf.logit_soft_cap != 0) {
    return unsupported(
        "{}: \"final_logit_softcapping\" is {}; soft caps of logits are not implemented", name,
        hf.logit_soft_cap);
  }
  ModelConfig config;
  config.architecture = gguf_architecture(hf.family);
  config.num_layers = hf.num_layers;
  config.width = hf.width;
  config.num_heads = hf.num_heads;
  config.num_kv_heads = hf.num_kv_heads;
  config.head_dim = hf.head_dim;
  config.head_dim_v = hf.head_dim;
  config.feed_forward = hf.feed_forward;
  config.vocabulary = hf.vocabulary;
  config.context_tokens = hf.context_tokens;
  config.norm_epsilon = static_cast<float>(hf.norm_epsilon);
  config.tied_embeddings = hf.tied_embeddings;
  config.embedding_scale = static_cast<float>(hf.embedding_scale);

  AttentionClassConfig full;
  full.score_scale = static_cast<float>(hf.score_scale);
  full.soft_cap = static_cast<float>(hf.attention_soft_cap);
  full.rope.rotary_dims = hf.head_dim;
  full.rope.freq_base = hf.rope_theta;
  full.rope.pairs = RopePairs::kHalves;
  if (hf.rope_scaling.kind == HfRopeScaling::Kind::kLinear) {
    full.rope.position_scale = 1.0 / hf.rope_scaling.factor;
  }
  AttentionClassConfig local = full;
  if (hf.window.has_value()) local.window_left = *hf.window - 1;
  if (hf.family == HfFamily::kGemma3) {
    local.rope.freq_base = hf.rope_local_theta;
    local.rope.position_scale = 1.0;
  }
  set_classes(config, full, local, hf.layer_has_window);
  if (const Status status = validate_classes(config); !status.ok()) {
    return status.with_context(name);
  }
  return config;
}

std::vector<float> llama3_freq_factors(const HfConfig& hf) {
  const HfRopeScaling& scaling = hf.rope_scaling;
  if (scaling.kind != HfRopeScaling::Kind::kLlama3) return {};
  std::vector<float> factors;
  for (std::int32_t i = 0; i < hf.head_dim / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(hf.rope_theta, 2.0 * i / hf.head_dim);
    const double turns = scaling.original_context_tokens / wavelength;
    const double kept = std::clamp(
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor),
        0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - kept) / scaling.factor + kept)));
  }
  return factors;
}

}  // namespace onebeat
