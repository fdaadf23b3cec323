// SPDX-License-Identifier: Apache-2.0
// The module onebeat._onebeat. The package around it (python/onebeat) is what people use.
#include "bindings.h"

namespace nb = nanobind;

namespace onebeat::python {
namespace {

constexpr bool kWithCuda =
#ifdef ONEBEAT_WITH_CUDA
    true;
#else
    false;
#endif

}  // namespace
}  // namespace onebeat::python

NB_MODULE(_onebeat, module) {
  module.doc() = "The C++ side of the package onebeat.";
  module.attr("with_cuda") = onebeat::python::kWithCuda;
  onebeat::python::bind_engine(module);
  onebeat::python::bind_geometry(module);
  onebeat::python::bind_plan(module);
  onebeat::python::bind_step(module);
  onebeat::python::bind_attention(module);
  onebeat::python::bind_flash(module);
  onebeat::python::bind_sglang(module);
}
