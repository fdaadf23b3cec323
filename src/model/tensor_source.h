// SPDX-License-Identifier: Apache-2.0
// TensorSource: the tensors of a model file by name, each checked against the shape that the
// metadata implies.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/formats/gguf.h"
#include "model/layer_ops.h"

namespace onebeat {

/// Borrows the file.
class TensorSource {
 public:
  explicit TensorSource(const GgufFile& file) : file_(file) {}

  [[nodiscard]] bool has(std::string_view name) const { return file_.find_tensor(name) != nullptr; }
  /// Errors: kDataLoss if the tensor is missing or is no [rows, cols]; kUnsupported naming its
  /// quantisation.
  [[nodiscard]] Result<WeightView> matrix(std::string_view name, std::int64_t rows,
                                          std::int64_t cols) const;
  /// The same, expanded to fp32.
  [[nodiscard]] Result<std::vector<float>> vector(std::string_view name,
                                                  std::int64_t elements) const;
  /// `stem`.weight, and `stem`.bias where the file has one.
  [[nodiscard]] Result<LinearWeight> linear(const std::string& stem, std::int64_t rows,
                                            std::int64_t cols) const;

 private:
  const GgufFile& file_;
};

}  // namespace onebeat
