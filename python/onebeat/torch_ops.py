# SPDX-License-Identifier: Apache-2.0
"""The drop-in calls as operators of torch, ``torch.ops.onebeat.*``, for torch.compile and graph capture.

Imported by the package where torch is installed. Shapes, units and errors are those of the functions of the same name.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import library

from . import flash, sglang

_LIBRARY = library.Library("onebeat", "DEF")

_LIBRARY.define(
    "get_scheduler_metadata(int batch_size, int max_seqlen_q, int max_seqlen_k, int num_heads, int num_heads_k, "
    "int headdim, int headdim_v, ScalarType qkv_dtype, Tensor seqused_k, Tensor? cu_seqlens_q=None, "
    "Tensor? cu_seqlens_k=None, Tensor? cu_seqlens_k_new=None, Tensor? seqused_q=None, Tensor? leftpad_k=None, "
    "int? page_size=None, int max_seqlen_k_new=0, bool is_causal=False, int window_size_left=-1, "
    "int window_size_right=-1, int attention_chunk=0, bool has_softcap=False, int num_splits=0, bool? pack_gqa=None, "
    "int sm_margin=0) -> Tensor"
)
_LIBRARY.define(
    "flash_attn_with_kvcache(Tensor q, Tensor k_cache, Tensor v_cache, Tensor page_table, Tensor cache_seqlens, "
    "Tensor? cu_seqlens_q=None, int? max_seqlen_q=None, Tensor? scheduler_metadata=None, float? softmax_scale=None, "
    "bool causal=False, int window_size_left=-1, int window_size_right=-1, int attention_chunk=0, float softcap=0.0, "
    "Tensor? sinks=None, int num_splits=0) -> (Tensor, Tensor)"
)
_LIBRARY.define(
    "flash_attn_with_kvcache.out(Tensor q, Tensor k_cache, Tensor v_cache, Tensor page_table, Tensor cache_seqlens, "
    "Tensor? cu_seqlens_q=None, int? max_seqlen_q=None, Tensor? scheduler_metadata=None, float? softmax_scale=None, "
    "bool causal=False, int window_size_left=-1, int window_size_right=-1, int attention_chunk=0, float softcap=0.0, "
    "Tensor? sinks=None, int num_splits=0, *, Tensor(a!) out) -> Tensor(a!)"
)
_LIBRARY.define(
    "normal_decode_set_metadata(Tensor(a!) cache_seqlens_int32, Tensor(b!) cu_seqlens_k, Tensor(c!) page_table, "
    "Tensor req_to_token, Tensor req_pool_indices, int max_seq_pages, Tensor seq_lens, int seq_len_delta, "
    "int page_size, Tensor(d!)? swa_page_table=None, Tensor? full_to_swa_index_mapping=None, bool live=False) -> ()"
)
_LIBRARY.define(
    "draft_decode_set_expand_metadata(Tensor(a!) cache_seqlens_int32, Tensor(b!) page_table, Tensor last_page_lens, "
    "int decode_length, Tensor cache_loc, int topk, int page_size) -> ()"
)


class _Pool:
    def __init__(self, mapping: torch.Tensor) -> None:
        self.full_to_swa_index_mapping = mapping


def _get_scheduler_metadata(*args: Any, **kwargs: Any) -> torch.Tensor:
    return flash.get_scheduler_metadata(*args, **kwargs)


def _flash_attn_with_kvcache(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_table: torch.Tensor,
    cache_seqlens: torch.Tensor,
    cu_seqlens_q: Optional[torch.Tensor] = None,
    max_seqlen_q: Optional[int] = None,
    scheduler_metadata: Optional[torch.Tensor] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size_left: int = -1,
    window_size_right: int = -1,
    attention_chunk: int = 0,
    softcap: float = 0.0,
    sinks: Optional[torch.Tensor] = None,
    num_splits: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    return flash.flash_attn_with_kvcache(
        q,
        k_cache,
        v_cache,
        cache_seqlens=cache_seqlens,
        page_table=page_table,
        cu_seqlens_q=cu_seqlens_q,
        max_seqlen_q=max_seqlen_q,
        softmax_scale=softmax_scale,
        causal=causal,
        window_size=(window_size_left, window_size_right),
        attention_chunk=attention_chunk,
        softcap=softcap,
        scheduler_metadata=scheduler_metadata,
        num_splits=num_splits,
        sinks=sinks,
        return_softmax_lse=True,
    )


def _flash_attn_with_kvcache_out(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_table: torch.Tensor,
    cache_seqlens: torch.Tensor,
    cu_seqlens_q: Optional[torch.Tensor] = None,
    max_seqlen_q: Optional[int] = None,
    scheduler_metadata: Optional[torch.Tensor] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size_left: int = -1,
    window_size_right: int = -1,
    attention_chunk: int = 0,
    softcap: float = 0.0,
    sinks: Optional[torch.Tensor] = None,
    num_splits: int = 0,
    *,
    out: torch.Tensor,
) -> torch.Tensor:
    flash._onebeat.flash_decode(
        q,
        k_cache,
        v_cache,
        page_table,
        cache_seqlens,
        cu_seqlens_q,
        1 if max_seqlen_q is None else max_seqlen_q,
        scheduler_metadata,
        out,
        None,
        softmax_scale,
        causal,
        window_size_left,
        window_size_right,
        attention_chunk,
        softcap,
        sinks,
        num_splits,
        None,
    )
    return out


def _normal_decode_set_metadata(
    cache_seqlens_int32: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    page_table: torch.Tensor,
    req_to_token: torch.Tensor,
    req_pool_indices: torch.Tensor,
    max_seq_pages: int,
    seq_lens: torch.Tensor,
    seq_len_delta: int,
    page_size: int,
    swa_page_table: Optional[torch.Tensor] = None,
    full_to_swa_index_mapping: Optional[torch.Tensor] = None,
    live: bool = False,
) -> None:
    sglang.normal_decode_set_metadata(
        cache_seqlens_int32,
        cu_seqlens_k,
        page_table,
        req_to_token,
        req_pool_indices,
        None,
        max_seq_pages,
        seq_lens,
        seq_len_delta,
        page_size,
        swa_page_table,
        None if full_to_swa_index_mapping is None else _Pool(full_to_swa_index_mapping),
        live=live,
    )


def _draft_decode_set_expand_metadata(
    cache_seqlens_int32: torch.Tensor,
    page_table: torch.Tensor,
    last_page_lens: torch.Tensor,
    decode_length: int,
    cache_loc: torch.Tensor,
    topk: int,
    page_size: int,
) -> None:
    sglang.draft_decode_set_expand_metadata(
        cache_seqlens_int32, page_table, last_page_lens, decode_length, cache_loc, topk, page_size
    )


def _fake_metadata(batch_size: int, *args: Any, **kwargs: Any) -> torch.Tensor:
    headdim = args[4] if len(args) > 4 else kwargs["headdim"]
    qkv_dtype = args[6] if len(args) > 6 else kwargs["qkv_dtype"]
    seqused_k = args[7] if len(args) > 7 else kwargs["seqused_k"]
    size = flash.scheduler_metadata_size(batch_size, headdim, qkv_dtype, device=seqused_k.device)
    return seqused_k.new_empty((size,), dtype=torch.int32)


def _fake_attention(
    q: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, *args: Any, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    out = q.new_empty((*q.shape[:-1], v_cache.shape[-1]))
    shape = (q.shape[0], q.shape[2], q.shape[1]) if q.dim() == 4 else (q.shape[1], q.shape[0])
    return out, q.new_empty(shape, dtype=torch.float32)


def _fake_attention_out(*args: Any, out: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    return out


def _fake_nothing(*args: Any, **kwargs: Any) -> None:
    return None


for _name, _function, _fake in (
    ("get_scheduler_metadata", _get_scheduler_metadata, _fake_metadata),
    ("flash_attn_with_kvcache", _flash_attn_with_kvcache, _fake_attention),
    ("flash_attn_with_kvcache.out", _flash_attn_with_kvcache_out, _fake_attention_out),
    ("normal_decode_set_metadata", _normal_decode_set_metadata, _fake_nothing),
    ("draft_decode_set_expand_metadata", _draft_decode_set_expand_metadata, _fake_nothing),
):
    for _key in ("CPU", "CUDA"):
        _LIBRARY.impl(_name, _function, _key)
    library.register_fake(f"onebeat::{_name}", _fake, lib=_LIBRARY)
