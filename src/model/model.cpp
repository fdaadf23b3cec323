// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "model/families/gemma3.h"
#include "model/families/llama.h"
#include "model/families/qwen2.h"
#include "model/families/qwen3.h"
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

namespace {

using MakeFamily = Result<std::unique_ptr<ModelFamily>> (*)(const ModelConfig&, TensorSource&);

/// The architecture is one that the configuration was checked against.
MakeFamily family_of(const ModelConfig& config) {
  if (config.architecture == "qwen2") return make_qwen2;
  if (config.architecture == "qwen3") return make_qwen3;
  if (config.architecture == "gemma3") return make_gemma3;
  ONEBEAT_CHECK(config.architecture == "llama");
  return make_llama;
}

/// What a config.json says of biases, its weights must have.
Status check_biases(const HfConfig& config, const TensorSource& tensors) {
  struct Bias {
    bool said;
    const char* name;
  };
  for (const Bias& bias : {Bias{config.attention_bias, "blk.0.attn_q.bias"},
                           Bias{config.attention_output_bias, "blk.0.attn_output.bias"},
                           Bias{config.mlp_bias, "blk.0.ffn_down.bias"}}) {
    if (tensors.has(bias.name) == bias.said) continue;
    return data_loss("config.json says that there is {} bias in the place of {}, and there is {}",
                     bias.said ? "a" : "no", bias.name, bias.said ? "none" : "one");
  }
  return Status();
}

}  // namespace

Result<std::unique_ptr<Model>> Model::load(const std::filesystem::path& path,
                                           std::unique_ptr<WeightPacker> packer) {
  ONEBEAT_ASSIGN_OR_RETURN(ModelFiles files, open_model_files(path));
  if (packer != nullptr) packer->drop_source_pages();
  return from_files(std::move(files), std::move(packer));
}

Result<std::unique_ptr<Model>> Model::from_files(ModelFiles files,
                                                 std::unique_ptr<WeightPacker> packer) {
  std::unique_ptr<Model> model(new Model(std::move(files)));
  model->packer_ = std::move(packer);
  if (const auto* folder = std::get_if<HfFolder>(&model->files_)) {
    ONEBEAT_RETURN_IF_ERROR(model->read_folder(*folder));
  } else {
    ONEBEAT_RETURN_IF_ERROR(model->read_gguf(std::get<GgufFile>(model->files_)));
  }
  return model;
}

Status Model::read_gguf(const GgufFile& file) {
  ONEBEAT_ASSIGN_OR_RETURN(config_, read_config(file));
  GgufTensors tensors(file);
  // Llama 3.1 and later: divisors of the frequencies, computed when the file was made.
  if (tensors.has("rope_freqs.weight")) {
    GgufTensors beside(file);  // They are no weights that a pass reads.
    ONEBEAT_ASSIGN_OR_RETURN(
        std::vector<float> factors,
        beside.vector("rope_freqs.weight", config_.classes[0].rope.rotary_dims / 2));
    for (const float factor : factors) {
      if (!(factor > 0) || !std::isfinite(factor)) {
        return data_loss("{}: rope_freqs.weight holds {}; its numbers must be above 0", file.name(),
                         factor);
      }
    }
    set_rope_factors(std::move(factors));
  }
  return read_weights(tensors);
}

Status Model::read_folder(const HfFolder& folder) {
  ONEBEAT_ASSIGN_OR_RETURN(config_,
                           config_from_hf(folder.config, (folder.path / "config.json").string()));
  // "models/tiny/" is called "tiny".
  const std::filesystem::path name = folder.path.filename();
  config_.name = (name.empty() ? folder.path.parent_path().filename() : name).string();
  set_rope_factors(llama3_freq_factors(folder.config));
  SafetensorsTensors tensors(folder.weights, folder.config);
  ONEBEAT_RETURN_IF_ERROR(check_biases(folder.config, tensors).with_context(folder.weights.name()));
  return read_weights(tensors);
}

Status Model::read_weights(TensorSource& tensors) {
  tensors.repack_with(packer_.get());
  ONEBEAT_ASSIGN_OR_RETURN(family_, family_of(config_)(config_, tensors));
  family_->bytes_per_pass_ = tensors.bytes_per_pass();
  return tensors.check_all_used();
}

void Model::set_rope_factors(std::vector<float> factors) {
  rope_factors_ = std::move(factors);
  // Layers with windows of their own frequencies are never stretched: such families have no
  // factors.
  for (AttentionClassConfig& attention_class : config_.classes) {
    attention_class.rope.freq_factors = rope_factors_;
  }
}

}  // namespace onebeat
