// SPDX-License-Identifier: Apache-2.0
#include "errors.h"

#include <nanobind/nanobind.h>

#include <string>

namespace nb = nanobind;

namespace onebeat::python {
namespace {

nb::module_ errors_module() {
  return nb::module_::import_("onebeat.errors");
}

}  // namespace

void raise_failure(const Status& status) {
  const std::string code(to_string(status.code()));
  const nb::object type = errors_module().attr("OF_CODE")[code.c_str()];
  PyErr_SetString(type.ptr(), status.message().c_str());
  throw nb::python_error();
}

void raise_error(const char* type, const std::string& message) {
  const nb::object exception = errors_module().attr(type);
  PyErr_SetString(exception.ptr(), message.c_str());
  throw nb::python_error();
}

}  // namespace onebeat::python
