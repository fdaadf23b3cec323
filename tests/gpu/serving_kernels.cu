// SPDX-License-Identifier: Apache-2.0
#include "device/dependent_launch.cuh"
#include "serving_kernels.h"

namespace onebeat::gpu_test {
namespace {

__global__ void append_tokens(Append a) {
  cuda::wait_for_predecessors();
  cuda::let_dependents_start();
  const int token = static_cast<int>(blockIdx.x);
  const int active = min(max(*a.num_active, 0), a.most_requests);
  if (token >= a.query_begin[active]) return;
  const std::int64_t slot = a.slots[token];
  if (slot < 0) return;
  const std::int64_t page = slot / a.pool.page_tokens;
  const std::int64_t offset = slot % a.pool.page_tokens;
  const int elements = a.pool.num_kv_heads * a.pool.head_dim;
  auto* k = static_cast<std::uint16_t*>(a.pool.k);
  auto* v = static_cast<std::uint16_t*>(a.pool.v);
  for (int i = static_cast<int>(threadIdx.x); i < elements; i += static_cast<int>(blockDim.x)) {
    const std::int64_t head = i / a.pool.head_dim;
    const std::int64_t d = i % a.pool.head_dim;
    const std::int64_t from = std::int64_t{token} * elements + i;
    k[page * a.pool.k_page_stride + offset * a.pool.k_token_stride + head * a.pool.k_head_stride +
      d] = a.k[from];
    v[page * a.pool.v_page_stride + offset * a.pool.v_token_stride + head * a.pool.v_head_stride +
      d] = a.v[from];
  }
}

__global__ void advance_lengths(Advance a) {
  cuda::wait_for_predecessors();
  cuda::let_dependents_start();
  const int active = min(max(*a.num_active, 0), a.most_requests);
  for (int b = static_cast<int>(threadIdx.x); b < active; b += static_cast<int>(blockDim.x)) {
    const int row = a.rows_of[b];
    if (row >= 0 && row < a.num_rows) a.lens[row] = a.out_lens[b];
  }
}

__global__ void __launch_bounds__(1024) make_noise(std::uint32_t seed, unsigned most_ns) {
  std::uint32_t x = (seed * 2654435761u) ^ ((blockIdx.x + 1) * 2246822519u);
  x = (x ^ (x >> 15)) * 2654435761u;
  const unsigned ns = x % most_ns;
  std::uint64_t begin = 0;
  std::uint64_t now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - begin < ns);
}

cudaError_t launch(const void* kernel, int blocks, int threads, void** arguments, bool programmatic,
                   cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = programmatic ? 1 : 0;
  return cudaLaunchKernelExC(&config, kernel, arguments);
}

}  // namespace

cudaError_t launch_append(const Append& append, std::int32_t most_tokens, bool programmatic,
                          cudaStream_t stream) {
  Append copy = append;
  void* arguments[] = {&copy};
  return launch(reinterpret_cast<const void*>(append_tokens), most_tokens, 128, arguments,
                programmatic, stream);
}

cudaError_t launch_advance(const Advance& advance, bool programmatic, cudaStream_t stream) {
  Advance copy = advance;
  void* arguments[] = {&copy};
  return launch(reinterpret_cast<const void*>(advance_lengths), 1, 64, arguments, programmatic,
                stream);
}

cudaError_t launch_noise(std::uint32_t seed, int blocks, int most_us, cudaStream_t stream) {
  auto most_ns = static_cast<unsigned>(most_us) * 1000u;
  void* arguments[] = {&seed, &most_ns};
  return launch(reinterpret_cast<const void*>(make_noise), blocks, 1024, arguments, false, stream);
}

}  // namespace onebeat::gpu_test
