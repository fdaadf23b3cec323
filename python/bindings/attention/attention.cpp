// SPDX-License-Identifier: Apache-2.0
// onebeat.decode_attention, prefill_attention.
#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "arrays/views.h"
#include "attention/host_attention.h"
#include "attention/host_executor.h"
#include "bindings.h"
#include "decode_plan.h"
#include "errors.h"
#include "geometry.h"

#ifdef ONEBEAT_WITH_CUDA
#include "attention/cuda_attention.h"
#endif

namespace nb = nanobind;

namespace onebeat::python {
namespace {

AttentionTensors tensors_of(nb::handle q, nb::handle k_cache, nb::handle v_cache,
                            nb::handle page_table, nb::handle out, nb::handle lse, nb::handle sinks,
                            nb::handle rows, nb::handle k_scale, nb::handle v_scale) {
  // One after the other: GCC 12 destroys too much if one of a braced list throws.
  AttentionTensors tensors;
  tensors.q = Tensor(q, "q");
  tensors.k_cache = Tensor(k_cache, "k_cache");
  tensors.v_cache = Tensor(v_cache, "v_cache");
  tensors.page_table = Tensor(page_table, "page_table");
  tensors.out = Tensor(out, "out", true);
  tensors.lse = Tensor(lse, "lse", true);
  tensors.sinks = Tensor(sinks, "sinks");
  tensors.rows = Tensor(rows, "rows");
  tensors.k_scale = Tensor(k_scale, "k_scale");
  tensors.v_scale = Tensor(v_scale, "v_scale");
  return tensors;
}

ScoreOptions score_of(std::optional<float> scale, float soft_cap, std::int32_t head_dim) {
  ScoreOptions score;
  score.scale = scale.value_or(1.0f / std::sqrt(static_cast<float>(head_dim)));
  score.soft_cap = soft_cap;
  return score;
}

void decode(const DecodePlan& plan, nb::handle q, nb::handle k_cache, nb::handle v_cache,
            nb::handle page_table, nb::handle out, nb::handle lse, std::optional<float> scale,
            float soft_cap, nb::handle sinks, nb::handle rows, nb::handle k_scale,
            nb::handle v_scale, nb::handle stream) {
  const AttentionTensors tensors =
      tensors_of(q, k_cache, v_cache, page_table, out, lse, sinks, rows, k_scale, v_scale);
  const ScoreOptions score = score_of(scale, soft_cap, plan.planner().geometry().head_dim);
  tensors.q.require_device(plan.device(), "the plan");
  if (plan.device() == kHost) {
    decode_on_host(HostPlan(plan).view(), plan.planner().scratch_size(), tensors, score);
    return;
  }
#ifdef ONEBEAT_WITH_CUDA
  decode_on_cuda(plan, tensors, score, stream_of(stream, tensors.q));
#else
  static_cast<void>(stream);
#endif
}

void prefill(const Geometry& geometry, nb::handle q, nb::handle k_cache, nb::handle v_cache,
             nb::handle page_table, const std::vector<std::int32_t>& query_begin,
             const std::vector<std::int32_t>& lens, nb::handle out, nb::handle lse,
             std::optional<float> scale, float soft_cap, nb::handle sinks, nb::handle rows,
             nb::handle k_scale, nb::handle v_scale, nb::handle stream) {
  const AttentionTensors tensors =
      tensors_of(q, k_cache, v_cache, page_table, out, lse, sinks, rows, k_scale, v_scale);
  static_cast<void>(stream);
  if (tensors.q.device() != kHost) {
    raise_error("UnsupportedError",
                "q is on a CUDA device; prefill_attention runs on host arrays only");
  }
  if (tensors.q.rank() != 3) {
    raise_error("InvalidArgumentError",
                fmt::format("q has shape {}; prefill_attention takes [tokens, heads, dim]",
                            tensors.q.shape_text()));
  }
  prefill_on_host(geometry.fields, {.query_begin = query_begin, .lens = lens}, tensors,
                  score_of(scale, soft_cap, geometry.fields.head_dim));
}

/// Merges `states` (pairs of rows and log-sum-exp) into `out` and `lse`, which may be None.
void merge(const std::vector<std::pair<nb::object, nb::object>>& states, nb::handle out,
           nb::handle lse) {
  const Tensor to(out, "out", true), to_lse(lse, "lse", true);
  const std::int64_t heads = to.rank() >= 2 ? to.size(-2) : 0,
                     dim = to.rank() >= 2 ? to.size(-1) : 0;
  const TokenRows rows = token_rows(to, heads, dim);
  to.require_device(kHost, "the CPU, where merge_states runs,");
  // Numbers of a [B, H, T] log-sum-exp are evenly spaced within a request only.
  const bool by_request = to.rank() == 4 && to.size(1) > 1;
  const std::int64_t groups = by_request ? to.size(0) : 1;
  MergeStates merge;
  merge.type = to.element() == Element::kF32   ? RowType::kF32
               : to.element() == Element::kF16 ? RowType::kF16
                                               : RowType::kBF16;
  merge.num_tokens = groups > 0 ? rows.num_tokens / groups : 0;
  merge.num_heads = static_cast<std::int32_t>(heads);
  merge.dim = static_cast<std::int32_t>(dim);
  const auto state_of = [&](const Tensor& values, const TokenRows& at, const LseRows& stats,
                            std::int64_t group) {
    const std::int64_t row =
        group * merge.num_tokens * at.token_stride * bytes_of(values.element());
    AttentionState state{values.data<char>() + row, stats.data,
                         at.token_stride,           at.head_stride,
                         stats.token_stride,        stats.head_stride};
    if (stats.request_stride != 0) {  // One token of each request, or one request.
      if (by_request && stats.data != nullptr) state.lse += group * stats.request_stride;
      if (!by_request) state.lse_token_stride = stats.request_stride;
    }
    return state;
  };
  std::vector<Tensor> values, stats;
  for (const auto& [value, stat] : states) {
    values.emplace_back(value, "a state's out");
    stats.emplace_back(stat, "a state's lse");
    const Tensor& last = values.back();
    if (last.rank() != to.rank()) last.require_rank(to.rank());
    for (int axis = 0; axis < to.rank(); ++axis)
      last.require_size(axis, to.size(axis), "as out has it");
    last.require_element(to.element());
    last.require_device(kHost, "out");
    stats.back().require_device(kHost, "out");
    if (stats.back().empty())
      raise_error("WrongTypeError", "a state's lse is None; it must be an array");
  }
  const LseRows to_stats = lse_rows(to_lse, to, heads);
  if (!to_lse.empty()) to_lse.require_device(kHost, "out");
  Status status;
  std::vector<std::vector<AttentionState>> parts(static_cast<std::size_t>(groups));
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      parts[static_cast<std::size_t>(group)].push_back(
          state_of(values[i], token_rows(values[i], heads, dim),
                   lse_rows(stats[i], values[i], heads), group));
    }
  }
  {
    const nb::gil_scoped_release unlocked;
    status = HostExecutor::instance().run([&](HostExecutor& executor) -> Status {
      for (std::int64_t group = 0; group < groups; ++group) {
        merge.states = parts[static_cast<std::size_t>(group)];
        merge.result = state_of(to, rows, to_stats, group);
        ONEBEAT_RETURN_IF_ERROR(merge_states(merge, executor.pool()));
      }
      return {};
    });
  }
  raise_if_error(status);
}

}  // namespace

void bind_attention(nb::module_& module) {
  module.def("decode_attention", &decode, nb::arg("plan"), nb::arg("q"), nb::arg("k_cache"),
             nb::arg("v_cache"), nb::arg("page_table"), nb::arg("out"), nb::arg("lse").none(),
             nb::arg("scale").none(), nb::arg("soft_cap"), nb::arg("sinks").none(),
             nb::arg("rows").none(), nb::arg("k_scale").none(), nb::arg("v_scale").none(),
             nb::arg("stream").none());
  module.def("prefill_attention", &prefill, nb::arg("geometry"), nb::arg("q"), nb::arg("k_cache"),
             nb::arg("v_cache"), nb::arg("page_table"), nb::arg("query_begin"), nb::arg("lens"),
             nb::arg("out"), nb::arg("lse").none(), nb::arg("scale").none(), nb::arg("soft_cap"),
             nb::arg("sinks").none(), nb::arg("rows").none(), nb::arg("k_scale").none(),
             nb::arg("v_scale").none(), nb::arg("stream").none());
  module.def("merge_states", &merge, nb::arg("states"), nb::arg("out"), nb::arg("lse").none());
  module.def(
      "set_num_threads", [](int threads) { HostExecutor::instance().use_threads(threads); },
      nb::arg("threads"),
      R"(Threads that calls on host arrays use; at first one for each processor.

:raises ValueError: unless from 1 to 1,024.)");
  module.def(
      "get_num_threads", [] { return HostExecutor::instance().threads(); },
      "Threads that calls on host arrays use.");
}

}  // namespace onebeat::python
