// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_source.h"

#include <fmt/ranges.h>

#include <optional>

#include "base/error.h"
#include "ops/cpu/linear_kernels.h"

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

Result<WeightView> TensorSource::matrix(std::string_view name, std::int64_t rows,
                                        std::int64_t cols) const {
  const GgufTensor* tensor = file_.find_tensor(name);
  if (tensor == nullptr) return data_loss("{}: the tensor {} is missing", file_.name(), name);
  // The file names the fastest-running extent first; trailing extents of 1 mean nothing.
  const auto extent = [&](std::size_t i) {
    return i < tensor->shape.size() ? tensor->shape[i] : std::uint64_t{1};
  };
  if (extent(0) != static_cast<std::uint64_t>(cols) ||
      extent(1) != static_cast<std::uint64_t>(rows) || extent(2) != 1 || extent(3) != 1) {
    return data_loss("{}: the tensor {} is [{}]; the metadata imply [{}, {}]", file_.name(), name,
                     fmt::join(tensor->shape, ", "), cols, rows);
  }
  const std::optional<WeightType> type = weight_type(tensor->type);
  if (!type.has_value()) {
    return unsupported("{}: the tensor {} is quantised as {}, which is not implemented",
                       file_.name(), name, ggml_type_info(tensor->type).name);
  }
  Result<WeightView> view = make_weight_view(*type, rows, cols, tensor->bytes);
  if (!view.ok())
    return view.status().with_context(file_.name() + ": the tensor " + std::string(name));
  return view;
}

Result<std::vector<float>> TensorSource::vector(std::string_view name,
                                                std::int64_t elements) const {
  ONEBEAT_ASSIGN_OR_RETURN(const WeightView view, matrix(name, 1, elements));
  std::vector<float> values(static_cast<std::size_t>(elements));
  linear_kernels(CpuIsa::kPortable).expand_row(view.type, view.bytes, view.cols, values.data());
  return values;
}

Result<LinearWeight> TensorSource::linear(const std::string& stem, std::int64_t rows,
                                          std::int64_t cols) const {
  LinearWeight weight;
  ONEBEAT_ASSIGN_OR_RETURN(weight.matrix, matrix(stem + ".weight", rows, cols));
  if (has(stem + ".bias")) {
    ONEBEAT_ASSIGN_OR_RETURN(weight.bias, vector(stem + ".bias", rows));
  }
  return weight;
}

}  // namespace onebeat
