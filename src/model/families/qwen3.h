// SPDX-License-Identifier: Apache-2.0
// The `qwen3` family: as `llama`, with queries and keys normalised head by head.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/tensor_source.h"

namespace onebeat {

/// Errors: those of TensorSource.
[[nodiscard]] Result<std::unique_ptr<ModelFamily>> make_qwen3(const ModelConfig& config,
                                                              TensorSource& tensors);

}  // namespace onebeat
