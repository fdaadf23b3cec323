// SPDX-License-Identifier: Apache-2.0
#include "attention/host_attention.h"

#include <fmt/format.h>
#include <nanobind/nanobind.h>

#include "attention/host_executor.h"
#include "errors.h"

namespace nb = nanobind;

namespace onebeat::python {
namespace {

void require_float_rows(const Tensor& tensor) {
  const Element element = tensor.element();
  if (element == Element::kF32 || element == Element::kF16 || element == Element::kBF16) return;
  raise_error("WrongTypeError",
              fmt::format("{} has elements of {}; they must be float32, float16 or bfloat16",
                          tensor.name(), name_of(element)));
}

/// Runs `attend(launch, executor)` with q and out as floats. `written` is the number of rows of out
/// that it writes.
template <typename Attend>
void run(const AttentionGeometry& geometry, const AttentionTensors& tensors, ScoreOptions score,
         std::int64_t written, Attend&& attend) {
  const auto heads = std::int64_t{geometry.num_heads};
  for (const Tensor* tensor : {&tensors.q, &tensors.out}) require_float_rows(*tensor);
  const TokenRows q = token_rows(tensors.q, heads, geometry.head_dim);
  TokenRows out = token_rows(tensors.out, heads, geometry.head_dim_v);
  for (const Tensor* tensor :
       {&tensors.k_cache, &tensors.v_cache, &tensors.page_table, &tensors.out}) {
    tensor->require_device(kHost, "q");
  }
  for (const Tensor* tensor :
       {&tensors.lse, &tensors.sinks, &tensors.rows, &tensors.k_scale, &tensors.v_scale}) {
    if (!tensor->empty()) tensor->require_device(kHost, "q");
  }
  if (out.num_tokens != q.num_tokens) {
    raise_error("InvalidArgumentError",
                fmt::format("out has shape {} and q {}; they must have the same tokens",
                            tensors.out.shape_text(), tensors.q.shape_text()));
  }
  if (written > q.num_tokens) {
    raise_error("InvalidArgumentError",
                fmt::format("q has {} tokens; the plan is for {}", q.num_tokens, written));
  }
  score.sinks = floats_of(tensors.sinks, heads, "the query heads");
  AttentionLaunch launch;
  launch.score = score;
  launch.kv =
      kv_pool_of(tensors.k_cache, tensors.v_cache, tensors.k_scale, tensors.v_scale, geometry);
  launch.pages = page_map_of(tensors.page_table, tensors.rows);
  launch.lse = lse_rows(tensors.lse, tensors.q, heads);

  Status status;
  {
    const nb::gil_scoped_release unlocked;
    status = HostExecutor::instance().run([&](HostExecutor& executor) {
      const auto rows = static_cast<std::size_t>(q.num_tokens * heads);
      launch.q = {tensors.q.data<const float>(),
                  q.num_tokens,
                  geometry.num_heads,
                  geometry.head_dim,
                  q.token_stride,
                  q.head_stride};
      if (tensors.q.element() != Element::kF32) {
        const std::span<float> floats =
            executor.queries(rows * static_cast<std::size_t>(geometry.head_dim));
        copy_to_floats(tensors.q, q, heads, geometry.head_dim, floats.data());
        launch.q = dense_head_rows<const float>(floats.data(), q.num_tokens, geometry.num_heads,
                                                geometry.head_dim);
      }
      launch.out = {tensors.out.data<float>(), out.num_tokens,   geometry.num_heads,
                    geometry.head_dim_v,       out.token_stride, out.head_stride};
      std::span<float> floats;
      if (tensors.out.element() != Element::kF32) {
        floats = executor.outputs(rows * static_cast<std::size_t>(geometry.head_dim_v));
        launch.out = dense_head_rows<float>(floats.data(), out.num_tokens, geometry.num_heads,
                                            geometry.head_dim_v);
      }
      Status done = attend(launch, executor);
      // With kOutOfRange something was clamped, and the caller is told so.
      if (done.ok() && !floats.empty()) {
        out.num_tokens = written;
        copy_from_floats(floats.data(), tensors.out, out, heads, geometry.head_dim_v);
      }
      return done;
    });
  }
  raise_if_error(status);
}

}  // namespace

void decode_on_host(const PlanView& plan, const ScratchSize& scratch,
                    const AttentionTensors& tensors, ScoreOptions score) {
  const std::int64_t tokens = plan.query_begin().back();
  if (!tensors.rows.empty() && tensors.rows.size(0) < plan.header().num_active) {
    raise_error("InvalidArgumentError",
                fmt::format("rows has {} numbers; the plan has {} requests", tensors.rows.size(0),
                            plan.header().num_active));
  }
  run(plan.geometry(), tensors, score, tokens,
      [&](const AttentionLaunch& launch, HostExecutor& executor) {
        return decode_attention(plan, launch, executor.scratch(scratch), executor.pool());
      });
}

void prefill_on_host(const AttentionGeometry& geometry, const PrefillBatch& batch,
                     const AttentionTensors& tensors, ScoreOptions score) {
  const std::int64_t tokens = batch.query_begin.empty() ? 0 : batch.query_begin.back();
  if (!tensors.rows.empty() &&
      tensors.rows.size(0) < static_cast<std::int64_t>(batch.lens.size())) {
    raise_error("InvalidArgumentError", fmt::format("rows has {} numbers; there are {} requests",
                                                    tensors.rows.size(0), batch.lens.size()));
  }
  run(geometry, tensors, score, tokens, [&](const AttentionLaunch& launch, HostExecutor& executor) {
    return prefill_attention(geometry, batch, launch, executor.pool());
  });
}

}  // namespace onebeat::python
