// SPDX-License-Identifier: Apache-2.0
#include "geometry.h"

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <utility>

#include "bindings.h"
#include "devices.h"
#include "errors.h"

namespace nb = nanobind;

namespace onebeat::python {
namespace {

Geometry make_geometry(std::int32_t num_heads, std::int32_t num_kv_heads, std::int32_t head_dim,
                       std::optional<std::int32_t> head_dim_v, std::int32_t page_tokens,
                       std::int32_t window_left, std::int32_t chunk_tokens,
                       std::int32_t max_query_tokens, bool causal, nb::handle kv_dtype,
                       std::optional<std::int32_t> tile_tokens, std::optional<std::int32_t> workers,
                       std::int32_t invariant_chunk_tokens, nb::handle device) {
  const KvType kv_type = kv_type_of(nb::str(kv_dtype).c_str(), "kv_dtype");
  const CudaAttentionTuning tuning = tuning_of(head_dim, kv_type, device_number(device));
  Geometry geometry{.fields = {.num_heads = num_heads,
                               .num_kv_heads = num_kv_heads,
                               .head_dim = head_dim,
                               .head_dim_v = head_dim_v.value_or(head_dim),
                               .page_tokens = page_tokens,
                               .tile_tokens = tile_tokens.value_or(tuning.tile_tokens),
                               .workers = workers.value_or(tuning.workers),
                               .window_left = window_left,
                               .chunk_tokens = chunk_tokens,
                               .max_query_tokens = max_query_tokens,
                               .invariant_chunk_tokens = invariant_chunk_tokens,
                               .causal = causal,
                               .kv_type = kv_type},
                    .cost = tuning.cost};
  raise_if_error(validate(geometry.fields));
  return geometry;
}

std::string text_of(const Geometry& geometry) {
  const AttentionGeometry& g = geometry.fields;
  return fmt::format(
      "AttentionGeometry(num_heads={}, num_kv_heads={}, head_dim={}, head_dim_v={}, "
      "page_tokens={}, window_left={}, "
      "chunk_tokens={}, max_query_tokens={}, causal={}, kv_dtype='{}', tile_tokens={}, workers={}, "
      "invariant_chunk_tokens={})",
      g.num_heads, g.num_kv_heads, g.head_dim, g.head_dim_v, g.page_tokens, g.window_left,
      g.chunk_tokens, g.max_query_tokens, g.causal ? "True" : "False", dtype_name(g.kv_type),
      g.tile_tokens, g.workers, g.invariant_chunk_tokens);
}

std::pair<std::int32_t, std::int32_t> heads_of_rank_pair(std::int32_t num_heads,
                                                         std::int32_t num_kv_heads,
                                                         std::int32_t ranks) {
  const HeadCounts heads = value_or_raise(onebeat::heads_of_rank({num_heads, num_kv_heads}, ranks));
  return {heads.num_heads, heads.num_kv_heads};
}

}  // namespace

const char* dtype_name(KvType type) {
  switch (type) {
    case KvType::kF32:
      return "float32";
    case KvType::kF16:
      return "float16";
    case KvType::kBF16:
      return "bfloat16";
    case KvType::kF8E4M3:
      return "float8_e4m3";
  }
  return "unknown";
}

KvType kv_type_of(const std::string& name, const char* argument) {
  std::string_view bare = name;
  if (const std::size_t dot = bare.rfind('.'); dot != std::string_view::npos)
    bare.remove_prefix(dot + 1);
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kF8E4M3}) {
    if (bare == dtype_name(type)) return type;
  }
  if (bare == "float8_e4m3fn") return KvType::kF8E4M3;
  if (bare == "float") return KvType::kF32;
  if (bare == "half") return KvType::kF16;
  raise_error(
      "InvalidArgumentError",
      fmt::format("{} is '{}'; it must be 'bfloat16', 'float16', 'float32' or 'float8_e4m3'",
                  argument, name));
}

void bind_geometry(nb::module_& module) {
  using G = Geometry;
  const auto field = [](auto member) { return [member](const G& g) { return g.fields.*member; }; };
  nb::class_<G>(module, "AttentionGeometry",
                R"(One class of attention layers: all that decides how a step's work is divided.

Planner, kernels and scratch take it, and a plan made for one geometry is refused by another. Head counts are those
of this rank, after attention tensor parallelism (:func:`heads_of_rank`).

:param num_heads: H, query heads.
:param num_kv_heads: G, KV heads; divides H.
:param head_dim: D, elements of a query or key head; a multiple of 8.
:param head_dim_v: Dv, elements of a value head; ``None``: D.
:param page_tokens: P, KV tokens in a page; a power of two.
:param window_left: earlier tokens that a query sees besides itself; -1: all. A model's ``sliding_window=w`` is w - 1.
:param chunk_tokens: queries see their own chunk of this many tokens only; 0: no chunks.
:param max_query_tokens: largest T, query tokens of a request in a step; 1 to 16.
:param causal: query token t sees keys up to its own position; else every key of its request.
:param kv_dtype: elements of the KV cache: ``"bfloat16"``, ``"float16"``, ``"float32"``; a torch dtype will do.
:param tile_tokens: N, KV tokens in a tile; ``None``: what measurements chose for the device.
:param workers: W, workers that share a step; ``None``: what measurements chose for the device.
:param invariant_chunk_tokens: 0, or cuts only at multiples of this, so that a request's bits do not depend on its
    company.
:param device: where plans of this geometry run: ``"cpu"``, ``"cuda"``, ``"cuda:1"``. Decides the defaults of
    ``tile_tokens`` and ``workers`` and the cost model; not a part of the geometry.
:raises ValueError: naming the argument, its value and what it takes.)")
      .def(nb::new_(&make_geometry), nb::arg("num_heads"), nb::arg("num_kv_heads"),
           nb::arg("head_dim"), nb::arg("head_dim_v") = nb::none(), nb::arg("page_tokens") = 16,
           nb::arg("window_left") = -1, nb::arg("chunk_tokens") = 0,
           nb::arg("max_query_tokens") = 1, nb::arg("causal") = true,
           nb::arg("kv_dtype") = "bfloat16", nb::arg("tile_tokens") = nb::none(),
           nb::arg("workers") = nb::none(), nb::arg("invariant_chunk_tokens") = 0,
           nb::arg("device") = "cpu")
      .def_prop_ro("num_heads", field(&AttentionGeometry::num_heads))
      .def_prop_ro("num_kv_heads", field(&AttentionGeometry::num_kv_heads))
      .def_prop_ro("head_dim", field(&AttentionGeometry::head_dim))
      .def_prop_ro("head_dim_v", field(&AttentionGeometry::head_dim_v))
      .def_prop_ro("page_tokens", field(&AttentionGeometry::page_tokens))
      .def_prop_ro("window_left", field(&AttentionGeometry::window_left))
      .def_prop_ro("chunk_tokens", field(&AttentionGeometry::chunk_tokens))
      .def_prop_ro("max_query_tokens", field(&AttentionGeometry::max_query_tokens))
      .def_prop_ro("causal", field(&AttentionGeometry::causal))
      .def_prop_ro("kv_dtype", [](const G& g) { return dtype_name(g.fields.kv_type); })
      .def_prop_ro("tile_tokens", field(&AttentionGeometry::tile_tokens))
      .def_prop_ro("workers", field(&AttentionGeometry::workers))
      .def_prop_ro("invariant_chunk_tokens", field(&AttentionGeometry::invariant_chunk_tokens))
      .def_prop_ro(
          "stamp", [](const G& g) { return plan_stamp(g.fields); },
          "32 bits that every worker of a plan of this geometry carries.")
      .def("__repr__", &text_of)
      .def("__eq__",
           [](const G& a, nb::handle b) {
             return nb::isinstance<G>(b) && a.fields == nb::cast<const G&>(b).fields;
           })
      .def("__hash__", [](const G& g) { return plan_stamp(g.fields); });

  module.def("heads_of_rank", &heads_of_rank_pair, nb::arg("num_heads"), nb::arg("num_kv_heads"),
             nb::arg("ranks"),
             R"(Query and KV heads of one rank under attention tensor parallelism over ``ranks``.

``ranks`` is the size of the attention group, never the world's: under data-parallel attention the two differ.

:raises ValueError: if the heads do not divide.)");
}

}  // namespace onebeat::python
