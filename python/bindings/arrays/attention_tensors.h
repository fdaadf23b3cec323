// SPDX-License-Identifier: Apache-2.0
// What attention is given, checked against a geometry.
#pragma once

#include <cstdint>

#include "arrays/tensor.h"
#include "onebeat/attention.h"

namespace onebeat::python {

/// Where the rows of q or out are: [tokens, H, D], or [B, T, H, D] whose tokens are evenly spaced.
struct TokenRows {
  std::int64_t num_tokens = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// Throws the fitting exception if `tensor` is not [tokens, heads, dim] or [B, T, heads, dim].
[[nodiscard]] TokenRows token_rows(const Tensor& tensor, std::int64_t heads, std::int64_t dim);

/// k_cache [pages, P, G, D] and v_cache [pages, P, G, Dv] in `geometry.kv_type`; scales of an fp8
/// cache: [G] float32, or None.
[[nodiscard]] KvPool kv_pool_of(const Tensor& k, const Tensor& v, const Tensor& k_scale,
                                const Tensor& v_scale, const AttentionGeometry& geometry);

/// The element type of a cache. Throws WrongTypeError if it cannot be one.
[[nodiscard]] KvType kv_type_of(const Tensor& cache);

/// page_table [B or rows of a page map, pages], int32; `rows` [B] int32 chooses rows of a page map,
/// None: row b.
[[nodiscard]] PageMap page_map_of(const Tensor& page_table, const Tensor& rows);

/// lse [B, H, T] beside q [B, T, H, D], or [H, tokens] beside q [tokens, H, D].
[[nodiscard]] LseRows lse_rows(const Tensor& lse, const Tensor& q, std::int64_t heads);

/// A float32 array [size] of its own, or null for None.
[[nodiscard]] const float* floats_of(const Tensor& tensor, std::int64_t size, const char* meaning);

/// Copies rows of fp32, fp16 or bf16 to dense floats, and back.
void copy_to_floats(const Tensor& from, const TokenRows& rows, std::int64_t heads, std::int64_t dim,
                    float* to);
void copy_from_floats(const float* from, const Tensor& to, const TokenRows& rows,
                      std::int64_t heads, std::int64_t dim);

}  // namespace onebeat::python
