// SPDX-License-Identifier: Apache-2.0
// Figures of other libraries that are stored in bench/peers/, as text in the binary.
#pragma once

#include <string_view>

namespace onebeat::cli {

/// bench/peers/h200_decode_attention.csv, the first line its column names.
[[nodiscard]] std::string_view stored_decode_attention_figures();

}  // namespace onebeat::cli
