// SPDX-License-Identifier: Apache-2.0
// The tokenizer that a GGUF file describes.
#pragma once

#include "model/formats/gguf.h"
#include "onebeat/status.h"
#include "text/tokenizer.h"

namespace onebeat {

/// Makes the tokenizer from the file's metadata; the file is not needed afterwards. Generation ends
/// at the tokens that the file names for the end of a sequence, a turn or a message, and at control
/// tokens that are known to mean that. Errors: kNotFound and kInvalidArgument name the metadata;
/// those of Tokenizer::make, with the file's name.
[[nodiscard]] Result<Tokenizer> make_tokenizer(const GgufFile& file);

}  // namespace onebeat
