// SPDX-License-Identifier: Apache-2.0
#include "arrays/attention_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "arrays/half.h"
#include "errors.h"

namespace onebeat::python {
namespace {

void require_int32_numbers(const Tensor& tensor) {
  tensor.require_element(Element::kI32);
  tensor.require_dense_rows();
}

/// Calls visit(source or target offset, dense offset) for each (token, head).
template <typename Visit>
void for_each_row(const TokenRows& rows, std::int64_t heads, std::int64_t dim, Visit&& visit) {
  for (std::int64_t token = 0; token < rows.num_tokens; ++token) {
    for (std::int64_t head = 0; head < heads; ++head) {
      visit(token * rows.token_stride + head * rows.head_stride, (token * heads + head) * dim);
    }
  }
}

}  // namespace

TokenRows token_rows(const Tensor& tensor, std::int64_t heads, std::int64_t dim) {
  if (tensor.rank() != 3 && tensor.rank() != 4) {
    raise_error("InvalidArgumentError",
                fmt::format("{} has shape {}; it must be [tokens, heads, dim] or [requests, tokens "
                            "of each, heads, dim]",
                            tensor.name(), tensor.shape_text()));
  }
  tensor.require_size(-2, heads, "the query heads of the geometry");
  tensor.require_size(-1, dim, "the head size of the geometry");
  tensor.require_dense_rows();
  TokenRows rows{tensor.size(0), tensor.stride(0), tensor.stride(-2)};
  if (tensor.rank() == 4) {
    const std::int64_t each = tensor.size(1);
    rows.num_tokens = tensor.size(0) * each;
    if (each > 1) {
      rows.token_stride = tensor.stride(1);
      if (tensor.size(0) > 1 && tensor.stride(0) != each * tensor.stride(1)) {
        raise_error("InvalidArgumentError",
                    fmt::format("{} has strides {} and {} in its first dimensions; tokens must be "
                                "evenly spaced: make it "
                                "contiguous",
                                tensor.name(), tensor.stride(0), tensor.stride(1)));
      }
    }
  }
  return rows;
}

KvType kv_type_of(const Tensor& cache) {
  switch (cache.element()) {
    case Element::kF32:
      return KvType::kF32;
    case Element::kF16:
      return KvType::kF16;
    case Element::kBF16:
      return KvType::kBF16;
    case Element::kF8E4M3:
    case Element::kU8:
      return KvType::kF8E4M3;
    default:
      break;
  }
  raise_error(
      "WrongTypeError",
      fmt::format("{} has elements of {}; they must be bfloat16, float16, float32 or float8_e4m3",
                  cache.name(), name_of(cache.element())));
}

KvPool kv_pool_of(const Tensor& k, const Tensor& v, const Tensor& k_scale, const Tensor& v_scale,
                  const AttentionGeometry& geometry) {
  k.require_rank(4);
  v.require_rank(4);
  for (const Tensor* cache : {&k, &v}) {
    if (kv_type_of(*cache) != geometry.kv_type) {
      raise_error("WrongTypeError",
                  fmt::format("{} has elements of {}; the geometry has another type", cache->name(),
                              name_of(cache->element())));
    }
    cache->require_size(1, geometry.page_tokens, "the tokens of a page");
    cache->require_size(2, geometry.num_kv_heads, "the KV heads of the geometry");
    cache->require_dense_rows();
  }
  k.require_size(3, geometry.head_dim, "the head size of the geometry");
  v.require_size(3, geometry.head_dim_v, "the head size of V of the geometry");
  v.require_size(0, k.size(0), "the pages of k_cache");
  KvPool pool;
  pool.k = k.data<void>();
  pool.v = v.data<void>();
  pool.type = geometry.kv_type;
  pool.num_pages = k.size(0);
  pool.page_tokens = geometry.page_tokens;
  pool.num_kv_heads = geometry.num_kv_heads;
  pool.head_dim = geometry.head_dim;
  pool.head_dim_v = geometry.head_dim_v;
  pool.k_page_stride = k.stride(0);
  pool.k_token_stride = k.stride(1);
  pool.k_head_stride = k.stride(2);
  pool.v_page_stride = v.stride(0);
  pool.v_token_stride = v.stride(1);
  pool.v_head_stride = v.stride(2);
  if (!k_scale.empty() || !v_scale.empty()) {
    if (geometry.kv_type != KvType::kF8E4M3) {
      raise_error("InvalidArgumentError",
                  fmt::format("k_scale or v_scale is given, but k_cache has elements of {}; only "
                              "float8_e4m3 caches have scales",
                              name_of(k.element())));
    }
    pool.k_scales = floats_of(k_scale, geometry.num_kv_heads, "the KV heads");
    pool.v_scales = floats_of(v_scale, geometry.num_kv_heads, "the KV heads");
  }
  return pool;
}

PageMap page_map_of(const Tensor& page_table, const Tensor& rows) {
  page_table.require_rank(2);
  require_int32_numbers(page_table);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  PageMap pages;
  pages.pages = page_table.data<const std::int32_t>();
  pages.row_stride = page_table.stride(0);
  pages.num_rows = static_cast<std::int32_t>(std::min(page_table.size(0), kMost));
  pages.num_columns = static_cast<std::int32_t>(std::min(page_table.size(1), kMost));
  if (!rows.empty()) {
    rows.require_rank(1);
    require_int32_numbers(rows);
    pages.row_of = rows.data<const std::int32_t>();
  }
  return pages;
}

LseRows lse_rows(const Tensor& lse, const Tensor& q, std::int64_t heads) {
  if (lse.empty()) return {};
  lse.require_element(Element::kF32);
  LseRows rows;
  if (q.rank() == 4) {
    const std::int64_t each = q.size(1);
    lse.require_rank(3);
    lse.require_size(0, q.size(0), "the requests of q");
    lse.require_size(1, heads, "the query heads");
    lse.require_size(2, each, "the query tokens of each request");
    rows = {lse.data<float>(), lse.elements(), heads * each, 1, each};
  } else {
    lse.require_rank(2);
    lse.require_size(0, heads, "the query heads");
    lse.require_size(1, q.size(0), "the query tokens");
    rows = {lse.data<float>(), lse.elements(), 0, 1, q.size(0)};
  }
  lse.require_contiguous();
  return rows;
}

const float* floats_of(const Tensor& tensor, std::int64_t size, const char* meaning) {
  if (tensor.empty()) return nullptr;
  tensor.require_rank(1);
  tensor.require_element(Element::kF32);
  tensor.require_size(0, size, meaning);
  tensor.require_contiguous();
  return tensor.data<const float>();
}

void copy_to_floats(const Tensor& from, const TokenRows& rows, std::int64_t heads, std::int64_t dim,
                    float* to) {
  if (from.element() == Element::kF32) {
    for_each_row(rows, heads, dim, [&](std::int64_t source, std::int64_t dense) {
      std::copy_n(from.data<const float>() + source, dim, to + dense);
    });
    return;
  }
  const bool is_bf16 = from.element() == Element::kBF16;
  for_each_row(rows, heads, dim, [&](std::int64_t source, std::int64_t dense) {
    const std::uint16_t* const bits = from.data<const std::uint16_t>() + source;
    for (std::int64_t d = 0; d < dim; ++d)
      to[dense + d] = is_bf16 ? float_of_bf16(bits[d]) : float_of_f16(bits[d]);
  });
}

void copy_from_floats(const float* from, const Tensor& to, const TokenRows& rows,
                      std::int64_t heads, std::int64_t dim) {
  if (to.element() == Element::kF32) {
    for_each_row(rows, heads, dim, [&](std::int64_t target, std::int64_t dense) {
      std::copy_n(from + dense, dim, to.data<float>() + target);
    });
    return;
  }
  const bool is_bf16 = to.element() == Element::kBF16;
  for_each_row(rows, heads, dim, [&](std::int64_t target, std::int64_t dense) {
    std::uint16_t* const bits = to.data<std::uint16_t>() + target;
    for (std::int64_t d = 0; d < dim; ++d)
      bits[d] = is_bf16 ? bf16_of(from[dense + d]) : f16_of(from[dense + d]);
  });
}

}  // namespace onebeat::python
