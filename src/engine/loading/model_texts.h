// SPDX-License-Identifier: Apache-2.0
// What a model's files say about texts, whichever format they have.
#pragma once

#include <filesystem>
#include <string>

#include "model/formats/model_files.h"
#include "onebeat/status.h"
#include "text/tokenizer.h"

namespace onebeat {

/// The tokenizer of files that are open. Errors: those of the format's make_tokenizer().
[[nodiscard]] Result<Tokenizer> make_tokenizer(const ModelFiles& files);

/// The tokenizer of the model at a path, without its weights where they are files of their own.
/// Errors: those of GgufFile::open or MappedFile::open, and of make_tokenizer().
[[nodiscard]] Result<Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// The source of the model's chat template: in GGUF's metadata, or chat_template.jinja or
/// "chat_template" of tokenizer_config.json; of several by name, the one called "default". Empty if
/// there is none. Errors: what is there but cannot be read, by name.
[[nodiscard]] Result<std::string> read_chat_template(const ModelFiles& files);

}  // namespace onebeat
