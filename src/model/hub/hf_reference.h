// SPDX-License-Identifier: Apache-2.0
// Files of Hugging Face repositories by name: hf:OWNER/REPO/FILE.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "onebeat/status.h"

namespace onebeat {

struct HfReference {
  std::string owner;
  std::string repo;
  std::string file;  ///< May have folders; empty: the repository as a whole.

  /// "hf:OWNER/REPO/FILE".
  [[nodiscard]] std::string name() const;
  /// Where the file, or the repository's folder, is kept below the model folder.
  [[nodiscard]] std::filesystem::path path_below(const std::filesystem::path& models) const;
};

/// Whether a name is meant as such a reference.
[[nodiscard]] bool is_hf_reference(std::string_view name);

/// Errors: kInvalidArgument for what is not hf:OWNER/REPO or hf:OWNER/REPO/FILE of letters, digits
/// and ._-+=, or has a part that begins with a dot.
[[nodiscard]] Result<HfReference> parse_hf_reference(std::string_view name);

}  // namespace onebeat
