// SPDX-License-Identifier: Apache-2.0
// The pool is part of the public interface: callers of the CPU kernels make one.
#pragma once

#include "onebeat/thread_pool.h"  // IWYU pragma: export
