// SPDX-License-Identifier: Apache-2.0
// The device that a call works on, made current for its duration.
#pragma once

#include <cuda_runtime_api.h>

#include "device/cuda_status.h"
#include "errors.h"

namespace onebeat::python {

class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    raise_if_error(cuda_status(cudaGetDevice(&before_), "cudaGetDevice"));
    if (before_ == device) return;
    raise_if_error(cuda_status(cudaSetDevice(device), "cudaSetDevice"));
    changed_ = true;
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  ~CurrentDevice() {
    if (changed_) (void)cudaSetDevice(before_);
  }

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace onebeat::python
