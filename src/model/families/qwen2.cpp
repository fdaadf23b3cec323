// SPDX-License-Identifier: Apache-2.0
#include "model/families/qwen2.h"

#include "model/families/decoder_weights.h"
#include "model/families/llama.h"

namespace onebeat {

Result<std::unique_ptr<ModelFamily>> make_qwen2(const ModelConfig& config, TensorSource& tensors) {
  // Llama takes biases where a file has them; without these it is no Qwen2.
  for (std::int32_t i = 0; i < config.num_layers; ++i) {
    for (const char* bias : {"attn_q.bias", "attn_k.bias", "attn_v.bias"}) {
      ONEBEAT_RETURN_IF_ERROR(tensors.require(layer_tensor(i, bias)));
    }
  }
  return make_llama(config, tensors);
}

}  // namespace onebeat
