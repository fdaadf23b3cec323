// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: no text may harm the reader of config.json, and what it accepts keeps its word.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/formats/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = onebeat::parse_hf_config(text, "fuzz");
  if (!config.ok()) return 0;
  const bool sizes = config->num_layers >= 1 && config->width >= 1 && config->feed_forward >= 1 &&
                     config->vocabulary >= 1 && config->context_tokens >= 1 &&
                     config->num_kv_heads >= 1 && config->num_heads % config->num_kv_heads == 0 &&
                     config->head_dim >= 2 && config->head_dim % 2 == 0;
  const bool numbers = std::isfinite(config->rope_theta) && config->rope_theta > 0 &&
                       std::isfinite(config->rope_local_theta) && config->rope_local_theta > 0 &&
                       std::isfinite(config->score_scale) && config->score_scale > 0 &&
                       std::isfinite(config->rope_scaling.factor) && config->norm_epsilon >= 0 &&
                       config->norm_epsilon < 1;
  const bool layers =
      config->layer_has_window.size() == static_cast<std::size_t>(config->num_layers);
  if (!sizes || !numbers || !layers) __builtin_trap();
  return 0;
}
