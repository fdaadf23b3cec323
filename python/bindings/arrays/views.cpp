// SPDX-License-Identifier: Apache-2.0
#include "arrays/views.h"

#include <cstdint>

#include "errors.h"

namespace nb = nanobind;

namespace onebeat::python {

IndexArray index_array(const Tensor& tensor) {
  if (tensor.empty()) return {};
  tensor.require_rank(1);
  tensor.require_integers();
  return {tensor.data<const void>(), tensor.size(0), tensor.stride(0),
          tensor.element() == Element::kI64 ? IndexType::kI64 : IndexType::kI32};
}

IndexTable index_table(const Tensor& tensor) {
  if (tensor.empty()) return {};
  tensor.require_rank(2);
  tensor.require_integers();
  return {tensor.data<const void>(),
          tensor.size(0),
          tensor.size(1),
          tensor.stride(0),
          tensor.stride(1),
          tensor.element() == Element::kI64 ? IndexType::kI64 : IndexType::kI32};
}

IntArray int_array(const Tensor& tensor) {
  if (tensor.empty()) return {};
  tensor.require_rank(1);
  tensor.require_element(Element::kI32);
  return {tensor.data<std::int32_t>(), tensor.size(0), tensor.stride(0)};
}

IntTable int_table(const Tensor& tensor) {
  if (tensor.empty()) return {};
  tensor.require_rank(2);
  tensor.require_element(Element::kI32);
  return {tensor.data<std::int32_t>(), tensor.size(0), tensor.size(1), tensor.stride(0),
          tensor.stride(1)};
}

void* stream_of(nb::handle stream, const Tensor& tensor) {
  if (stream.is_none()) return tensor.current_stream();
  nb::object number = nb::borrow(stream);
  if (nb::hasattr(stream, "cuda_stream")) number = stream.attr("cuda_stream");
  if (nb::hasattr(stream, "ptr")) number = stream.attr("ptr");
  std::uintptr_t value = 0;
  if (!nb::try_cast(number, value)) {
    raise_error("WrongTypeError",
                "stream must be None, the number of a CUDA stream, or a stream of torch or CuPy");
  }
  return reinterpret_cast<void*>(value);
}

}  // namespace onebeat::python
