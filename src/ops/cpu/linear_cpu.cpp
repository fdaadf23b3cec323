// SPDX-License-Identifier: Apache-2.0
// Threads take chunks of weight rows that fit the first-level cache, neighbours first; all tokens
// are multiplied with a chunk before the next one is read, so the weights come from memory once
// however many tokens there are.
#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/linear_kernels.h"
#include "ops/cpu/packed_blocks.h"
#include "ops/cpu/panel/panel_activations.h"
#include "ops/cpu/panel/panel_layout.h"
#include "ops/cpu/tile/linear_tiles.h"
#include "ops/linear.h"

namespace onebeat {
namespace {

/// Bytes of weights in a chunk. Large enough that claiming one costs nothing, small enough for the
/// cache.
constexpr std::int64_t kChunkBytes = 16 * 1024;
/// Tokens that are multiplied with a chunk's rows before the next ones.
constexpr std::int64_t kTokenTile = 8;
/// Rows that are expanded to fp32 together.
constexpr std::int64_t kExpandedRows = 8;

bool is_repacked(const WeightView& weight) {
  return weight.layout == WeightLayout::kPanels;
}

bool uses_integers(const LinearPart& part, const LinearOptions& options) {
  return options.mode == ComputeMode::kAuto && block_elements(part.weight.type) > 1;
}

std::int64_t chunk_rows(const WeightView& weight) {
  if (is_repacked(weight)) {
    const std::int64_t bytes = panel_bytes(weight.type, weight.cols);
    return std::max<std::int64_t>(1, kChunkBytes / bytes) * kPanelRows;
  }
  const std::int64_t rows = std::max<std::int64_t>(1, kChunkBytes / weight.row_bytes());
  // Whole groups of expanded rows, so that no group is cut.
  return rows < kExpandedRows ? rows : rows / kExpandedRows * kExpandedRows;
}

std::int64_t count_chunks(const WeightView& weight) {
  return (weight.rows + chunk_rows(weight) - 1) / chunk_rows(weight);
}

/// Weights with one layout of quantised activations share it: repacked ones, and in rows bytes,
/// nibbles, and packed bits.
constexpr int kLayouts = 4;
int layout_of(const WeightView& weight) {
  if (is_repacked(weight)) return 3;
  if (is_packed(weight.type)) return 2;
  return weight.type == WeightType::kQ8_0 ? 0 : 1;
}

struct QuantizedInput {
  int layout = 0;
  WeightType type = WeightType::kQ8_0;
  std::byte* data = nullptr;
  std::int64_t row_bytes = 0;
};

/// The quantised forms of the input that the parts need: at most one for each layout.
struct QuantizedInputs {
  QuantizedInput forms[kLayouts];
  int count = 0;

  /// The form for `weight`, or the place behind the last form.
  [[nodiscard]] const QuantizedInput* find(const WeightView& weight) const {
    const int layout = layout_of(weight);
    return std::find_if(forms, forms + count,
                        [layout](const QuantizedInput& form) { return form.layout == layout; });
  }
};

QuantizedInputs needed_inputs(std::span<const LinearPart> parts, const LinearOptions& options,
                              const LinearKernels& kernels, std::int64_t cols) {
  QuantizedInputs inputs;
  for (const LinearPart& part : parts) {
    if (!uses_integers(part, options)) continue;
    const WeightView& weight = part.weight;
    if (inputs.find(weight) != inputs.forms + inputs.count) continue;
    const std::int64_t bytes = is_repacked(weight) ? panel_activation_bytes(cols)
                                                   : kernels.quantized_row_bytes(weight.type, cols);
    inputs.forms[inputs.count++] = {layout_of(weight), weight.type, nullptr, bytes};
  }
  return inputs;
}

void quantize(ConstMatrix x, const QuantizedInput& input, const LinearKernels& kernels,
              ThreadPool& pool) {
  constexpr std::int64_t kGrain = 4;
  pool.parallel_for(x.rows, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      std::byte* out = input.data + t * input.row_bytes;
      if (input.layout == kLayouts - 1) {
        kernels.quantize_panel_row(x.row(t), x.cols, out);
      } else {
        kernels.quantize_row(input.type, x.row(t), x.cols, out);
      }
    }
  });
}

void multiply_expanded(ConstMatrix x, const DotTask& chunk, const LinearKernels& kernels,
                       float* rows) {
  for (std::int64_t first = chunk.row_begin; first < chunk.row_end; first += kExpandedRows) {
    const std::int64_t count = std::min(kExpandedRows, chunk.row_end - first);
    for (std::int64_t i = 0; i < count; ++i) {
      kernels.expand_row(chunk.weight.type, chunk.weight.row(first + i), x.cols, rows + i * x.cols);
    }
    for (std::int64_t token = 0; token < x.rows; token += kTokenTile) {
      DotTask task = chunk;
      task.tokens = std::min(kTokenTile, x.rows - token);
      task.out = chunk.out + token * chunk.out_stride;
      for (std::int64_t i = 0; i < count; ++i) {
        task.row_begin = first + i;
        kernels.dot_f32(task, rows + i * x.cols, x.row(token), x.stride);
      }
    }
  }
}

void check_shapes(ConstMatrix x, std::span<const LinearPart> parts, const LinearOptions& options) {
  ONEBEAT_CHECK(supports(options.isa));
  for (const LinearPart& part : parts) {
    ONEBEAT_CHECK(part.weight.cols == x.cols);
    ONEBEAT_CHECK(!is_repacked(part.weight) || (uses_integers(part, options) &&
                                                linear_kernels(options.isa).dot_panels != nullptr));
    ONEBEAT_CHECK(part.out.rows == x.rows && part.out.cols == part.weight.rows);
  }
}

}  // namespace

void add_bias(const LinearPart& part, IndexRange tokens, IndexRange rows) {
  if (part.bias == nullptr) return;
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* out = part.out.row(t);
    for (std::int64_t r = rows.begin; r < rows.end; ++r) out[r] += part.bias[r];
  }
}

Status linear(ConstMatrix x, std::span<const LinearPart> parts, const LinearOptions& options,
              ThreadPool& pool) {
  check_shapes(x, parts, options);
  if (x.rows == 0) return Status();
  if (takes_tiles(parts, options)) return linear_with_tiles(x, parts, pool);
  const LinearKernels& kernels = linear_kernels(options.isa);

  // Working memory: thread 0 keeps the quantised input for all, and everybody some expanded rows.
  QuantizedInputs inputs = needed_inputs(parts, options, kernels, x.cols);
  std::int64_t shared_bytes = 0;
  for (int i = 0; i < inputs.count; ++i) shared_bytes += x.rows * inputs.forms[i].row_bytes;
  std::int64_t expanded_bytes = 0;
  std::int64_t chunks = 0;
  for (const LinearPart& part : parts) {
    chunks += count_chunks(part.weight);
    if (!uses_integers(part, options)) {
      expanded_bytes = kExpandedRows * x.cols * static_cast<std::int64_t>(sizeof(float));
    }
  }
  for (int thread = 0; thread < pool.threads(); ++thread) {
    const std::int64_t bytes = (thread == 0 ? shared_bytes : 0) + expanded_bytes;
    if (bytes > 0 && pool.workspace(thread, static_cast<std::size_t>(bytes)).empty()) {
      return resource_exhausted("no memory for {} bytes of working space of a matrix product",
                                bytes);
    }
  }
  std::byte* shared = nullptr;
  if (shared_bytes > 0) {
    shared = pool.workspace(0, static_cast<std::size_t>(shared_bytes + expanded_bytes)).data();
  }
  for (int i = 0; i < inputs.count; ++i) {
    inputs.forms[i].data = shared;
    shared += x.rows * inputs.forms[i].row_bytes;
    quantize(x, inputs.forms[i], kernels, pool);
  }

  pool.parallel_shares(chunks, 1, [&](std::int64_t begin, std::int64_t, int thread) {
    const LinearPart* part = parts.data();
    while (begin >= count_chunks(part->weight)) begin -= count_chunks((part++)->weight);
    DotTask chunk;
    chunk.weight = part->weight;
    chunk.row_begin = begin * chunk_rows(part->weight);
    chunk.row_end = std::min(part->weight.rows, chunk.row_begin + chunk_rows(part->weight));
    chunk.tokens = x.rows;
    chunk.out = part->out.data;
    chunk.out_stride = part->out.stride;
    chunk.add = part->add;
    if (uses_integers(*part, options)) {
      const std::byte* quantized = inputs.find(part->weight)->data;
      if (is_repacked(part->weight)) {
        kernels.dot_panels(chunk, quantized);
      } else {
        kernels.dot_quantized(chunk, quantized);
      }
    } else {
      const std::int64_t before = thread == 0 ? shared_bytes : 0;
      std::byte* rows =
          pool.workspace(thread, static_cast<std::size_t>(before + expanded_bytes)).data() + before;
      multiply_expanded(x, chunk, kernels, reinterpret_cast<float*>(rows));
    }
    add_bias(*part, {0, x.rows}, {chunk.row_begin, chunk.row_end});
  });
  return Status();
}

}  // namespace onebeat
