// SPDX-License-Identifier: Apache-2.0
// The parts of the module onebeat._onebeat. Each adds its classes and functions to `module`.
#pragma once

#include <nanobind/nanobind.h>

namespace onebeat::python {

void bind_engine(nanobind::module_& module);
void bind_geometry(nanobind::module_& module);
void bind_plan(nanobind::module_& module);
void bind_attention(nanobind::module_& module);
void bind_flash(nanobind::module_& module);
void bind_sglang(nanobind::module_& module);
void bind_step(nanobind::module_& module);

}  // namespace onebeat::python
