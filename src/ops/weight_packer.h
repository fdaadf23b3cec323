// SPDX-License-Identifier: Apache-2.0
// WeightPacker: repacks weights, once, to the order in which the kernels read them.
#pragma once

#include <cstddef>
#include <vector>

#include "device/host_buffer.h"
#include "onebeat/compute.h"
#include "onebeat/thread_pool.h"
#include "ops/linear.h"
#include "ops/weight.h"

namespace onebeat {

/// Owns the repacked weights, in huge pages where the system has them.
class WeightPacker {
 public:
  /// For products computed with `options`. The pool is borrowed until the last pack().
  WeightPacker(const LinearOptions& options, ThreadPool& pool) : options_(options), pool_(&pool) {}

  /// From here on weights come from a read-only mapping of a file, whose pages are given back as
  /// they are repacked: weights are in memory once. Weights of which a view is kept may still be
  /// read; the system fetches them again.
  void drop_source_pages() { drop_source_pages_ = true; }

  /// The same matrix in the best layout, valid as long as this object; `weight` itself where
  /// repacking does not pay. Errors: kResourceExhausted.
  [[nodiscard]] Result<WeightView> pack(const WeightView& weight);

 private:
  [[nodiscard]] Result<std::byte*> allocate(std::size_t bytes);

  LinearOptions options_;
  ThreadPool* pool_;
  bool drop_source_pages_ = false;
  std::vector<HostBuffer> buffers_;
  std::size_t used_ = 0;  // of the last buffer
};

}  // namespace onebeat
