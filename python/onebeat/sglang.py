# SPDX-License-Identifier: Apache-2.0
"""The step metadata of SGLang's attention backends: the same names, argument order and numbers, one launch each."""

from __future__ import annotations

from typing import Any, Optional

from . import _onebeat
from .arrays import Array
from .errors import InvalidArgumentError


def normal_decode_set_metadata(
    cache_seqlens_int32: Array,
    cu_seqlens_k: Array,
    page_table: Array,
    req_to_token: Array,
    req_pool_indices: Array,
    strided_indices: Optional[Array],
    max_seq_pages: int,
    seq_lens: Array,
    seq_len_delta: int,
    page_size: int,
    swa_page_table: Optional[Array] = None,
    token_to_kv_pool: Any = None,
    *,
    live: bool = False,
    stream: Any = None,
) -> None:
    """Fills lengths, their prefix sums and the page tables of a decode step.

    :param cache_seqlens_int32: int32 [B], written: ``seq_lens + seq_len_delta``.
    :param cu_seqlens_k: int32 [B + 1], written: exclusive prefix sums, the last the total.
    :param page_table: int32 [B, columns], written: ``req_to_token[row, column * page_size] // page_size``.
    :param req_to_token: int32 or int64 [rows, tokens]: slot of each token of each request.
    :param req_pool_indices: int32 or int64 [B]: row of each request in ``req_to_token``; repeats are allowed.
    :param strided_indices: not needed; accepted as in the original.
    :param max_seq_pages: columns that are written in every row, whatever its own length; columns from there on keep
        what they held. With 0 only lengths and sums are written.
    :param seq_lens: int32 or int64 [B].
    :param page_size: a power of two.
    :param swa_page_table: int32, written: the same through ``token_to_kv_pool.full_to_swa_index_mapping``, which
        translates slots before the division.
    :param token_to_kv_pool: has ``full_to_swa_index_mapping``, int32 or int64; without it ``swa_page_table`` is left
        alone, as in the original.
    :param live: write only the pages that a row's own length needs; ``max_seq_pages`` does not matter then.
    :param stream: CUDA stream; ``None``: the current one of the framework of ``seq_lens``.
    :raises ValueError, TypeError, IndexError: naming the argument, its value and its limit. On a GPU lengths and rows
        cannot be seen by the host: they are forced into their range there, and a later call raises.
    """
    uses_window = swa_page_table is not None and token_to_kv_pool is not None
    _onebeat.normal_decode(
        cache_seqlens_int32,
        cu_seqlens_k,
        page_table,
        req_to_token,
        req_pool_indices,
        int(max_seq_pages),
        seq_lens,
        seq_len_delta,
        page_size,
        swa_page_table if uses_window else None,
        _mapping_of(token_to_kv_pool) if uses_window else None,
        live,
        stream,
    )


def draft_decode_set_expand_metadata(
    cache_seqlens_int32: Array,
    page_table: Array,
    last_page_lens: Array,
    decode_length: int,
    cache_loc: Array,
    topk: int,
    page_size: int,
    *,
    stream: Any = None,
) -> None:
    """Fills lengths and page table of the second pass of speculative decoding with several drafts for each request.

    :param cache_seqlens_int32: int32 [B * topk], written: ``decode_length + last_page_lens[b]``.
    :param page_table: int32 [B * topk, columns], written from column 0: the pages of each row of ``cache_loc`` with
        consecutive repeats dropped; other columns keep what they held.
    :param last_page_lens: int32 or int64 [B]: tokens of the prefix in its last page, 0 to ``page_size - 1``.
    :param decode_length: draft tokens so far.
    :param cache_loc: int32 or int64 [rows, tokens] or [tokens]: slots of each row, from the prefix's last page on.
    :param page_size: a power of two.
    :raises ValueError, TypeError, IndexError: naming the argument, its value and its limit; on a GPU as above.
    """
    _onebeat.draft_expand(
        cache_seqlens_int32, page_table, last_page_lens, decode_length, cache_loc, topk, page_size, stream
    )


def _mapping_of(token_to_kv_pool: Any) -> Array:
    mapping = getattr(token_to_kv_pool, "full_to_swa_index_mapping", None)
    if mapping is None:
        raise InvalidArgumentError(
            f"token_to_kv_pool is a {type(token_to_kv_pool).__name__} without full_to_swa_index_mapping"
        )
    return mapping
