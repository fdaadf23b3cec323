# SPDX-License-Identifier: Apache-2.0
"""A decode step: requests with lengths, a paged cache for some layers, and the engine's table of slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import onebeat

_ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_MOST_LAYERS = 64


@dataclass
class Workload:
    arrays: Any
    geometry: Any
    lens: list[int]
    page: int
    dtype: str
    queries: list[Any]  #: [B, H, D] for each layer
    caches: list[tuple[Any, Any]]  #: [pages, P, G, D] each, for each layer
    outs: list[Any]
    req_to_token: Any  #: int32 [B, tokens]: slots
    seq_lens: Any  #: int32 [B]
    page_table: Any  #: int32 [B, pages]
    rows: Any  #: int64 [B]

    @property
    def layers(self) -> int:
        return len(self.caches)

    def bytes_of_layer(self) -> int:
        """What attention of one layer must read and write."""
        g = self.geometry
        size = _ELEMENT_BYTES[self.dtype]
        kv = sum(self.lens) * g.num_kv_heads * (g.head_dim + g.head_dim_v)
        return size * (kv + len(self.lens) * g.num_heads * (g.head_dim + g.head_dim_v))

    def planner(self) -> Any:
        return onebeat.StepPlanner(self.geometry, max_requests=len(self.lens),
                                   max_context_tokens=max(max(self.lens), 1), device=self.arrays.device)


def make_workload(arrays: Any, lens: list[int], *, heads: int, kv_heads: int, head_dim: int, page: int, dtype: str,
                  layers: int | None = None) -> Workload:
    """Pages lie anywhere in the cache. Without `layers` as many as together are read from memory, not from a cache."""
    geometry = onebeat.AttentionGeometry(num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, page_tokens=page,
                                         kv_dtype=dtype, device=arrays.device)
    pages_each = [-(-length // page) for length in lens]
    pages = sum(pages_each)
    if layers is None:
        layer_bytes = 2 * pages * page * kv_heads * head_dim * _ELEMENT_BYTES[dtype]
        layers = min(_MOST_LAYERS, max(1, -(-3 * arrays.cache_bytes // max(layer_bytes, 1))))
    order = arrays.rng.permutation(pages).astype(np.int32)
    columns = max(pages_each)
    table = np.zeros((len(lens), columns), np.int32)
    begin = 0
    for row, count in enumerate(pages_each):
        table[row, :count] = order[begin:begin + count]
        begin += count
    slots = (table[:, :, None] * page + np.arange(page, dtype=np.int32)).reshape(len(lens), -1)
    cache = (pages, page, kv_heads, head_dim)
    return Workload(
        arrays, geometry, lens, page, dtype,
        [arrays.normal((len(lens), heads, head_dim), dtype) for _ in range(layers)],
        [(arrays.normal(cache, dtype), arrays.normal(cache, dtype)) for _ in range(layers)],
        [arrays.zeros((len(lens), heads, head_dim), dtype) for _ in range(layers)],
        arrays.array(slots), arrays.array(np.array(lens, np.int32)), arrays.array(table),
        arrays.array(np.arange(len(lens), dtype=np.int64)))
