// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention/cuda/prefill/matrix_limit.h"
#include "attention/cuda/ptx.cuh"
#include "attention/cuda/wgmma.cuh"
#include "device/cuda_stream.h"

namespace onebeat::cuda {
namespace {

constexpr int kRuns = 9;
constexpr int kRounds = 4096;  ///< Groups of four products: 64 x 256 x 64.
constexpr int kGroups = 2;     ///< Warp groups of a CTA.
constexpr int kPanelBytes = 64 * 128;
constexpr int kSharedBytes = (kGroups + 4) * kPanelBytes;

__global__ void __launch_bounds__(kGroups * 128, 1) multiply(float* sink) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const std::uint32_t base = ptx::shared_address(shared);
  // Numbers of all signs near 1: multiplying zeros takes less power, and so is faster.
  std::uint32_t state = threadIdx.x * 2654435761u + 1;
  for (int i = static_cast<int>(threadIdx.x); i < kSharedBytes / 4; i += kGroups * 128) {
    state = state * 1664525u + 1013904223u;
    reinterpret_cast<std::uint32_t*>(shared)[i] = 0x3f003f00u | (state & 0x80ff80ffu);
  }
  ptx::fence_async_proxy();
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / 128;
  const std::uint64_t a = ptx::panel_descriptor(base + group * kPanelBytes, kPanelBytes);
  const std::uint64_t b = ptx::panel_descriptor(base + kGroups * kPanelBytes, 4 * kPanelBytes);
  float sums[128] = {};
  for (int round = 0; round < kRounds; ++round) {
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      ptx::wgmma_rows_bf16(sums, ptx::descriptor_behind(a, i * 32),
                           ptx::descriptor_behind(b, i * 32), true);
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
  }
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 128; ++i) sum += sums[i];
  if (sum == -1.0f) *sink = sum;  // keeps the products alive
}

}  // namespace

Result<double> measure_matrix_limit(cudaStream_t stream) {
  int device = 0;
  int major = 0;
  int multiprocessors = 0;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  if (major != 9) {
    return Status(StatusCode::kUnsupported,
                  "products of warp groups need a GPU of compute capability 9.0");
  }
  ONEBEAT_RETURN_IF_CUDA_ERROR(
      cudaFuncSetAttribute(multiply, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent begin, CudaEvent::create());
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent end, CudaEvent::create());
  std::vector<float> times;
  for (int run = 0; run < kRuns; ++run) {
    ONEBEAT_RETURN_IF_ERROR(begin.record(stream));
    multiply<<<static_cast<unsigned>(multiprocessors), kGroups * 128, kSharedBytes, stream>>>(
        nullptr);
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGetLastError());
    ONEBEAT_RETURN_IF_ERROR(end.record(stream));
    ONEBEAT_ASSIGN_OR_RETURN(const float us, end.microseconds_since(begin));
    times.push_back(us);
  }
  std::sort(times.begin(), times.end());
  const double operations = 2.0 * 64 * 256 * 64 * kRounds * kGroups * multiprocessors;
  return operations / static_cast<double>(times[kRuns / 2]) * 1e6;
}

}  // namespace onebeat::cuda
