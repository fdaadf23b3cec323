// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_source.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "ops/cpu/linear_kernels.h"

namespace onebeat {

Status TensorSource::require(std::string_view name) const {
  if (has(name)) return Status();
  return data_loss("{}: the tensor {} is missing", opened(), name_in_file(name));
}

Result<WeightView> TensorSource::checked(std::string_view name, std::int64_t rows,
                                         std::int64_t cols) {
  ONEBEAT_RETURN_IF_ERROR(require(name));
  const std::optional<Found> tensor = find(name);
  // Extents of 1 beyond the matrix mean nothing; a vector is a matrix of one row.
  std::vector<std::uint64_t> implied = {static_cast<std::uint64_t>(rows),
                                        static_cast<std::uint64_t>(cols)};
  std::vector<std::uint64_t> shape = tensor->shape;
  if (tensor->fastest_first) std::reverse(shape.begin(), shape.end());
  while (shape.size() > 2 && shape.front() == 1) shape.erase(shape.begin());
  while (shape.size() < 2) shape.insert(shape.begin(), 1);
  if (shape != implied) {
    if (tensor->fastest_first) std::reverse(implied.begin(), implied.end());
    return data_loss("{}: the tensor {} is [{}]; the metadata imply [{}]", opened(), tensor->name,
                     fmt::join(tensor->shape, ", "), fmt::join(implied, ", "));
  }
  if (!tensor->type.has_value()) {
    return unsupported("{}: the tensor {} is quantised as {}, which is not implemented", opened(),
                       tensor->name, tensor->type_name);
  }
  Result<WeightView> view = make_weight_view(*tensor->type, rows, cols, tensor->bytes);
  if (!view.ok()) {
    return view.status().with_context(fmt::format("{}: the tensor {}", opened(), tensor->name));
  }
  used_.emplace(tensor->name);
  return view;
}

Result<WeightView> TensorSource::matrix(std::string_view name, std::int64_t rows,
                                        std::int64_t cols) {
  ONEBEAT_ASSIGN_OR_RETURN(const WeightView view, checked(name, rows, cols));
  return table_as_matrix(view);
}

Result<WeightView> TensorSource::table_as_matrix(const WeightView& table) {
  bytes_per_pass_ += table.size_bytes();
  if (packer_ != nullptr) return packer_->pack(table);
  return table;
}

Result<WeightView> TensorSource::table(std::string_view name, std::int64_t rows,
                                       std::int64_t cols) {
  ONEBEAT_ASSIGN_OR_RETURN(const WeightView view, checked(name, rows, cols));
  bytes_per_pass_ += view.row_bytes();
  return view;
}

Result<std::vector<float>> TensorSource::vector(std::string_view name, std::int64_t elements) {
  ONEBEAT_ASSIGN_OR_RETURN(const WeightView view, checked(name, 1, elements));
  std::vector<float> values(static_cast<std::size_t>(elements));
  linear_kernels(CpuIsa::kPortable).expand_row(view.type, view.bytes, view.cols, values.data());
  bytes_per_pass_ += elements * static_cast<std::int64_t>(sizeof(float));
  return values;
}

Result<std::vector<float>> TensorSource::norm(std::string_view name, std::int64_t elements) {
  ONEBEAT_ASSIGN_OR_RETURN(std::vector<float> gains, vector(name, elements));
  for (float& gain : gains) gain += norm_offset();
  return gains;
}

Result<LinearWeight> TensorSource::linear(const std::string& stem, std::int64_t rows,
                                          std::int64_t cols) {
  LinearWeight weight;
  ONEBEAT_ASSIGN_OR_RETURN(weight.matrix, matrix(stem + ".weight", rows, cols));
  if (has(stem + ".bias")) {
    ONEBEAT_ASSIGN_OR_RETURN(weight.bias, vector(stem + ".bias", rows));
  }
  return weight;
}

Status TensorSource::check_all_used() const {
  for (const std::string_view name : expected()) {
    if (used_.contains(name)) continue;
    return unsupported("{}: the tensor {} has no place in a model of this architecture", opened(),
                       name);
  }
  return Status();
}

}  // namespace onebeat
