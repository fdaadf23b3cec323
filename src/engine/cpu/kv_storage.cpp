// SPDX-License-Identifier: Apache-2.0
#include "engine/cpu/kv_storage.h"

#include <cstring>

#include "base/error.h"

namespace onebeat {

Result<KvStorage> KvStorage::create(const ModelConfig& config, KvType type,
                                    std::int32_t page_tokens, std::int64_t num_pages) {
  constexpr std::int64_t kAlignment = 64;
  const std::int64_t tokens = num_pages * page_tokens;
  const auto aligned = [](std::int64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  const std::int64_t head_tokens = tokens * config.num_kv_heads;
  const std::int64_t k_bytes = aligned(head_tokens * config.head_dim * size_of(type));
  const std::int64_t v_bytes = aligned(head_tokens * config.head_dim_v * size_of(type));
  const std::int64_t bytes = config.num_layers * (k_bytes + v_bytes);

  KvStorage storage;
  auto memory = HostBuffer::create(static_cast<std::size_t>(bytes));
  if (!memory.ok()) {
    return resource_exhausted(
        "no memory for a KV cache of {} tokens ({} bytes); a smaller context needs less", tokens,
        bytes);
  }
  storage.memory_ = std::move(memory).value();
  std::byte* place = storage.memory_.data();
  for (std::int32_t layer = 0; layer < config.num_layers; ++layer, place += k_bytes + v_bytes) {
    const std::int32_t class_index = config.class_of_layer[static_cast<std::size_t>(layer)];
    storage.layers_.push_back(make_kv_pool(class_geometry(config, class_index, type, page_tokens),
                                           KvLayout::kRuns, num_pages, place, place + k_bytes));
  }
  return storage;
}

void KvStorage::copy_page(std::int32_t from, std::int32_t to) {
  // A page of one head is contiguous in this layout.
  const auto copy = [&](void* data, std::int64_t page_stride, std::int64_t head_stride,
                        std::int64_t head, std::int64_t elements, int bytes) {
    auto* begin = static_cast<std::byte*>(data) + head * head_stride * bytes;
    std::memcpy(begin + to * page_stride * bytes, begin + from * page_stride * bytes,
                static_cast<std::size_t>(elements * bytes));
  };
  for (const KvPool& pool : layers_) {
    const int bytes = size_of(pool.type);
    for (std::int64_t head = 0; head < pool.num_kv_heads; ++head) {
      copy(pool.k, pool.k_page_stride, pool.k_head_stride, head, pool.page_tokens * pool.head_dim,
           bytes);
      copy(pool.v, pool.v_page_stride, pool.v_head_stride, head, pool.page_tokens * pool.head_dim_v,
           bytes);
    }
  }
}

}  // namespace onebeat
