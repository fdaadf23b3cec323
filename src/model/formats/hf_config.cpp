// SPDX-License-Identifier: Apache-2.0
// Members and their defaults are those of the families' own configurations: a value that is left
// out has the family's default, and what would change the computation but is not known is refused.
#include "model/formats/hf_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"
#include "json/json.h"
#include "model/formats/mapped_file.h"

namespace onebeat {
namespace {

/// Limits beyond every model known.
constexpr std::int32_t kMostLayers = 4096;
constexpr std::int32_t kMostElements = 1 << 22;
constexpr std::int32_t kMostVocabulary = 1 << 24;
constexpr std::int32_t kMostTokens = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMostEndTokens = 64;

/// A whole number from 1 to `most`; `fallback` (if it is not 0) stands for one that is left out.
Status read_count(JsonValue object, std::string_view member, std::int32_t most,
                  std::int32_t fallback, std::int32_t& out) {
  if (fallback == 0) {
    ONEBEAT_ASSIGN_OR_RETURN(out, object.required<std::int32_t>(member));
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(out, object.optional<std::int32_t>(member, fallback));
  }
  if (out >= 1 && out <= most) return {};
  return invalid_argument("{} is {}; it must be from 1 to {}", quoted(member), out, most);
}

/// A number above 0.
Status read_positive(JsonValue object, std::string_view member, double fallback, double& out) {
  ONEBEAT_ASSIGN_OR_RETURN(out, object.optional<double>(member, fallback));
  if (out > 0) return {};
  return invalid_argument("{} is {}; it must be above 0", quoted(member), out);
}

/// A soft cap: above 0, or none.
Status read_soft_cap(JsonValue object, std::string_view member, double& out) {
  const auto found = object.find(member);
  if (!found || found->is(JsonKind::kNull)) return {};
  return read_positive(object, member, 0.0, out);
}

bool has_value(JsonValue object, std::string_view member) {
  const auto found = object.find(member);
  return found && !found->is(JsonKind::kNull);
}

Result<HfFamily> read_family(JsonValue root) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::string_view type,
                           root.required<std::string_view>("model_type"));
  if (type == "llama") return HfFamily::kLlama;
  if (type == "mistral") return HfFamily::kMistral;
  if (type == "qwen2") return HfFamily::kQwen2;
  if (type == "qwen3") return HfFamily::kQwen3;
  if (type == "gemma3_text" || type == "gemma3") return HfFamily::kGemma3;
  return unsupported(
      "the model type {} is not implemented; implemented are llama, mistral, qwen2, qwen3, "
      "gemma3_text and gemma3",
      quoted(type));
}

/// What would change the computation and is not built: refused rather than ignored.
Status refuse_unknown_features(JsonValue text, HfFamily family) {
  if (const auto quantization = text.find("quantization_config");
      quantization && quantization->is(JsonKind::kObject)) {
    const auto method = quantization->optional<std::string_view>("quant_method", "unnamed");
    return unsupported(
        "the weights are quantised (quantization_config: {}); only F32, F16 and BF16 "
        "can be read from safetensors: use a GGUF file",
        quoted(method.ok() ? *method : "unnamed"));
  }
  const std::string_view wanted = family == HfFamily::kGemma3 ? "gelu_pytorch_tanh" : "silu";
  for (const std::string_view member : {"hidden_act", "hidden_activation"}) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto activation,
                             text.optional<std::string_view>(member, wanted));
    if (activation != wanted) {
      return unsupported("{} is {}; implemented is {} for this family", quoted(member),
                         quoted(activation), wanted);
    }
  }
  ONEBEAT_ASSIGN_OR_RETURN(const double rotary,
                           text.optional<double>("partial_rotary_factor", 1.0));
  if (rotary != 1.0) {
    return unsupported("\"partial_rotary_factor\" is {}; only 1 is implemented", rotary);
  }
  ONEBEAT_ASSIGN_OR_RETURN(const bool bidirectional,
                           text.optional<bool>("use_bidirectional_attention", false));
  if (bidirectional) return unsupported("\"use_bidirectional_attention\" is not implemented");
  return {};
}

Status read_sizes(JsonValue text, HfConfig& config) {
  const bool gemma = config.family == HfFamily::kGemma3;
  ONEBEAT_RETURN_IF_ERROR(
      read_count(text, "num_hidden_layers", kMostLayers, gemma ? 26 : 0, config.num_layers));
  ONEBEAT_RETURN_IF_ERROR(
      read_count(text, "hidden_size", kMostElements, gemma ? 2304 : 0, config.width));
  ONEBEAT_RETURN_IF_ERROR(
      read_count(text, "intermediate_size", kMostElements, gemma ? 9216 : 0, config.feed_forward));
  ONEBEAT_RETURN_IF_ERROR(
      read_count(text, "vocab_size", kMostVocabulary, gemma ? 262208 : 0, config.vocabulary));
  ONEBEAT_RETURN_IF_ERROR(read_count(text, "max_position_embeddings", kMostTokens,
                                     gemma ? 131072 : 0, config.context_tokens));
  ONEBEAT_ASSIGN_OR_RETURN(config.norm_epsilon, text.optional<double>("rms_norm_eps", 1e-6));
  if (!(config.norm_epsilon >= 0 && config.norm_epsilon < 1)) {
    return invalid_argument("\"rms_norm_eps\" is {}; it must be at least 0 and below 1",
                            config.norm_epsilon);
  }
  return {};
}

Status read_heads(JsonValue text, HfConfig& config) {
  const bool gemma = config.family == HfFamily::kGemma3;
  ONEBEAT_RETURN_IF_ERROR(
      read_count(text, "num_attention_heads", kMostElements, gemma ? 8 : 0, config.num_heads));
  ONEBEAT_RETURN_IF_ERROR(read_count(text, "num_key_value_heads", kMostElements,
                                     gemma ? 4 : config.num_heads, config.num_kv_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    return invalid_argument("{} query heads cannot share {} KV heads evenly", config.num_heads,
                            config.num_kv_heads);
  }
  std::int32_t usual = 0;
  if (gemma) {
    usual = 256;
  } else if (config.family == HfFamily::kQwen3) {
    usual = 128;
  } else if (has_value(text, "head_dim")) {
    usual = 1;  // Not used: it is there.
  } else if (config.width % config.num_heads == 0) {
    usual = config.width / config.num_heads;
  } else {
    return invalid_argument(
        "\"hidden_size\" {} cannot be divided over {} heads, and \"head_dim\" does not say "
        "otherwise",
        config.width, config.num_heads);
  }
  ONEBEAT_RETURN_IF_ERROR(read_count(text, "head_dim", kMostElements, usual, config.head_dim));
  if (config.head_dim % 2 != 0) {
    return invalid_argument("the head size is {}; it must be even for rotary positions",
                            config.head_dim);
  }
  if (std::int64_t{config.head_dim} * config.num_heads > kMostElements) {
    return invalid_argument("{} heads of {} elements; at most {} elements in all are possible",
                            config.num_heads, config.head_dim, kMostElements);
  }
  double squared = config.head_dim;
  if (gemma) ONEBEAT_RETURN_IF_ERROR(read_positive(text, "query_pre_attn_scalar", 256.0, squared));
  config.score_scale = 1.0 / std::sqrt(squared);
  return {};
}

Status read_scaling(JsonValue scaling, HfRopeScaling& out) {
  ONEBEAT_ASSIGN_OR_RETURN(std::string_view kind,
                           scaling.optional<std::string_view>("type", "default"));
  ONEBEAT_ASSIGN_OR_RETURN(kind, scaling.optional<std::string_view>("rope_type", kind));
  if (kind == "default") return {};
  if (kind != "linear" && kind != "llama3") {
    return unsupported("rope scaling {} is not implemented; implemented are linear and llama3",
                       quoted(kind));
  }
  ONEBEAT_ASSIGN_OR_RETURN(out.factor, scaling.required<double>("factor"));
  if (!(out.factor >= 1)) {
    return invalid_argument("\"factor\" is {}; it must be at least 1", out.factor);
  }
  out.kind = HfRopeScaling::Kind::kLinear;
  if (kind == "linear") return {};
  out.kind = HfRopeScaling::Kind::kLlama3;
  ONEBEAT_ASSIGN_OR_RETURN(out.low_freq_factor, scaling.required<double>("low_freq_factor"));
  ONEBEAT_ASSIGN_OR_RETURN(out.high_freq_factor, scaling.required<double>("high_freq_factor"));
  if (!(out.low_freq_factor > 0) || !(out.high_freq_factor > out.low_freq_factor)) {
    return invalid_argument(
        "\"low_freq_factor\" is {} and \"high_freq_factor\" {}; they must be above 0, and the "
        "second "
        "above the first",
        out.low_freq_factor, out.high_freq_factor);
  }
  return read_count(scaling, "original_max_position_embeddings", kMostTokens, 0,
                    out.original_context_tokens);
}

Status read_rope(JsonValue text, HfConfig& config) {
  const bool gemma = config.family == HfFamily::kGemma3;
  const double usual = gemma ? 1e6 : 10000.0;
  ONEBEAT_RETURN_IF_ERROR(read_positive(text, "rope_theta", usual, config.rope_theta));
  config.rope_local_theta = config.rope_theta;
  if (gemma) {
    ONEBEAT_RETURN_IF_ERROR(
        read_positive(text, "rope_local_base_freq", 10000.0, config.rope_local_theta));
  }
  if (has_value(text, "rope_scaling")) {
    ONEBEAT_RETURN_IF_ERROR(
        read_scaling(*text.find("rope_scaling"), config.rope_scaling).with_context("rope_scaling"));
  }
  // Newer files keep all of it in "rope_parameters", for gemma3 one for each kind of layer.
  const auto parameters = text.find("rope_parameters");
  if (!parameters || parameters->is(JsonKind::kNull)) return {};
  const auto read = [&]() -> Status {
    const auto full = parameters->find("full_attention");
    const auto local = parameters->find("sliding_attention");
    const JsonValue global = full ? *full : *parameters;
    ONEBEAT_RETURN_IF_ERROR(read_positive(global, "rope_theta", usual, config.rope_theta));
    ONEBEAT_RETURN_IF_ERROR(read_scaling(global, config.rope_scaling));
    if (!gemma) config.rope_local_theta = config.rope_theta;
    if (local) {
      ONEBEAT_RETURN_IF_ERROR(
          read_positive(*local, "rope_theta", 10000.0, config.rope_local_theta));
      HfRopeScaling scaling;
      ONEBEAT_RETURN_IF_ERROR(read_scaling(*local, scaling));
      if (scaling.kind != HfRopeScaling::Kind::kNone) {
        return unsupported("rope scaling of windowed layers is not implemented");
      }
    }
    return {};
  };
  return read().with_context("rope_parameters");
}

/// The explicit list of layer kinds, if there is one.
Status read_layer_types(JsonValue text, HfConfig& config) {
  const JsonValue types = *text.find("layer_types");
  if (!types.is(JsonKind::kArray) || types.size() != config.layer_has_window.size()) {
    return invalid_argument("\"layer_types\" must be an array of {} names, one for each layer",
                            config.layer_has_window.size());
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto type, types.at(i).as<std::string_view>());
    if (type != "full_attention" && type != "sliding_attention") {
      return unsupported(
          "\"layer_types\": layer {} is {}; implemented are full_attention and "
          "sliding_attention",
          i, quoted(type));
    }
    config.layer_has_window[i] = type == "sliding_attention";
  }
  return {};
}

/// Which layers have a window by the family's own rule.
Status read_layer_rule(JsonValue text, HfConfig& config) {
  std::vector<bool>& layers = config.layer_has_window;
  if (config.family == HfFamily::kGemma3) {
    std::int32_t pattern = 0;
    const std::string_view member = has_value(text, "sliding_window_pattern")
                                        ? "sliding_window_pattern"
                                        : "_sliding_window_pattern";
    ONEBEAT_RETURN_IF_ERROR(read_count(text, member, kMostLayers, 6, pattern));
    for (std::size_t i = 0; i < layers.size(); ++i) {
      layers[i] = (i + 1) % static_cast<std::size_t>(pattern) != 0;
    }
  } else if (config.family == HfFamily::kMistral) {
    std::fill(layers.begin(), layers.end(), true);
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(const auto first,
                             text.optional<std::int32_t>("max_window_layers", config.num_layers));
    if (first < 0) {
      return invalid_argument("\"max_window_layers\" is {}; it must be at least 0", first);
    }
    for (std::size_t i = static_cast<std::size_t>(first); i < layers.size(); ++i) layers[i] = true;
  }
  return {};
}

Status read_windows(JsonValue text, HfConfig& config) {
  config.layer_has_window.assign(static_cast<std::size_t>(config.num_layers), false);
  const bool gemma = config.family == HfFamily::kGemma3;
  bool used = gemma || config.family == HfFamily::kMistral;
  if (config.family == HfFamily::kQwen2 || config.family == HfFamily::kQwen3) {
    ONEBEAT_ASSIGN_OR_RETURN(used, text.optional<bool>("use_sliding_window", false));
  }
  if (used && (gemma || has_value(text, "sliding_window"))) {
    std::int32_t window = 0;
    ONEBEAT_RETURN_IF_ERROR(
        read_count(text, "sliding_window", kMostTokens, gemma ? 4096 : 0, window));
    config.window = window;
  }
  if (has_value(text, "layer_types")) {
    ONEBEAT_RETURN_IF_ERROR(read_layer_types(text, config));
  } else if (config.window) {
    ONEBEAT_RETURN_IF_ERROR(read_layer_rule(text, config));
  }
  const auto& layers = config.layer_has_window;
  const bool any = std::find(layers.begin(), layers.end(), true) != layers.end();
  if (any && !config.window) {
    return invalid_argument(
        "\"layer_types\" names windowed layers, but there is no "
        "\"sliding_window\" in use");
  }
  if (!any) config.window.reset();
  return {};
}

Status read_switches(JsonValue text, HfConfig& config) {
  const bool gemma = config.family == HfFamily::kGemma3;
  const bool qwen2 = config.family == HfFamily::kQwen2;
  ONEBEAT_ASSIGN_OR_RETURN(config.attention_bias, text.optional<bool>("attention_bias", qwen2));
  config.attention_output_bias = config.attention_bias && !qwen2;
  ONEBEAT_ASSIGN_OR_RETURN(config.mlp_bias, text.optional<bool>("mlp_bias", false));
  ONEBEAT_ASSIGN_OR_RETURN(config.tied_embeddings,
                           text.optional<bool>("tie_word_embeddings", gemma));
  config.qk_norm = gemma || config.family == HfFamily::kQwen3;
  config.norm_adds_one = gemma;
  config.gelu = gemma;
  if (!gemma) return {};
  config.embedding_scale = std::sqrt(static_cast<double>(config.width));
  ONEBEAT_RETURN_IF_ERROR(read_soft_cap(text, "attn_logit_softcapping", config.attention_soft_cap));
  return read_soft_cap(text, "final_logit_softcapping", config.logit_soft_cap);
}

Status check_token(std::string_view member, std::int32_t id, const HfConfig& config) {
  if (id >= 0 && id < config.vocabulary) return {};
  return invalid_argument("{} is {}; the vocabulary has ids from 0 to {}", quoted(member), id,
                          config.vocabulary - 1);
}

Status read_tokens(JsonValue owner, HfConfig& config) {
  if (has_value(owner, "bos_token_id")) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto id, owner.required<std::int32_t>("bos_token_id"));
    ONEBEAT_RETURN_IF_ERROR(check_token("bos_token_id", id, config));
    config.bos = id;
  }
  if (!has_value(owner, "eos_token_id")) return {};
  const JsonValue eos = *owner.find("eos_token_id");
  if (!eos.is(JsonKind::kArray)) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto id, owner.required<std::int32_t>("eos_token_id"));
    config.end_tokens = {id};
  } else if (eos.size() > kMostEndTokens) {
    return invalid_argument("\"eos_token_id\" has {} ids; the limit is {}", eos.size(),
                            kMostEndTokens);
  } else {
    for (std::size_t i = 0; i < eos.size(); ++i) {
      const auto id = eos.at(i).as<std::int32_t>();
      if (!id.ok()) return id.status().with_context("\"eos_token_id\"");
      config.end_tokens.push_back(*id);
    }
  }
  for (const std::int32_t id : config.end_tokens) {
    ONEBEAT_RETURN_IF_ERROR(check_token("eos_token_id", id, config));
  }
  return {};
}

Result<HfConfig> read_root(JsonValue root) {
  if (!root.is(JsonKind::kObject)) {
    return invalid_argument("it is {}; a configuration is an object", to_string(root.kind()));
  }
  HfConfig config;
  ONEBEAT_ASSIGN_OR_RETURN(config.family, read_family(root));
  JsonValue text = root;
  if (const auto inner = root.find("text_config");
      inner && config.family == HfFamily::kGemma3 && inner->is(JsonKind::kObject)) {
    text = *inner;
  }
  ONEBEAT_RETURN_IF_ERROR(refuse_unknown_features(root, config.family));
  ONEBEAT_RETURN_IF_ERROR(refuse_unknown_features(text, config.family));
  ONEBEAT_RETURN_IF_ERROR(read_sizes(text, config));
  ONEBEAT_RETURN_IF_ERROR(read_heads(text, config));
  ONEBEAT_RETURN_IF_ERROR(read_rope(text, config));
  ONEBEAT_RETURN_IF_ERROR(read_windows(text, config));
  ONEBEAT_RETURN_IF_ERROR(read_switches(text, config));
  ONEBEAT_RETURN_IF_ERROR(read_tokens(has_value(root, "eos_token_id") ? root : text, config));
  return config;
}

}  // namespace

std::string_view gguf_architecture(HfFamily family) {
  switch (family) {
    case HfFamily::kLlama:
    case HfFamily::kMistral:
      return "llama";
    case HfFamily::kQwen2:
      return "qwen2";
    case HfFamily::kQwen3:
      return "qwen3";
    case HfFamily::kGemma3:
      return "gemma3";
  }
  return "unknown";
}

Result<HfConfig> parse_hf_config(std::string_view text, std::string_view name) {
  JsonLimits limits;
  limits.max_bytes = std::size_t{16} << 20;
  ONEBEAT_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::parse(text, name, limits));
  auto config = read_root(document.root());
  if (!config.ok()) return config.status().with_context(name);
  return config;
}

Result<HfConfig> read_hf_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  ONEBEAT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  return parse_hf_config({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()},
                         path.string());
}

}  // namespace onebeat
