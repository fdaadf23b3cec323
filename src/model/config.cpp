// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace onebeat {

namespace {

constexpr std::string_view kArchitectures[] = {"llama", "qwen2", "qwen3", "gemma3"};

}  // namespace

std::string supported_architectures() {
  return fmt::format("{}", fmt::join(kArchitectures, ", "));
}

bool is_supported_architecture(std::string_view name) {
  return std::find(std::begin(kArchitectures), std::end(kArchitectures), name) !=
         std::end(kArchitectures);
}

void set_classes(ModelConfig& config, const AttentionClassConfig& full,
                 const AttentionClassConfig& local, const std::vector<bool>& windowed) {
  std::int32_t class_of_kind[] = {-1, -1};
  for (const bool is_windowed : windowed) {
    std::int32_t& index = class_of_kind[is_windowed ? 1 : 0];
    if (index < 0) {
      index = static_cast<std::int32_t>(config.classes.size());
      config.classes.push_back(is_windowed ? local : full);
    }
    config.class_of_layer.push_back(index);
  }
}

Status validate_classes(const ModelConfig& config) {
  for (std::size_t c = 0; c < config.classes.size(); ++c) {
    ONEBEAT_RETURN_IF_ERROR(
        validate(class_geometry(config, static_cast<std::int32_t>(c), KvType::kF32, 16)));
  }
  return Status();
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
