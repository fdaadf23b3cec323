// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <cmath>
#include <string_view>

#include "base/error.h"

namespace onebeat {
namespace {

/// Limits beyond every model known; they keep products of two of these numbers far inside 64 bits.
constexpr std::int32_t kMostLayers = 4096;
constexpr std::int32_t kMostElements = 1 << 22;
constexpr std::int32_t kMostVocabulary = 1 << 24;

/// Reads keys that start with the architecture's name.
class Keys {
 public:
  Keys(const GgufFile& file, std::string_view architecture) : file_(file), prefix_(architecture) {}

  Result<std::int32_t> count(std::string_view key, std::int32_t most) const {
    ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t value, file_.required<std::int64_t>(full(key)));
    return checked(key, value, most);
  }
  Result<std::int32_t> count_or(std::string_view key, std::int32_t fallback,
                                std::int32_t most) const {
    ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t value,
                             file_.optional<std::int64_t>(full(key), fallback));
    return checked(key, value, most);
  }
  template <typename T>
  Result<T> optional(std::string_view key, T fallback) const {
    return file_.optional<T>(full(key), fallback);
  }
  Result<double> required_number(std::string_view key) const {
    return file_.required<double>(full(key));
  }

  [[nodiscard]] std::string full(std::string_view key) const {
    return prefix_ + "." + std::string(key);
  }

 private:
  Result<std::int32_t> checked(std::string_view key, std::int64_t value, std::int32_t most) const {
    if (value < 1 || value > most) {
      return invalid_argument("{} is {}; it must be from 1 to {}", full(key), value, most);
    }
    return static_cast<std::int32_t>(value);
  }

  const GgufFile& file_;
  std::string prefix_;
};

/// Features of a file that change the computation and are not built: refused rather than ignored.
Status refuse_unknown_features(const Keys& keys) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t experts,
                           keys.optional<std::int64_t>("expert_count", 0));
  if (experts != 0) {
    return unsupported("{} is {}; mixtures of experts are not implemented",
                       keys.full("expert_count"), experts);
  }
  ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t window,
                           keys.optional<std::int64_t>("attention.sliding_window", 0));
  if (window != 0) {
    return unsupported("{} is {}; sliding windows are not implemented for this architecture",
                       keys.full("attention.sliding_window"), window);
  }
  return Status();
}

Status read_heads(const Keys& keys, ModelConfig& config) {
  ONEBEAT_ASSIGN_OR_RETURN(config.num_heads, keys.count("attention.head_count", kMostElements));
  ONEBEAT_ASSIGN_OR_RETURN(config.num_kv_heads, keys.count_or("attention.head_count_kv",
                                                              config.num_heads, kMostElements));
  if (config.num_heads % config.num_kv_heads != 0) {
    return invalid_argument("{} query heads cannot share {} KV heads evenly", config.num_heads,
                            config.num_kv_heads);
  }
  std::int32_t even_share = 0;
  if (config.width % config.num_heads == 0) even_share = config.width / config.num_heads;
  ONEBEAT_ASSIGN_OR_RETURN(config.head_dim,
                           keys.optional<std::int32_t>("attention.key_length", even_share));
  ONEBEAT_ASSIGN_OR_RETURN(config.head_dim_v,
                           keys.optional<std::int32_t>("attention.value_length", config.head_dim));
  if (config.head_dim < 1 || config.head_dim_v < 1) {
    return invalid_argument(
        "{} elements cannot be divided over {} heads, and {} does not say otherwise", config.width,
        config.num_heads, keys.full("attention.key_length"));
  }
  return Status();
}

Status read_rope(const Keys& keys, ModelConfig& config) {
  ONEBEAT_ASSIGN_OR_RETURN(config.rope.rotary_dims,
                           keys.optional<std::int32_t>("rope.dimension_count", config.head_dim));
  if (config.rope.rotary_dims < 2 || config.rope.rotary_dims % 2 != 0 ||
      config.rope.rotary_dims > config.head_dim) {
    return invalid_argument("{} is {}; it must be even and from 2 to the head size, {}",
                            keys.full("rope.dimension_count"), config.rope.rotary_dims,
                            config.head_dim);
  }
  ONEBEAT_ASSIGN_OR_RETURN(config.rope.freq_base, keys.optional<double>("rope.freq_base", 10000.0));
  if (!(config.rope.freq_base > 0) || !std::isfinite(config.rope.freq_base)) {
    return invalid_argument("{} is {}; it must be above 0", keys.full("rope.freq_base"),
                            config.rope.freq_base);
  }
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view type,
                           keys.optional<std::string_view>("rope.scaling.type", "none"));
  if (type == "linear") {
    ONEBEAT_ASSIGN_OR_RETURN(const double factor, keys.required_number("rope.scaling.factor"));
    if (!(factor > 0) || !std::isfinite(factor)) {
      return invalid_argument("{} is {}; it must be above 0", keys.full("rope.scaling.factor"),
                              factor);
    }
    config.rope.position_scale = 1.0 / factor;
  } else if (type != "none") {
    return unsupported("{} is {}; implemented are none and linear", keys.full("rope.scaling.type"),
                       quoted(type));
  }
  return Status();
}

Result<ModelConfig> read_llama_like(const GgufFile& file, std::string_view architecture) {
  const Keys keys(file, architecture);
  ONEBEAT_RETURN_IF_ERROR(refuse_unknown_features(keys));
  ModelConfig config;
  config.architecture = architecture;
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view name,
                           file.optional<std::string_view>("general.name", std::string_view()));
  config.name = name;
  ONEBEAT_ASSIGN_OR_RETURN(config.num_layers, keys.count("block_count", kMostLayers));
  ONEBEAT_ASSIGN_OR_RETURN(config.width, keys.count("embedding_length", kMostElements));
  ONEBEAT_ASSIGN_OR_RETURN(config.feed_forward, keys.count("feed_forward_length", kMostElements));
  ONEBEAT_ASSIGN_OR_RETURN(config.context_tokens, keys.count("context_length", INT32_MAX));
  ONEBEAT_RETURN_IF_ERROR(read_heads(keys, config));
  ONEBEAT_RETURN_IF_ERROR(read_rope(keys, config));
  ONEBEAT_ASSIGN_OR_RETURN(const double epsilon,
                           keys.required_number("attention.layer_norm_rms_epsilon"));
  if (!(epsilon >= 0 && epsilon < 1)) {
    return invalid_argument("{} is {}; it must be at least 0 and below 1",
                            keys.full("attention.layer_norm_rms_epsilon"), epsilon);
  }
  config.norm_epsilon = static_cast<float>(epsilon);

  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr) return data_loss("the tensor token_embd.weight is missing");
  if (embedding->shape.size() != 2 || embedding->shape[1] > kMostVocabulary) {
    return data_loss("token_embd.weight must be a matrix of at most {} rows", kMostVocabulary);
  }
  config.vocabulary = static_cast<std::int32_t>(embedding->shape[1]);
  ONEBEAT_ASSIGN_OR_RETURN(const std::int64_t said,
                           keys.optional<std::int64_t>("vocab_size", config.vocabulary));
  if (said != config.vocabulary) {
    return data_loss("{} is {}, but token_embd.weight has {} rows", keys.full("vocab_size"), said,
                     config.vocabulary);
  }
  config.classes = {{-1, 1.0f / std::sqrt(static_cast<float>(config.head_dim)), 0.0f}};
  config.class_of_layer.assign(static_cast<std::size_t>(config.num_layers), 0);
  // What the attention kernels cannot take is refused here, before any weight is looked at.
  ONEBEAT_RETURN_IF_ERROR(validate(class_geometry(config, 0, KvType::kF32, 16)));
  return config;
}

}  // namespace

std::string supported_architectures() {
  return "llama";
}

Result<ModelConfig> read_config(const GgufFile& file) {
  const Result<std::string_view> architecture =
      file.required<std::string_view>("general.architecture");
  if (!architecture.ok()) return architecture.status().with_context(file.name());
  if (architecture.value() != "llama") {
    return unsupported("{}: the architecture {} is not implemented; implemented: {}", file.name(),
                       quoted(architecture.value()), supported_architectures());
  }
  Result<ModelConfig> config = read_llama_like(file, architecture.value());
  if (!config.ok()) return config.status().with_context(file.name());
  return config;
}

AttentionGeometry class_geometry(const ModelConfig& config, std::int32_t class_index,
                                 KvType kv_type, std::int32_t page_tokens) {
  AttentionGeometry geometry;
  geometry.num_heads = config.num_heads;
  geometry.num_kv_heads = config.num_kv_heads;
  geometry.head_dim = config.head_dim;
  geometry.head_dim_v = config.head_dim_v;
  geometry.page_tokens = page_tokens;
  geometry.window_left = config.classes[static_cast<std::size_t>(class_index)].window_left;
  geometry.kv_type = kv_type;
  return geometry;
}

std::int64_t kv_bytes_per_token(const ModelConfig& config, KvType kv_type) {
  return static_cast<std::int64_t>(config.num_layers) * config.num_kv_heads *
         (config.head_dim + config.head_dim_v) * size_of(kv_type);
}

}  // namespace onebeat
