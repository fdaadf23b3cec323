// SPDX-License-Identifier: Apache-2.0
#include "model/formats/model_files.h"

#include <system_error>
#include <utility>

#include "base/error.h"

namespace onebeat {

Status check_model_folder(const std::filesystem::path& folder) {
  for (const char* name : {"config.json", "tokenizer.json"}) {
    std::error_code error;
    if (std::filesystem::exists(folder / name, error)) continue;
    return not_found("{} has no {}; a model's folder has config.json, tokenizer.json and weights",
                     folder.string(), name);
  }
  return {};
}

Result<ModelFiles> open_model_files(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    ONEBEAT_RETURN_IF_ERROR(check_model_folder(path));
    ONEBEAT_ASSIGN_OR_RETURN(HfConfig config, read_hf_config(path));
    ONEBEAT_ASSIGN_OR_RETURN(SafetensorsModel weights, SafetensorsModel::open(path));
    return ModelFiles(HfFolder{path, std::move(config), std::move(weights)});
  }
  if (path.extension() == ".safetensors") {
    return invalid_argument(
        "{}: a safetensors file holds weights alone; give the folder with its config.json",
        path.string());
  }
  ONEBEAT_ASSIGN_OR_RETURN(GgufFile file, GgufFile::open(path));
  return ModelFiles(std::move(file));
}

std::string name_of(const ModelFiles& files) {
  if (const auto* folder = std::get_if<HfFolder>(&files)) return folder->path.string();
  return std::get<GgufFile>(files).name();
}

}  // namespace onebeat
