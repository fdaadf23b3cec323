// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_capability.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <charconv>
#include <cstddef>

#include "base/error.h"
#include "device/cuda_status.h"

namespace onebeat {
namespace {

/// Calls visit(word) for each of the words that commas divide, until it returns true.
template <typename Visit>
bool any_word(std::string_view words, Visit&& visit) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(','), words.size());
    if (end > 0 && visit(words.substr(0, end))) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

bool architecture_serves(std::string_view word, int capability) {
  int built = 0;
  const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), built);
  if (error != std::errc()) return false;
  const std::string_view suffix(rest, static_cast<std::size_t>(word.data() + word.size() - rest));
  if (!suffix.empty() && suffix.front() != '-') return capability == built;
  const bool as_code = suffix != "-virtual";
  const bool as_ptx = suffix != "-real";
  return (as_code && capability / 10 == built / 10 && capability >= built) ||
         (as_ptx && capability >= built);
}

}  // namespace

Result<CudaCapability> current_capability() {
  int device = 0;
  CudaCapability capability;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&capability.major, cudaDevAttrComputeCapabilityMajor, device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&capability.minor, cudaDevAttrComputeCapabilityMinor, device));
  return capability;
}

bool architectures_serve(std::string_view architectures, CudaCapability device) {
  return any_word(architectures, [&](std::string_view word) {
    return architecture_serves(word, 10 * device.major + device.minor);
  });
}

std::string built_architectures() {
  std::string names;
  any_word(ONEBEAT_CUDA_ARCHITECTURES, [&](std::string_view word) {
    if (!names.empty()) names += ", ";
    names += "sm_";
    names += word.substr(0, word.find('-'));
    return false;
  });
  return names;
}

Status check_capability(CudaCapability device) {
  if (architectures_serve(ONEBEAT_CUDA_ARCHITECTURES, device)) return {};
  return unsupported("the device has compute capability {}.{}; this build has kernels for {} only",
                     device.major, device.minor, built_architectures());
}

}  // namespace onebeat
