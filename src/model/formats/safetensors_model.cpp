// SPDX-License-Identifier: Apache-2.0
// A folder of weights. The index is a stranger's file: it may name files of its own folder only.
#include <algorithm>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"
#include "json/json.h"
#include "model/formats/safetensors.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kExtension = ".safetensors";
constexpr std::size_t kMaxShards = 4096;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// A shard's name must be that of a file in the same folder, whatever the system makes of names.
Status check_shard_name(std::string_view name) {
  const bool plain = name.size() <= 255 && name.size() > kExtension.size() &&
                     name.ends_with(kExtension) && name.front() != '.' &&
                     name.find_first_of(std::string_view("/\\:\0", 4)) == std::string_view::npos;
  if (plain) return {};
  return data_loss("{} is not the plain name of a .safetensors file in the same folder",
                   quoted(name));
}

/// Which tensor is where: sorted by tensor.
struct Placement {
  std::string_view tensor;
  std::uint32_t shard = 0;
};

struct Index {
  std::vector<std::string_view> shards;  // Sorted.
  std::vector<Placement> placements;
};

Result<Index> read_index(JsonValue root) {
  const auto map = root.find("weight_map");
  if (!map || !map->is(JsonKind::kObject)) {
    return data_loss("\"weight_map\" must be an object that gives a file for each tensor");
  }
  if (map->size() == 0) return data_loss("\"weight_map\" is empty");
  Index index;
  for (std::size_t i = 0; i < map->size(); ++i) {
    const auto shard = map->at(i).as<std::string_view>();
    if (!shard.ok()) return data_loss("{}: {}", quoted(map->name(i)), shard.status().message());
    index.shards.push_back(*shard);
  }
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  if (index.shards.size() > kMaxShards) {
    return data_loss("{} shards; the limit is {}", index.shards.size(), kMaxShards);
  }
  for (const std::string_view shard : index.shards) {
    ONEBEAT_RETURN_IF_ERROR(check_shard_name(shard));
  }
  for (std::size_t i = 0; i < map->size(); ++i) {
    const auto shard = std::lower_bound(index.shards.begin(), index.shards.end(),
                                        *map->at(i).as<std::string_view>());
    index.placements.push_back(
        {map->name(i), static_cast<std::uint32_t>(shard - index.shards.begin())});
  }
  return index;
}

}  // namespace

Result<SafetensorsModel> SafetensorsModel::open(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return open_single(path);
  if (is_there(path / kSingle)) return open_single(path / kSingle);
  if (is_there(path / kIndex)) return open_sharded(path, path / kIndex);
  return not_found("{}: there is neither {} nor {}", path.string(), kSingle, kIndex);
}

Result<SafetensorsModel> SafetensorsModel::open_single(const fs::path& path) {
  SafetensorsModel model;
  model.name_ = path.string();
  ONEBEAT_ASSIGN_OR_RETURN(auto file, SafetensorsFile::open(path));
  model.files_.push_back(std::move(file));
  for (const SafetensorsTensor& tensor : model.files_[0].tensors()) {
    model.tensors_.push_back(&tensor);
  }
  return model;
}

Result<SafetensorsModel> SafetensorsModel::open_sharded(const fs::path& folder,
                                                        const fs::path& index_path) {
  SafetensorsModel model;
  model.name_ = folder.string();
  const std::string name = index_path.string();
  ONEBEAT_ASSIGN_OR_RETURN(const MappedFile mapping, MappedFile::open(index_path));
  const std::string_view text(reinterpret_cast<const char*>(mapping.bytes().data()),
                              mapping.bytes().size());
  ONEBEAT_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::parse(text, name));
  auto index = read_index(document.root());
  if (!index.ok()) return index.status().with_context(name);

  model.files_.reserve(index->shards.size());
  for (const std::string_view shard : index->shards) {
    auto file = SafetensorsFile::open(folder / shard);
    if (!file.ok()) return file.status().with_context(name);
    model.files_.push_back(std::move(*file));
  }
  for (const Placement& placement : index->placements) {
    const SafetensorsTensor* tensor = model.files_[placement.shard].find_tensor(placement.tensor);
    if (tensor == nullptr) {
      return data_loss("{}: tensor {} is not in {}, where the index places it", name,
                       quoted(placement.tensor), index->shards[placement.shard]);
    }
    model.tensors_.push_back(tensor);
  }
  return model;
}

const SafetensorsTensor* SafetensorsModel::find_tensor(std::string_view name) const {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const SafetensorsTensor* tensor, std::string_view wanted) {
                                        return tensor->name < wanted;
                                      });
  return found == tensors_.end() || (*found)->name != name ? nullptr : *found;
}

}  // namespace onebeat
