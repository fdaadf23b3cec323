// SPDX-License-Identifier: Apache-2.0
// The files of a model, opened once for all that is read from them: weights, tokenizer, template.
#pragma once

#include <filesystem>
#include <string>
#include <variant>

#include "model/formats/gguf.h"
#include "model/formats/hf_config.h"
#include "model/formats/safetensors.h"
#include "onebeat/status.h"

namespace onebeat {

/// A folder as Hugging Face lays it out: config.json, safetensors weights, tokenizer.json.
struct HfFolder {
  std::filesystem::path path;
  HfConfig config;
  SafetensorsModel weights;
};

/// One of the two formats. Moving it keeps the addresses of what was read.
using ModelFiles = std::variant<GgufFile, HfFolder>;

/// kNotFound if config.json or tokenizer.json is missing; their content is not looked at.
[[nodiscard]] Status check_model_folder(const std::filesystem::path& folder);

/// Opens a folder with config.json and safetensors weights, or a GGUF file. Errors: those of
/// read_hf_config and SafetensorsModel::open, or of GgufFile::open; kNotFound if a file of the
/// folder is missing, kInvalidArgument for a .safetensors file, whose folder is wanted.
[[nodiscard]] Result<ModelFiles> open_model_files(const std::filesystem::path& path);

/// The path that was opened, for messages.
[[nodiscard]] std::string name_of(const ModelFiles& files);

}  // namespace onebeat
