// SPDX-License-Identifier: Apache-2.0
// The `qwen2` family: Qwen2 and Qwen2.5. As `llama`, with biases on queries, keys and values.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/tensor_source.h"

namespace onebeat {

/// Errors: those of TensorSource.
[[nodiscard]] Result<std::unique_ptr<ModelFamily>> make_qwen2(const ModelConfig& config,
                                                              TensorSource& tensors);

}  // namespace onebeat
