// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

namespace onebeat {

/// Control tokens that end a reply in the families that are read here, whether or not a model's
/// files say so.
inline constexpr auto kEndTexts =
    std::to_array<std::string_view>({"<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>",
                                     "<|eom_id|>", "<end_of_turn>"});

}  // namespace onebeat
