// SPDX-License-Identifier: Apache-2.0
// Tensors as the views that the C++ API takes. Each throws the fitting exception, naming the
// argument.
#pragma once

#include <nanobind/nanobind.h>

#include "arrays/tensor.h"
#include "onebeat/step.h"

namespace onebeat::python {

[[nodiscard]] IndexArray index_array(const Tensor& tensor);
[[nodiscard]] IndexTable index_table(const Tensor& tensor);
/// None gives the view that means "not wanted".
[[nodiscard]] IntArray int_array(const Tensor& tensor);
[[nodiscard]] IntTable int_table(const Tensor& tensor);

/// The stream that `stream` names (a number, torch.cuda.Stream, cupy.cuda.Stream); None: the one
/// that the framework of `tensor` works on.
[[nodiscard]] void* stream_of(nanobind::handle stream, const Tensor& tensor);

}  // namespace onebeat::python
