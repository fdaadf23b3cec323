// SPDX-License-Identifier: Apache-2.0
#include "model/hub/model_cache.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "base/error.h"
#include "model/hub/catalog.h"
#include "model/hub/hf_reference.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string name_of_file(const std::string& file_name) {
  for (const CatalogModel& model : catalog()) {
    if (model.file_name == file_name) return std::string(model.name);
  }
  return file_name;
}

/// What was fetched from repositories: each GGUF file, and each repository with a config.json.
void add_hf_models(const fs::path& hf, std::vector<CachedModel>& models) {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(hf, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    const fs::path& path = entry->path();
    if (!entry->is_regular_file(ignored) || path.filename().string().starts_with('.')) continue;
    const bool folder = path.filename() == "config.json" && entry.depth() == 2;
    if (path.extension() != ".gguf" && !folder) continue;
    const fs::path model = folder ? path.parent_path() : path;
    const std::string name = "hf:" + fs::relative(model, hf, ignored).generic_string();
    std::int64_t size = 0;
    if (folder) {
      for (const auto& file : fs::directory_iterator(model, ignored)) {
        std::error_code vanished;
        const auto bytes = file.is_regular_file(vanished) ? file.file_size(vanished) : 0;
        if (!vanished) size += static_cast<std::int64_t>(bytes);
      }
    } else {
      size = static_cast<std::int64_t>(entry->file_size(ignored));
    }
    if (!ignored) models.push_back({name, model, size});
  }
}

}  // namespace

Result<fs::path> model_cache_folder() {
  if (const std::string folder = variable("ONEBEAT_CACHE"); !folder.empty())
    return fs::path(folder);
  // The XDG specification: a relative path there is invalid and to be ignored.
  if (const fs::path folder = variable("XDG_CACHE_HOME"); folder.is_absolute()) {
    return folder / "onebeat";
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    return fs::path(home) / ".cache" / "onebeat";
  }
  return not_found(
      "no folder for models: set ONEBEAT_CACHE (XDG_CACHE_HOME and HOME are not set either)");
}

Result<std::vector<CachedModel>> list_cached_models(const fs::path& folder) {
  std::vector<CachedModel> models;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  if (error == std::errc::no_such_file_or_directory) return models;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code ignored;  // A file that vanishes meanwhile is simply not listed.
    if (path.extension() != ".gguf" || !entry->is_regular_file(ignored)) continue;
    const auto size = entry->file_size(ignored);
    if (ignored) continue;
    models.push_back(
        {name_of_file(path.filename().string()), path, static_cast<std::int64_t>(size)});
  }
  if (error) {
    return unavailable("cannot read the model folder {}: {}; ONEBEAT_CACHE names another",
                       folder.string(), error.message());
  }
  add_hf_models(folder / "hf", models);
  std::sort(models.begin(), models.end(),
            [](const CachedModel& a, const CachedModel& b) { return a.name < b.name; });
  return models;
}

Result<fs::path> resolve_model(const std::string& name_or_path) {
  std::error_code error;
  if (const CatalogModel* model = find_in_catalog(name_or_path)) {
    ONEBEAT_ASSIGN_OR_RETURN(const fs::path folder, model_cache_folder());
    fs::path path = folder / model->file_name;
    if (fs::exists(path, error)) return path;
    if (error) {
      return unavailable("cannot read the model folder {}: {}; ONEBEAT_CACHE names another",
                         folder.string(), error.message());
    }
    return not_found("model '{}' has not been fetched yet; run: onebeat pull {}", name_or_path,
                     name_or_path);
  }
  if (is_hf_reference(name_or_path)) {
    ONEBEAT_ASSIGN_OR_RETURN(const HfReference reference, parse_hf_reference(name_or_path));
    ONEBEAT_ASSIGN_OR_RETURN(const fs::path folder, model_cache_folder());
    fs::path path = reference.path_below(folder);
    if (fs::exists(path, error)) return path;
    return not_found("{} has not been fetched yet; run: onebeat pull {}", reference.name(),
                     reference.file.empty() ? reference.name() + "/FILE, for each of its files"
                                            : reference.name());
  }
  if (!name_or_path.empty() && fs::exists(name_or_path, error)) return fs::path(name_or_path);
  return not_found("no model '{}': there is no such file or folder, and the known names are: {}",
                   name_or_path, catalog_names());
}

}  // namespace onebeat
