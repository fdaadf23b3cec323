// SPDX-License-Identifier: Apache-2.0
// The folder that keeps fetched models, and how a name given by a user becomes a path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

/// $ONEBEAT_CACHE, else $XDG_CACHE_HOME/onebeat, else ~/.cache/onebeat. It need not exist.
/// Errors: kNotFound if none of the variables (nor HOME) is set.
[[nodiscard]] Result<std::filesystem::path> model_cache_folder();

/// A model file in the cache.
struct CachedModel {
  std::string
      name;  ///< The catalogue's name, or the file's for one that the catalogue does not know.
  std::filesystem::path path;
  std::int64_t size_bytes = 0;
};

/// Every model in the folder, by name; none if the folder does not exist yet.
/// Errors: kUnavailable if the folder cannot be read.
[[nodiscard]] Result<std::vector<CachedModel>> list_cached_models(
    const std::filesystem::path& folder);

/// The path of a model given as a user gives it: a name of the catalogue (which must have been
/// fetched), hf:OWNER/REPO/FILE or, for a repository's folder, hf:OWNER/REPO, or the path of an
/// existing file or folder. A name wins over a file of the same name;
/// "./name" means the file. Errors: kNotFound naming what to do; those of model_cache_folder().
[[nodiscard]] Result<std::filesystem::path> resolve_model(const std::string& name_or_path);

}  // namespace onebeat
