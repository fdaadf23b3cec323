// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_source.h"

namespace onebeat {
namespace {

/// Nothing if products with this type are not implemented.
std::optional<WeightType> weight_type(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return WeightType::kF32;
    case GgmlType::kF16:
      return WeightType::kF16;
    case GgmlType::kBF16:
      return WeightType::kBF16;
    case GgmlType::kQ8_0:
      return WeightType::kQ8_0;
    case GgmlType::kQ4_0:
      return WeightType::kQ4_0;
    case GgmlType::kQ4_1:
      return WeightType::kQ4_1;
    case GgmlType::kQ5_0:
      return WeightType::kQ5_0;
    case GgmlType::kQ5_1:
      return WeightType::kQ5_1;
    case GgmlType::kQ4_K:
      return WeightType::kQ4_K;
    case GgmlType::kQ5_K:
      return WeightType::kQ5_K;
    case GgmlType::kQ6_K:
      return WeightType::kQ6_K;
  }
  return std::nullopt;
}

}  // namespace

std::optional<TensorSource::Found> GgufTensors::find(std::string_view name) const {
  const GgufTensor* tensor = file_.find_tensor(name);
  if (tensor == nullptr) return std::nullopt;
  return Found{tensor->name,
               weight_type(tensor->type),
               ggml_type_info(tensor->type).name,
               tensor->shape,
               true,
               tensor->bytes};
}

std::vector<std::string_view> GgufTensors::expected() const {
  std::vector<std::string_view> names;
  for (const GgufTensor& tensor : file_.tensors()) {
    // Converters repeat what the metadata say of the rotary frequencies in each layer.
    const bool repeated = tensor.name.ends_with(".rope_freqs.weight") ||
                          tensor.name.ends_with("attn_rot_embd.weight");
    if (tensor.name.starts_with("blk.") && !repeated) names.push_back(tensor.name);
  }
  return names;
}

}  // namespace onebeat
