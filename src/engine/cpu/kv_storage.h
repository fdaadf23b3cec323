// SPDX-License-Identifier: Apache-2.0
// KvStorage: the bytes of the KV cache in host memory.
#pragma once

#include <vector>

#include "device/host_buffer.h"
#include "model/config.h"
#include "onebeat/attention.h"

namespace onebeat {

class KvStorage {
 public:
  /// Room for `num_pages` pages of every layer. Memory is taken from the system as pages are first
  /// written. Errors: kResourceExhausted with the bytes.
  [[nodiscard]] static Result<KvStorage> create(const ModelConfig& config, KvType type,
                                                std::int32_t page_tokens, std::int64_t num_pages);

  /// Copies K and V of one page to another, in all layers.
  void copy_page(std::int32_t from, std::int32_t to);

  /// One pool for each layer.
  [[nodiscard]] const std::vector<KvPool>& layers() const { return layers_; }

 private:
  HostBuffer memory_;
  std::vector<KvPool> layers_;
};

}  // namespace onebeat
