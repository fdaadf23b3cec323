// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <cmath>

#include "base/error.h"
#include "model/families/llama.h"
#include "model/tensor_source.h"

namespace onebeat {

std::int64_t buffer_columns(const ModelConfig& config, Buffer buffer) {
  switch (buffer) {
    case Buffer::kResidual:
    case Buffer::kNormed:
      return config.width;
    case Buffer::kQuery:
      return static_cast<std::int64_t>(config.num_heads) * config.head_dim;
    case Buffer::kKey:
      return static_cast<std::int64_t>(config.num_kv_heads) * config.head_dim;
    case Buffer::kValue:
      return static_cast<std::int64_t>(config.num_kv_heads) * config.head_dim_v;
    case Buffer::kAttended:
      return static_cast<std::int64_t>(config.num_heads) * config.head_dim_v;
    case Buffer::kGate:
    case Buffer::kUp:
      return config.feed_forward;
    case Buffer::kLogits:
      return config.vocabulary;
  }
  return 0;
}

Result<std::unique_ptr<Model>> Model::load(const std::filesystem::path& path) {
  ONEBEAT_ASSIGN_OR_RETURN(GgufFile file, GgufFile::open(path));
  return from_gguf(std::move(file));
}

Result<std::unique_ptr<Model>> Model::from_gguf(GgufFile file) {
  std::unique_ptr<Model> model(new Model(std::move(file)));
  ONEBEAT_ASSIGN_OR_RETURN(model->config_, read_config(model->file_));
  const TensorSource tensors(model->file_);
  // Llama 3.1 and later: divisors of the frequencies, computed when the file was made.
  if (tensors.has("rope_freqs.weight")) {
    ONEBEAT_ASSIGN_OR_RETURN(
        model->rope_factors_,
        tensors.vector("rope_freqs.weight", model->config_.rope.rotary_dims / 2));
    for (const float factor : model->rope_factors_) {
      if (!(factor > 0) || !std::isfinite(factor)) {
        return data_loss("{}: rope_freqs.weight holds {}; its numbers must be above 0",
                         model->file_.name(), factor);
      }
    }
    model->config_.rope.freq_factors = model->rope_factors_;
  }
  ONEBEAT_ASSIGN_OR_RETURN(model->family_, make_llama(model->config_, tensors));
  return model;
}

}  // namespace onebeat
