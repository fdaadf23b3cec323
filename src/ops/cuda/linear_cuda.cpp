// SPDX-License-Identifier: Apache-2.0
#include "ops/cuda/linear_cuda.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "device/cuda_status.h"
#include "device/dependent_launch.h"

namespace onebeat {
namespace {

constexpr std::int32_t kMaxSplits = 16;

bool aligned(const void* data, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

bool is_family(std::string_view name) {
  const auto kernels = cuda::few_rows_kernels();
  return std::any_of(kernels.begin(), kernels.end(),
                     [&](const cuda::FewRowsKernel& kernel) { return kernel.family == name; });
}

/// Most inputs that one of `splits` CTAs gets.
std::int32_t inputs_of_split(const cuda::FewRowsKernel& kernel, std::int32_t inputs,
                             std::int32_t splits) {
  if (kernel.step_inputs == 0) return inputs;
  const std::int32_t steps = (inputs + kernel.step_inputs - 1) / kernel.step_inputs;
  return (steps + splits - 1) / splits * kernel.step_inputs;
}

/// The smallest kernel of a family that takes the sizes, or null.
const cuda::FewRowsKernel* smallest_kernel(std::string_view family, std::int32_t rows,
                                           std::int32_t inputs, std::int32_t splits) {
  const auto smaller = [](const cuda::FewRowsKernel& one, const cuda::FewRowsKernel& other) {
    return one.max_rows != other.max_rows ? one.max_rows < other.max_rows
                                          : one.max_inputs < other.max_inputs;
  };
  const cuda::FewRowsKernel* best = nullptr;
  for (const cuda::FewRowsKernel& kernel : cuda::few_rows_kernels()) {
    if (kernel.family != family || kernel.max_rows < rows) continue;
    if (kernel.max_inputs > 0 && kernel.max_inputs < inputs_of_split(kernel, inputs, splits))
      continue;
    if (best == nullptr || smaller(kernel, *best)) best = &kernel;
  }
  return best;
}

/// "family" or "family/splits".
Status parse_variant(std::string_view text, cuda::FewRowsRule& rule) {
  const std::size_t slash = text.find('/');
  const std::string_view family = text.substr(0, slash);
  const auto kernels = cuda::few_rows_kernels();
  const auto found =
      std::find_if(kernels.begin(), kernels.end(),
                   [&](const cuda::FewRowsKernel& kernel) { return kernel.family == family; });
  if (!is_family(family)) return unsupported("no product for few rows is called '{}'", family);
  rule.family = found->family;
  rule.splits = 1;
  if (slash == std::string_view::npos) return {};
  const std::string_view number = text.substr(slash + 1);
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), rule.splits);
  if (error != std::errc() || end != number.data() + number.size() || rule.splits < 1 ||
      rule.splits > kMaxSplits) {
    return invalid_argument("splits of '{}' must be a number from 1 to {}", text, kMaxSplits);
  }
  return {};
}

}  // namespace

Result<CudaLinear::Choice> CudaLinear::choose(std::int32_t rows, std::int32_t multiprocessors,
                                              const CudaLinearOptions& options) const {
  cuda::FewRowsRule rule = cuda::few_rows_rule(shape_.outputs, shape_.inputs, rows, multiprocessors,
                                               options.batch_invariant);
  if (!options.variant.empty()) ONEBEAT_RETURN_IF_ERROR(parse_variant(options.variant, rule));
  if (options.trigger >= 0) rule.trigger = options.trigger;
  if (options.ctas_per_multiprocessor > 0)
    rule.ctas_per_multiprocessor = options.ctas_per_multiprocessor;
  Choice choice;
  choice.kernel = smallest_kernel(rule.family, rows, shape_.inputs, rule.splits);
  if (choice.kernel == nullptr) return choice;
  choice.splits = rule.splits;
  choice.trigger = rule.trigger;
  const std::int32_t step = choice.kernel->step_inputs;
  const std::int32_t steps = step == 0 ? 1 : (shape_.inputs + step - 1) / step;
  if (steps < choice.splits) {
    return unsupported("{} takes {} inputs in {} steps; they cannot be split {} times",
                       choice.kernel->name, shape_.inputs, steps, choice.splits);
  }
  const std::int32_t ctas = multiprocessors * rule.ctas_per_multiprocessor;
  choice.groups = std::clamp(ctas / choice.splits, 1, (shape_.outputs + 1) / 2);
  return choice;
}

Result<CudaLinear> CudaLinear::create(const CudaLinearShape& shape, std::int32_t multiprocessors,
                                      const CudaLinearOptions& options) {
  if (shape.outputs < 1 || shape.inputs < 8 || shape.inputs % 8 != 0) {
    return invalid_argument(
        "a weight of {} x {}: at least one row, and columns in whole groups of 8, are needed",
        shape.outputs, shape.inputs);
  }
  if (multiprocessors < 1)
    return invalid_argument("a device with {} multiprocessors", multiprocessors);
  CudaLinear linear;
  linear.shape_ = shape;
  const cuda::FewRowsKernel* last = nullptr;
  for (std::int32_t rows = 1; rows <= kMaxRows; ++rows) {
    ONEBEAT_ASSIGN_OR_RETURN(const Choice choice, linear.choose(rows, multiprocessors, options));
    linear.choices_[static_cast<std::size_t>(rows - 1)] = choice;
    if (choice.kernel == nullptr || choice.kernel == last) continue;
    last = choice.kernel;
    const auto* function = reinterpret_cast<const void*>(last->function);
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaFuncSetAttribute(
        function, cudaFuncAttributeMaxDynamicSharedMemorySize, last->shared_bytes));
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaFuncSetAttribute(
        function, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  }
  if (last == nullptr)
    return unsupported("no kernel of '{}' takes {} inputs", options.variant, shape.inputs);
  return linear;
}

std::string_view CudaLinear::kernel_name(std::int32_t rows) const {
  const cuda::FewRowsKernel* kernel = choices_[static_cast<std::size_t>(rows - 1)].kernel;
  return kernel == nullptr ? std::string_view() : kernel->name;
}

std::int32_t CudaLinear::splits(std::int32_t rows) const {
  return choices_[static_cast<std::size_t>(rows - 1)].splits;
}

CudaLinear::ScratchSize CudaLinear::scratch_of(const Choice& choice) const {
  if (choice.splits == 1 || choice.kernel == nullptr) return {};
  const std::int64_t tiles =
      std::int64_t{choice.groups} *
      cuda::tiles_of_group(shape_.outputs, choice.groups, choice.kernel->tile_rows);
  return {tiles * choice.splits * choice.kernel->partial_floats, tiles};
}

CudaLinear::ScratchSize CudaLinear::scratch_size(std::int32_t max_rows) const {
  ScratchSize size;
  for (std::int32_t rows = 1; rows <= std::min(max_rows, kMaxRows); ++rows) {
    const ScratchSize one = scratch_of(choices_[static_cast<std::size_t>(rows - 1)]);
    size.partials = std::max(size.partials, one.partials);
    size.counters = std::max(size.counters, one.counters);
  }
  return size;
}

Status CudaLinear::check(const CudaLinearLaunch& l) const {
  if (l.rows < 1 || l.rows > kMaxRows)
    return out_of_range("{} rows; this product takes 1 to {}", l.rows, kMaxRows);
  if (l.weight == nullptr || l.x == nullptr || l.y == nullptr)
    return invalid_argument("a product needs a weight, an input and an output");
  const bool rows_fit =
      aligned(l.weight, 16) && aligned(l.x, 16) && l.weight_stride % 8 == 0 && l.x_stride % 8 == 0;
  if (!rows_fit || l.weight_stride < shape_.inputs || (l.rows > 1 && l.x_stride < shape_.inputs)) {
    return invalid_argument(
        "rows of the weight and of x must be aligned to 16 bytes and hold {} elements; their "
        "strides are {} and {}",
        shape_.inputs, l.weight_stride, l.x_stride);
  }
  const bool paired = l.activation != CudaLinearActivation::kNone;
  if (paired && shape_.outputs % 2 != 0)
    return invalid_argument("{} outputs are no pairs of gate and up", shape_.outputs);
  const std::int32_t width = paired ? shape_.outputs / 2 : shape_.outputs;
  if (!aligned(l.y, l.y_is_float ? 4 : 2) || (l.rows > 1 && l.y_stride < width) ||
      (l.residual != nullptr && l.rows > 1 && l.residual_stride < width)) {
    return invalid_argument("rows of {} outputs: strides of y and residual are {} and {}", width,
                            l.y_stride, l.residual_stride);
  }
  return {};
}

Status CudaLinear::launch(const CudaLinearLaunch& l, const CudaLinearScratch& scratch,
                          CUstream_st* stream) const {
  ONEBEAT_RETURN_IF_ERROR(check(l));
  const Choice& choice = choices_[static_cast<std::size_t>(l.rows - 1)];
  if (choice.kernel == nullptr)
    return unsupported("the forced kernels do not take {} rows of {} inputs", l.rows,
                       shape_.inputs);
  const ScratchSize needed = scratch_of(choice);
  if (static_cast<std::int64_t>(scratch.partials.size()) < needed.partials ||
      static_cast<std::int64_t>(scratch.counters.size()) < needed.counters) {
    return invalid_argument("scratch has {} partial sums and {} counters; {} and {} are needed",
                            scratch.partials.size(), scratch.counters.size(), needed.partials,
                            needed.counters);
  }
  cuda::FewRowsParams p;
  p.weight = l.weight;
  p.weight_stride = l.weight_stride;
  p.x = l.x;
  p.x_stride = l.x_stride;
  p.y = l.y;
  p.y_stride = l.y_stride;
  p.residual = l.residual;
  p.residual_stride = l.residual_stride;
  p.bias = l.bias;
  p.norm_epsilon = l.norm_epsilon;
  p.partials = scratch.partials.data();
  p.counters = scratch.counters.data();
  p.rows = l.rows;
  p.outputs = shape_.outputs;
  p.inputs = shape_.inputs;
  p.splits = choice.splits;
  p.trigger = choice.trigger;
  p.activation = l.activation;
  p.out_is_float = l.y_is_float;
  p.pair_stores = l.y_stride % 2 == 0 && aligned(l.y, l.y_is_float ? 8 : 4) &&
                  (l.residual == nullptr || (l.residual_stride % 2 == 0 && aligned(l.residual, 4)));
  const cuda::LaunchSize size{static_cast<unsigned>(choice.groups * choice.splits),
                              static_cast<unsigned>(choice.kernel->threads),
                              static_cast<std::size_t>(choice.kernel->shared_bytes)};
  return cuda_status(cuda::launch_kernel(choice.kernel->function, size, l.overlap, stream, p),
                     choice.kernel->name.data());
}

}  // namespace onebeat
