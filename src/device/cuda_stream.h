// SPDX-License-Identifier: Apache-2.0
// Owners of streams, events and graphs.
#pragma once

#include <cuda_runtime_api.h>

#include <utility>

#include "device/cuda_status.h"

namespace onebeat {

/// Move-only owner of a CUDA handle that `destroy` frees.
template <typename Handle, auto destroy>
class CudaHandle {
 public:
  CudaHandle() = default;
  explicit CudaHandle(Handle handle) : handle_(handle) {}
  CudaHandle(CudaHandle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  CudaHandle& operator=(CudaHandle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  CudaHandle(const CudaHandle&) = delete;
  CudaHandle& operator=(const CudaHandle&) = delete;
  ~CudaHandle() {
    if (handle_ != nullptr) (void)destroy(handle_);
  }
  [[nodiscard]] Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

/// A stream that does not wait for the legacy default stream.
class CudaStream {
 public:
  [[nodiscard]] static Result<CudaStream> create();
  [[nodiscard]] cudaStream_t get() const { return handle_.get(); }
  [[nodiscard]] Status synchronize() const {
    return cuda_status(cudaStreamSynchronize(get()), "cudaStreamSynchronize");
  }

 private:
  CudaHandle<cudaStream_t, cudaStreamDestroy> handle_;
};

/// An event that measures time.
class CudaEvent {
 public:
  [[nodiscard]] static Result<CudaEvent> create();
  [[nodiscard]] cudaEvent_t get() const { return handle_.get(); }
  [[nodiscard]] Status record(cudaStream_t stream) const {
    return cuda_status(cudaEventRecord(get(), stream), "cudaEventRecord");
  }
  /// Microseconds from `begin` to this event. Waits for this event.
  [[nodiscard]] Result<float> microseconds_since(const CudaEvent& begin) const;

 private:
  CudaHandle<cudaEvent_t, cudaEventDestroy> handle_;
};

/// A captured, instantiated graph.
class CudaGraph {
 public:
  /// Captures what `record(stream)` enqueues on `stream`, which must be idle, and instantiates it.
  /// A failure of `record` ends the capture and is returned.
  template <typename Record>
  [[nodiscard]] static Result<CudaGraph> capture(cudaStream_t stream, Record&& record) {
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    const Status recorded = record(stream);
    return finish(stream, recorded);
  }

  /// Enqueues one replay.
  [[nodiscard]] Status launch(cudaStream_t stream) const {
    return cuda_status(cudaGraphLaunch(executable_.get(), stream), "cudaGraphLaunch");
  }
  /// Kernel launches in the graph.
  [[nodiscard]] int kernel_nodes() const { return kernel_nodes_; }

 private:
  [[nodiscard]] static Result<CudaGraph> finish(cudaStream_t stream, const Status& recorded);
  CudaHandle<cudaGraphExec_t, cudaGraphExecDestroy> executable_;
  int kernel_nodes_ = 0;
};

}  // namespace onebeat
