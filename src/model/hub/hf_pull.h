// SPDX-License-Identifier: Apache-2.0
// Fetches a file of a Hugging Face repository into the model folder.
#pragma once

#include <filesystem>
#include <string>

#include "model/hub/hf_reference.h"
#include "model/hub/pull.h"
#include "onebeat/status.h"

namespace onebeat {

struct HfPullOptions {
  std::string endpoint = "https://huggingface.co";  ///< A server with the same paths.
  std::string token;  ///< Sent to the endpoint alone, and never over plain http to another machine.
  std::function<bool(const PullProgress&)> progress;  ///< As in PullOptions.
};

/// Makes sure that the model folder holds the file and returns its path. The file's checksum comes
/// from the server's ETag: the SHA-256 of a large file, git's name of a small one. A file that is
/// there already and has it is kept. A download that was cut off is gone on with, also by a later
/// call, as long as the server still has the same file; one that turns out wrong is removed.
/// Errors: kInvalidArgument (endpoint, token, a reference without a file); kNotFound, kUnavailable
/// (refused, no connection, a server that names no checksum, another pull of the same file);
/// kResourceExhausted (disk full); kDataLoss (not the file that the server named); kCancelled.
[[nodiscard]] Result<std::filesystem::path> pull_hf_file(const HfReference& reference,
                                                         const std::filesystem::path& folder,
                                                         const HfPullOptions& options);

}  // namespace onebeat
