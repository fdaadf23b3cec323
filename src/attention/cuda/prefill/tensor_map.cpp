// SPDX-License-Identifier: Apache-2.0
#include "attention/cuda/prefill/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "device/cuda_status.h"

namespace onebeat::cuda {
namespace {

constexpr std::size_t kMostDimensions = 5;

struct Encoder {
  decltype(&cuTensorMapEncodeTiled) encode = nullptr;
};

/// The driver's function, found at run time: nothing links the driver.
Result<Encoder> find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                                12000, cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    return unavailable("the CUDA driver has no tensor maps; it must be of CUDA 12.0 or newer");
  }
  return Encoder{reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)};
}

}  // namespace

Result<TensorMap> make_tensor_map(KvType type, const void* data,
                                  std::span<const TensorMapDimension> dimensions) {
  static const Result<Encoder> encoder = find_encoder();
  if (!encoder.ok()) return encoder.status();
  const std::size_t rank = dimensions.size();
  cuuint64_t sizes[kMostDimensions];
  cuuint64_t strides[kMostDimensions];
  cuuint32_t box[kMostDimensions];
  cuuint32_t steps[kMostDimensions];
  for (std::size_t i = 0; i < std::min(rank, kMostDimensions); ++i) {
    sizes[i] = static_cast<cuuint64_t>(dimensions[i].size);
    box[i] = static_cast<cuuint32_t>(dimensions[i].box);
    steps[i] = 1;
    // The stride of a dimension of one element may be anything; the driver takes no 0.
    const std::int64_t stride = dimensions[i].size == 1 ? 8 : dimensions[i].stride;
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(stride) * 2;
  }
  alignas(64) CUtensorMap map;
  const CUresult result = encoder->encode(
      &map,
      type == KvType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      static_cast<cuuint32_t>(rank), const_cast<void*>(data), sizes, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return invalid_argument(
        "the CUDA driver refuses a tensor map of {} dimensions, {} x {} elements innermost (error "
        "{}); another variant of the kernel may need none",
        rank, dimensions[0].size, rank > 1 ? dimensions[1].size : 1, static_cast<int>(result));
  }
  TensorMap out;
  static_assert(sizeof(out) == sizeof(map));
  std::memcpy(out.words, &map, sizeof(out));
  return out;
}

}  // namespace onebeat::cuda
