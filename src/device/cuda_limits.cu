// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <vector>

#include "device/cuda_limits.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"

namespace onebeat {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 30;  // far beyond any L2
constexpr int kRuns = 21;
constexpr int kReadThreads = 512;
constexpr int kReadUnroll = 4;
constexpr int kChainNodes = 500;

struct ReadParams {
  const uint4* source;
  unsigned* sink;
};

/// One tile of kReadUnroll * kReadThreads 16-byte words per block: of the plain-load shapes the
/// fastest on Hopper.
__global__ void __launch_bounds__(kReadThreads) read_kernel(const __grid_constant__ ReadParams p) {
  const uint4* tile = p.source + std::size_t{blockIdx.x} * kReadUnroll * kReadThreads + threadIdx.x;
  uint4 words[kReadUnroll];
#pragma unroll
  for (int i = 0; i < kReadUnroll; ++i) words[i] = __ldcs(tile + i * kReadThreads);
  unsigned sum = 0;
#pragma unroll
  for (int i = 0; i < kReadUnroll; ++i) sum |= words[i].x & words[i].y & words[i].z & words[i].w;
  if (sum == 0xffffffffu) *p.sink = sum;  // the buffer never holds this; it keeps the loads alive
}

__global__ void empty_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

template <typename Enqueue>
Result<double> median_microseconds(cudaStream_t stream, int runs, Enqueue&& enqueue) {
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent begin, CudaEvent::create());
  ONEBEAT_ASSIGN_OR_RETURN(const CudaEvent end, CudaEvent::create());
  std::vector<float> times;
  for (int run = 0; run < runs + 3; ++run) {
    ONEBEAT_RETURN_IF_ERROR(begin.record(stream));
    ONEBEAT_RETURN_IF_ERROR(enqueue());
    ONEBEAT_RETURN_IF_ERROR(end.record(stream));
    ONEBEAT_ASSIGN_OR_RETURN(const float time, end.microseconds_since(begin));
    if (run >= 3) times.push_back(time);  // the first ones warm up
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return static_cast<double>(times[static_cast<std::size_t>(runs / 2)]);
}

Status launch_empty(cudaStream_t stream, bool dependent) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(132);
  config.blockDim = dim3(128);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  return cuda_status(cudaLaunchKernelEx(&config, empty_kernel), "empty_kernel");
}

Result<double> node_microseconds(cudaStream_t stream, bool dependent) {
  ONEBEAT_ASSIGN_OR_RETURN(const CudaGraph graph, CudaGraph::capture(stream, [&](cudaStream_t s) {
                             for (int i = 0; i < kChainNodes; ++i) {
                               ONEBEAT_RETURN_IF_ERROR(launch_empty(s, dependent));
                             }
                             return Status();
                           }));
  ONEBEAT_ASSIGN_OR_RETURN(
      const double chain, median_microseconds(stream, kRuns, [&] { return graph.launch(stream); }));
  return chain / kChainNodes;
}

}  // namespace

Result<CudaLimits> measure_cuda_limits(cudaStream_t stream) {
  ONEBEAT_ASSIGN_OR_RETURN(DeviceBuffer<uint4> source,
                           DeviceBuffer<uint4>::allocate(kBytes / sizeof(uint4)));
  ONEBEAT_ASSIGN_OR_RETURN(DeviceBuffer<uint4> target,
                           DeviceBuffer<uint4>::allocate(kBytes / sizeof(uint4)));
  ONEBEAT_RETURN_IF_ERROR(source.fill_bytes(0x5a, stream));
  const auto gigabytes_per_second = [](double bytes, double us) { return bytes / us * 1e-3; };

  CudaLimits limits;
  const ReadParams params{source.data(), reinterpret_cast<unsigned*>(target.data())};
  constexpr auto kBlocks =
      static_cast<unsigned>(kBytes / sizeof(uint4) / (kReadUnroll * kReadThreads));
  ONEBEAT_ASSIGN_OR_RETURN(const double read, median_microseconds(stream, kRuns, [&] {
                             read_kernel<<<kBlocks, kReadThreads, 0, stream>>>(params);
                             return cuda_status(cudaGetLastError(), "read_kernel");
                           }));
  limits.read_gb_per_s = gigabytes_per_second(static_cast<double>(kBytes), read);
  ONEBEAT_ASSIGN_OR_RETURN(
      const double copy, median_microseconds(stream, kRuns, [&] {
        return cuda_status(
            cudaMemcpyAsync(target.data(), source.data(), kBytes, cudaMemcpyDeviceToDevice, stream),
            "cudaMemcpyAsync");
      }));
  limits.copy_gb_per_s = gigabytes_per_second(2.0 * static_cast<double>(kBytes), copy);
  ONEBEAT_ASSIGN_OR_RETURN(limits.graph_node_us, node_microseconds(stream, false));
  ONEBEAT_ASSIGN_OR_RETURN(limits.dependent_node_us, node_microseconds(stream, true));
  return limits;
}

}  // namespace onebeat
