// SPDX-License-Identifier: Apache-2.0
#include "attention/cuda_attention.h"

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "attention/workspace.h"
#include "current_device.h"
#include "errors.h"

namespace onebeat::python {
namespace {

struct KnownKernel {
  AttentionGeometry geometry;
  int device;
  CudaDecodeAttention kernel;
};

void require_on_device(const AttentionTensors& tensors, int device) {
  for (const Tensor* tensor :
       {&tensors.k_cache, &tensors.v_cache, &tensors.page_table, &tensors.out}) {
    tensor->require_device(device, "q");
  }
  for (const Tensor* tensor :
       {&tensors.lse, &tensors.sinks, &tensors.rows, &tensors.k_scale, &tensors.v_scale}) {
    if (!tensor->empty()) tensor->require_device(device, "q");
  }
}

}  // namespace

const CudaDecodeAttention& kernel_of(const AttentionGeometry& geometry, int device) {
  // Few, and guarded by Python's lock.
  static std::vector<std::unique_ptr<KnownKernel>>* const known =
      new std::vector<std::unique_ptr<KnownKernel>>;
  for (const auto& entry : *known) {
    if (entry->device == device && entry->geometry == geometry) return entry->kernel;
  }
  const CurrentDevice current(device);
  CudaDecodeAttention kernel = value_or_raise(CudaDecodeAttention::create(geometry));
  known->push_back(std::make_unique<KnownKernel>(KnownKernel{geometry, device, std::move(kernel)}));
  return known->back()->kernel;
}

void decode_on_cuda(const CudaDecodeAttention& kernel, const CudaPlan& plan,
                    const ScratchSize& scratch, const AttentionTensors& tensors, ScoreOptions score,
                    void* stream) {
  const AttentionGeometry& geometry = kernel.geometry();
  const int device = tensors.q.device();
  Workspace::raise_faults(device);
  require_on_device(tensors, device);
  for (const Tensor* tensor : {&tensors.q, &tensors.out}) {
    tensor->require_element(geometry.kv_type == KvType::kF16 ? Element::kF16 : Element::kBF16);
  }
  const TokenRows q = token_rows(tensors.q, geometry.num_heads, geometry.head_dim);
  const TokenRows out = token_rows(tensors.out, geometry.num_heads, geometry.head_dim_v);
  if (out.num_tokens != q.num_tokens) {
    raise_error("InvalidArgumentError",
                fmt::format("out has shape {} and q {}; they must have the same tokens",
                            tensors.out.shape_text(), tensors.q.shape_text()));
  }
  score.sinks = floats_of(tensors.sinks, geometry.num_heads, "the query heads");
  const CurrentDevice current(device);
  Workspace& workspace = Workspace::of(device, stream);
  CudaAttentionLaunch launch;
  launch.q = {tensors.q.data<const std::uint16_t>(),
              q.num_tokens,
              geometry.num_heads,
              geometry.head_dim,
              q.token_stride,
              q.head_stride};
  launch.out = {tensors.out.data<std::uint16_t>(),
                out.num_tokens,
                geometry.num_heads,
                geometry.head_dim_v,
                out.token_stride,
                out.head_stride};
  launch.lse = lse_rows(tensors.lse, tensors.q, geometry.num_heads);
  launch.score = score;
  launch.kv =
      kv_pool_of(tensors.k_cache, tensors.v_cache, tensors.k_scale, tensors.v_scale, geometry);
  launch.pages = page_map_of(tensors.page_table, tensors.rows);
  launch.faults = workspace.status();
  raise_if_error(
      kernel.launch(plan, launch, workspace.scratch(scratch), static_cast<CUstream_st*>(stream)));
}

void decode_on_cuda(const DecodePlan& plan, const AttentionTensors& tensors, ScoreOptions score,
                    void* stream) {
  const Planner& planner = plan.planner();
  const AttentionGeometry& geometry = planner.geometry();
  const CudaPlan on_device{.data = plan.memory().bytes().data(),
                           .stamp = plan_stamp(geometry),
                           .workers = geometry.workers,
                           .capacity = planner.limits().max_requests};
  if (!tensors.rows.empty() && tensors.rows.size(0) < plan.num_requests) {
    raise_error("InvalidArgumentError", fmt::format("rows has {} numbers; the plan has {} requests",
                                                    tensors.rows.size(0), plan.num_requests));
  }
  decode_on_cuda(kernel_of(geometry, plan.device()), on_device, planner.scratch_size(), tensors,
                 score, stream);
}

}  // namespace onebeat::python
