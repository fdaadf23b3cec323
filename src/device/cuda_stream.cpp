// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_stream.h"

#include <vector>

namespace onebeat {

Result<CudaStream> CudaStream::create() {
  cudaStream_t stream = nullptr;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CudaStream owner;
  owner.handle_ = CudaHandle<cudaStream_t, cudaStreamDestroy>(stream);
  return owner;
}

Result<CudaEvent> CudaEvent::create() {
  cudaEvent_t event = nullptr;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaEventCreate(&event));
  CudaEvent owner;
  owner.handle_ = CudaHandle<cudaEvent_t, cudaEventDestroy>(event);
  return owner;
}

Result<float> CudaEvent::microseconds_since(const CudaEvent& begin) const {
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaEventSynchronize(get()));
  float milliseconds = 0;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaEventElapsedTime(&milliseconds, begin.get(), get()));
  return milliseconds * 1000.0f;
}

Result<CudaGraph> CudaGraph::finish(cudaStream_t stream, const Status& recorded) {
  cudaGraph_t captured = nullptr;
  const Status ended = cuda_status(cudaStreamEndCapture(stream, &captured), "cudaStreamEndCapture");
  const CudaHandle<cudaGraph_t, cudaGraphDestroy> graph(captured);
  ONEBEAT_RETURN_IF_ERROR(recorded);
  ONEBEAT_RETURN_IF_ERROR(ended);

  std::size_t num_nodes = 0;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGraphGetNodes(captured, nullptr, &num_nodes));
  std::vector<cudaGraphNode_t> nodes(num_nodes);
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGraphGetNodes(captured, nodes.data(), &num_nodes));
  CudaGraph result;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGraphNodeGetType(node, &type));
    if (type == cudaGraphNodeTypeKernel) ++result.kernel_nodes_;
  }
  cudaGraphExec_t executable = nullptr;
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaGraphInstantiate(&executable, captured, 0));
  result.executable_ = CudaHandle<cudaGraphExec_t, cudaGraphExecDestroy>(executable);
  return result;
}

}  // namespace onebeat
