// SPDX-License-Identifier: Apache-2.0
// The metadata of a GGUF file as a ModelConfig.
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "model/config.h"

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
  [[nodiscard]] const GgufEntry* find(std::string_view key) const { return file_.find(full(key)); }

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
  ONEBEAT_ASSIGN_OR_RETURN(const double cap, keys.optional<double>("final_logit_softcapping", 0.0));
  if (cap != 0) {
    return unsupported("{} is {}; soft caps of logits are not implemented",
                       keys.full("final_logit_softcapping"), cap);
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

Result<double> positive(const Keys& keys, std::string_view key, double fallback) {
  ONEBEAT_ASSIGN_OR_RETURN(const double value, keys.optional<double>(key, fallback));
  if (!(value > 0) || !std::isfinite(value)) {
    return invalid_argument("{} is {}; it must be above 0", keys.full(key), value);
  }
  return value;
}

/// Of layers with full attention.
Result<RopeParams> read_rope(const Keys& keys, const ModelConfig& config) {
  RopeParams rope;
  // Files of this family alone have rows that were put in the order of neighbouring pairs.
  rope.pairs = config.architecture == "llama" ? RopePairs::kNeighbours : RopePairs::kHalves;
  ONEBEAT_ASSIGN_OR_RETURN(rope.rotary_dims,
                           keys.optional<std::int32_t>("rope.dimension_count", config.head_dim));
  if (rope.rotary_dims < 2 || rope.rotary_dims % 2 != 0 || rope.rotary_dims > config.head_dim) {
    return invalid_argument("{} is {}; it must be even and from 2 to the head size, {}",
                            keys.full("rope.dimension_count"), rope.rotary_dims, config.head_dim);
  }
  const double usual = config.architecture == "gemma3" ? 1e6 : 10000.0;
  ONEBEAT_ASSIGN_OR_RETURN(rope.freq_base, positive(keys, "rope.freq_base", usual));
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view type,
                           keys.optional<std::string_view>("rope.scaling.type", "none"));
  if (type == "linear") {
    ONEBEAT_ASSIGN_OR_RETURN(const double factor, positive(keys, "rope.scaling.factor", 0.0));
    rope.position_scale = 1.0 / factor;
  } else if (type != "none") {
    return unsupported("{} is {}; implemented are none and linear", keys.full("rope.scaling.type"),
                       quoted(type));
  }
  return rope;
}

/// The largest model of the family divides its scores by another number than its head size, and the
/// file does not say so.
constexpr std::int32_t kLayersOfLargestGemma3 = 62;

double score_divisor(const ModelConfig& config) {
  const bool largest =
      config.architecture == "gemma3" && config.num_layers == kLayersOfLargestGemma3;
  return largest ? static_cast<double>(config.width) / config.num_heads : config.head_dim;
}

/// Which layers see a window, by a number or a list in the file, or by the family's rule.
Status read_windowed_layers(const Keys& keys, ModelConfig& config, std::vector<bool>& windowed) {
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  windowed.assign(static_cast<std::size_t>(config.num_layers), true);
  const GgufEntry* entry = keys.find(kPattern);
  if (entry != nullptr && entry->type == GgufType::kArray) {
    if (entry->element_type != GgufType::kBool || entry->count != windowed.size()) {
      return invalid_argument(
          "{} has {} values of type {}; it must have a bool for each of the {} "
          "layers",
          keys.full(kPattern), entry->count, to_string(entry->element_type), windowed.size());
    }
    for (std::size_t i = 0; i < windowed.size(); ++i) windowed[i] = entry->bytes[i] != std::byte{0};
    return Status();
  }
  const bool gemma = config.architecture == "gemma3";
  if (entry == nullptr && !gemma) return Status();
  ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t pattern, keys.count_or(kPattern, 6, kMostLayers));
  for (std::size_t i = 0; i < windowed.size(); ++i)
    windowed[i] = (i + 1) % static_cast<std::size_t>(pattern) != 0;
  return Status();
}

/// Classes in the order in which layers first use them.
Status read_classes(const Keys& keys, ModelConfig& config) {
  AttentionClassConfig full;
  full.score_scale = static_cast<float>(1.0 / std::sqrt(score_divisor(config)));
  ONEBEAT_ASSIGN_OR_RETURN(full.rope, read_rope(keys, config));
  ONEBEAT_ASSIGN_OR_RETURN(const double cap, keys.optional<double>("attn_logit_softcapping", 0.0));
  if (!(cap >= 0) || !std::isfinite(cap)) {
    return invalid_argument("{} is {}; it must be at least 0", keys.full("attn_logit_softcapping"),
                            cap);
  }
  full.soft_cap = static_cast<float>(cap);

  std::vector<bool> windowed(static_cast<std::size_t>(config.num_layers), false);
  AttentionClassConfig local = full;
  const bool gemma = config.architecture == "gemma3";
  if (gemma || keys.find("attention.sliding_window") != nullptr) {
    if (config.architecture.starts_with("qwen")) {
      return unsupported("{} is given; sliding windows are not implemented for this architecture",
                         keys.full("attention.sliding_window"));
    }
    ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t window,
                             keys.count("attention.sliding_window", INT32_MAX));
    local.window_left = window - 1;
    ONEBEAT_RETURN_IF_ERROR(read_windowed_layers(keys, config, windowed));
  }
  if (gemma) {
    ONEBEAT_ASSIGN_OR_RETURN(local.rope.freq_base, positive(keys, "rope.freq_base_swa", 10000.0));
    local.rope.position_scale = 1.0;
  }
  set_classes(config, full, local, windowed);
  return Status();
}

Result<ModelConfig> read_architecture(const GgufFile& file, std::string_view architecture) {
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
  ONEBEAT_RETURN_IF_ERROR(read_classes(keys, config));
  if (architecture == "gemma3") {
    config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.width)));
  }
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
  config.tied_embeddings = file.find_tensor("output.weight") == nullptr;
  ONEBEAT_RETURN_IF_ERROR(validate_classes(config));
  return config;
}

}  // namespace

Result<ModelConfig> read_config(const GgufFile& file) {
  const Result<std::string_view> architecture =
      file.required<std::string_view>("general.architecture");
  if (!architecture.ok()) return architecture.status();
  if (!is_supported_architecture(architecture.value())) {
    return unsupported("{}: the architecture {} is not implemented; implemented: {}", file.name(),
                       quoted(architecture.value()), supported_architectures());
  }
  Result<ModelConfig> config = read_architecture(file, architecture.value());
  if (config.ok() || config.status().message().starts_with(file.name())) return config;
  return config.status().with_context(file.name());
}

}  // namespace onebeat
