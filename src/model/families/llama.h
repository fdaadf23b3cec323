// SPDX-License-Identifier: Apache-2.0
// The `llama` family: Llama 2 and 3, SmolLM2, Mistral.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/tensor_source.h"

namespace onebeat {

/// Errors: those of TensorSource.
[[nodiscard]] Result<std::unique_ptr<ModelFamily>> make_llama(const ModelConfig& config,
                                                              TensorSource& tensors);

}  // namespace onebeat
