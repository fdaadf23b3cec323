// SPDX-License-Identifier: Apache-2.0
// The C functions of DLPack 1.3 through which a framework hands out its tensors without a Python
// call: a capsule "dlpack_exchange_api" in the attribute __dlpack_c_exchange_api__ of the tensor's
// type (torch from 2.10 on).
#pragma once

#include <nanobind/ndarray.h>

#include <cstdint>

namespace onebeat::python {

struct DlpackManagedTensor;

struct DlpackExchangeApi {
  struct Header {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    const Header* older = nullptr;
  };
  using SetError = void (*)(void* context, const char* kind, const char* message);
  Header header;
  int (*allocate)(nanobind::dlpack::dltensor* prototype, DlpackManagedTensor** out, void* context,
                  SetError set_error);
  int (*managed_from_object)(void* object, DlpackManagedTensor** out);
  int (*object_from_managed)(DlpackManagedTensor* tensor, void** out);
  /// Borrows: shape and strides live as long as the object. May be null.
  int (*tensor_from_object)(void* object, nanobind::dlpack::dltensor* out);
  int (*current_stream)(std::int32_t device_type, std::int32_t device, void** out);
};

}  // namespace onebeat::python
