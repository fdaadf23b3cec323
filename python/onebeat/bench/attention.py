# SPDX-License-Identifier: Apache-2.0
"""Decode attention beside FA3 and FlashInfer, and the attention of a whole step."""

from __future__ import annotations

from typing import Any

import numpy as np

import onebeat
from onebeat.bench.measure import Candidate
from onebeat.bench.metadata import Metadata
from onebeat.bench.workload import Workload

_TOLERANCE = 0.02  # Between implementations: a bf16 result has 8 bits.
_FLASHINFER_WORKSPACE = 128 << 20


def attention_candidates(work: Workload) -> tuple[list[Candidate], dict[str, str]]:
    """Candidates for the attention of some layers, plans and metadata made before; and why others are absent."""
    candidates, absent = [_ours(work)], {}
    for name, make in {"numpy": _numpy, "fa3": _fa3, "flashinfer": _flashinfer}.items():
        if (name == "numpy") != (work.arrays.device == "cpu"):
            continue
        try:
            run, outs = make(work)
        except ImportError as error:
            absent[name] = str(error)
            continue
        candidates.append(Candidate(name, run, lambda outs=outs: outs, _TOLERANCE, work.layers))
    if work.arrays.device == "cpu":
        absent.update(fa3="needs a GPU", flashinfer="needs a GPU")
    return candidates, absent


def step_candidates(work: Workload) -> tuple[list[Candidate], dict[str, str]]:
    """Whole steps: metadata, then the attention of every layer."""
    metadata = Metadata(work)
    planner = work.planner()
    plan = planner.plan(work.seq_lens)
    candidates, absent = [], {}

    def attend(layer: int, table: Any) -> None:
        onebeat.decode_attention(plan, work.queries[layer], *work.caches[layer], table, out=work.outs[layer])

    def once() -> None:
        metadata.ours()
        planner.plan(metadata.lens, out=plan)
        for layer in range(work.layers):
            attend(layer, metadata.page_table)

    def each_layer() -> None:
        metadata.ours()
        for layer in range(work.layers):
            planner.plan(metadata.lens, out=plan)
            attend(layer, metadata.page_table)

    for name, run in {"onebeat": once, "onebeat, a plan each layer": each_layer}.items():
        candidates.append(Candidate(name, run, lambda: list(work.outs), _TOLERANCE))
    if work.arrays.device == "cpu":
        absent.update(fa3="needs a GPU", flashinfer="needs a GPU")
        return candidates, absent
    for name, fused in {"fa3, metadata in PyTorch": False, "fa3, fused Triton metadata": True}.items():
        try:
            fill = metadata.triton if fused else metadata.eager
            attend_fa3, outs = _fa3_layers(work, metadata.lens, metadata.page_table)
            if fused:
                metadata.need_triton()
        except ImportError as error:
            absent[name] = str(error)
            continue

        def fa3(fill: Any = fill, attend_fa3: Any = attend_fa3) -> None:
            fill()
            attend_fa3()

        candidates.append(Candidate(name, fa3, lambda outs=outs: outs, _TOLERANCE))
    absent["flashinfer"] = "plans on the host, which is no part of a captured step"
    return candidates, absent


def _ours(work: Workload) -> Candidate:
    plan = work.planner().plan(work.seq_lens)

    def run() -> None:
        for layer in range(work.layers):
            onebeat.decode_attention(plan, work.queries[layer], *work.caches[layer], work.page_table,
                                     out=work.outs[layer])

    return Candidate("onebeat", run, lambda: list(work.outs), 0.0, work.layers)


def _numpy(work: Workload) -> tuple[Any, list[Any]]:
    """One request after the other, in fp32: what somebody would write without a library."""
    repeats = work.geometry.num_heads // work.geometry.num_kv_heads
    scale = work.geometry.head_dim**-0.5
    outs = [np.zeros(query.shape, np.float32) for query in work.queries]
    host = [[work.arrays.host(part).astype(np.float32) for part in (query, *cache)]
            for query, cache in zip(work.queries, work.caches)]
    table = np.asarray(work.page_table)

    def run() -> None:
        for (query, keys, values), out in zip(host, outs):
            for request, length in enumerate(work.lens):
                pages = table[request, :-(-length // work.page)]
                k, v = (np.repeat(part[pages].reshape(-1, *part.shape[2:])[:length], repeats, axis=1)
                        for part in (keys, values))
                scores = np.einsum("hd,khd->hk", query[request], k) * scale
                weights = np.exp(scores - scores.max(1, keepdims=True))
                out[request] = np.einsum("hk,khd->hd", weights / weights.sum(1, keepdims=True), v)

    return run, outs


def _fa3(work: Workload) -> tuple[Any, list[Any]]:
    return _fa3_layers(work, work.seq_lens, work.page_table)


def _fa3_layers(work: Workload, lens: Any, page_table: Any) -> tuple[Any, list[Any]]:
    """FA3 as SGLang ships it."""
    try:
        from sgl_kernel.flash_attn import flash_attn_with_kvcache
    except (ImportError, OSError, RuntimeError) as error:
        raise ImportError(f"sgl_kernel (package sglang-kernel): {error}") from error
    outs: list[Any] = [None] * work.layers

    def run() -> None:
        for layer in range(work.layers):
            k_cache, v_cache = work.caches[layer]
            out = flash_attn_with_kvcache(
                q=work.queries[layer].unsqueeze(1), k_cache=k_cache, v_cache=v_cache, cache_seqlens=lens,
                page_table=page_table, softmax_scale=work.geometry.head_dim**-0.5, causal=True)
            outs[layer] = out.squeeze(1)

    return run, outs


def _flashinfer(work: Workload) -> tuple[Any, list[Any]]:
    try:
        import flashinfer
    except (ImportError, OSError, RuntimeError) as error:
        raise ImportError(f"flashinfer (package flashinfer-python): {error}") from error
    import torch

    g = work.geometry
    counts = np.array([-(-length // work.page) for length in work.lens], np.int32)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    table = work.arrays.host(work.page_table)
    indices = np.concatenate([table[row, :count] for row, count in enumerate(counts)]).astype(np.int32)
    last = np.array([(length - 1) % work.page + 1 for length in work.lens], np.int32)
    on_device = [work.arrays.array(values) for values in (indptr, indices, last)]
    buffers = [values.clone() for values in on_device]
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
        torch.empty(_FLASHINFER_WORKSPACE, dtype=torch.uint8, device=work.arrays.device), "NHD", use_cuda_graph=True,
        use_tensor_cores=True, paged_kv_indptr_buffer=buffers[0], paged_kv_indices_buffer=buffers[1],
        paged_kv_last_page_len_buffer=buffers[2])
    dtype = getattr(torch, work.dtype)
    wrapper.plan(*on_device, g.num_heads, g.num_kv_heads, g.head_dim, work.page, q_data_type=dtype, kv_data_type=dtype)
    outs = [torch.empty_like(query) for query in work.queries]

    def run() -> None:
        for layer in range(work.layers):
            wrapper.run(work.queries[layer], work.caches[layer], out=outs[layer])

    return run, outs
