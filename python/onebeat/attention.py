# SPDX-License-Identifier: Apache-2.0
"""Attention over a paged KV cache: decode that executes a plan, and prefill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

from . import _onebeat
from ._onebeat import AttentionGeometry, DecodePlan
from .arrays import Array, empty
from .errors import InvalidArgumentError, WrongTypeError


def decode_attention(
    plan: DecodePlan,
    q: Array,
    k_cache: Array,
    v_cache: Array,
    page_table: Array,
    *,
    out: Optional[Array] = None,
    lse: Optional[Array] = None,
    scale: Optional[float] = None,
    soft_cap: float = 0.0,
    sinks: Optional[Array] = None,
    rows: Optional[Array] = None,
    k_scale: Optional[Array] = None,
    v_scale: Optional[Array] = None,
    return_lse: bool = False,
    stream: Any = None,
) -> Union[Array, tuple[Array, Array]]:
    """Attention of one layer in a decode step, as the plan divides it: one launch on a GPU.

    :param plan: of a :class:`StepPlanner` of this device; gives every length.
    :param q: [tokens, H, D], request after request, or [B, T, H, D]. On a GPU in the cache's type; on the CPU float32,
        float16 or bfloat16.
    :param k_cache: [pages, P, G, D]; any strides but the last, so a slice of an interleaved cache will do.
    :param v_cache: [pages, P, G, Dv].
    :param page_table: int32 [B, pages]: pages of each request in order; with ``rows`` [rows, pages].
    :param out: where the result goes; ``None``: a new array like ``q``, [..., H, Dv].
    :param lse: where the log-sum-exp of the scores goes (natural logarithm, without sinks): float32 [B, H, T] beside
        [B, T, H, D], [H, tokens] beside [tokens, H, D]; ``None``: a new array if ``return_lse``.
    :param scale: of the scores; ``None``: 1 / sqrt(D).
    :param soft_cap: if above 0, scores become ``soft_cap * tanh(score / soft_cap)``.
    :param sinks: float32 [H] logits that take weight and give no value.
    :param rows: int32 [B]: row of ``page_table`` of each request; ``None``: request b has row b.
    :param k_scale, v_scale: float32 [G] of a float8_e4m3 cache: an element means its code times its head's scale;
        ``None``: 1.
    :param return_lse: return ``(out, lse)``.
    :param stream: CUDA stream; ``None``: the current one of the framework of ``q``.
    :returns: ``out``, or ``(out, lse)``. Rows of requests that take no part are not written.
    :raises ValueError: a shape, a stride, a device or a plan of another geometry, naming the argument and what it takes.
    :raises TypeError: a data type.
    :raises IndexError: a page outside the cache or a length beyond the page table; of a call on a GPU it is raised by
        a later call, and the result is then wrong but nothing was out of bounds.
    """
    if not isinstance(plan, DecodePlan):
        raise WrongTypeError(f"plan is a {type(plan).__name__}; it must be a DecodePlan")
    if out is None:
        out = empty((*q.shape[:-1], v_cache.shape[-1]), q)
    if return_lse and lse is None:
        lse = _empty_lse(q)
    _onebeat.decode_attention(
        plan, q, k_cache, v_cache, page_table, out, lse, scale, soft_cap, sinks, rows, k_scale, v_scale, stream
    )
    return (out, lse) if return_lse else out


def prefill_attention(
    geometry: AttentionGeometry,
    q: Array,
    k_cache: Array,
    v_cache: Array,
    page_table: Array,
    query_begin: Sequence[int],
    lens: Sequence[int],
    *,
    out: Optional[Array] = None,
    lse: Optional[Array] = None,
    scale: Optional[float] = None,
    soft_cap: float = 0.0,
    sinks: Optional[Array] = None,
    rows: Optional[Array] = None,
    k_scale: Optional[Array] = None,
    v_scale: Optional[Array] = None,
    return_lse: bool = False,
    stream: Any = None,
) -> Union[Array, tuple[Array, Array]]:
    """Attention of prompts or parts of prompts, whatever came before them in the cache. Host arrays only.

    :param geometry: of the layer; ``workers`` and ``max_query_tokens`` do not matter.
    :param q: [tokens, H, D], request after request. Their keys and values are in the cache already.
    :param query_begin: B + 1 numbers, rising from 0: request b has rows [query_begin[b], query_begin[b + 1]) of ``q``,
        the last of its tokens.
    :param lens: B numbers: KV tokens of each request, its query tokens included.

    The other parameters, what is returned and what is raised are those of :func:`decode_attention`.
    """
    if out is None:
        out = empty((*q.shape[:-1], geometry.head_dim_v), q)
    if return_lse and lse is None:
        lse = _empty_lse(q)
    _onebeat.prefill_attention(
        geometry,
        q,
        k_cache,
        v_cache,
        page_table,
        [int(number) for number in query_begin],
        [int(number) for number in lens],
        out,
        lse,
        scale,
        soft_cap,
        sinks,
        rows,
        k_scale,
        v_scale,
        stream,
    )
    return (out, lse) if return_lse else out


def merge_states(
    states: Sequence[tuple[Array, Array]],
    *,
    out: Optional[Array] = None,
    lse: Optional[Array] = None,
    return_lse: bool = False,
) -> Union[Array, tuple[Array, Array]]:
    """Attention over all tokens, of results over parts of them. Host arrays only.

    :param states: 1 to 32 pairs ``(out, lse)`` as :func:`decode_attention` returns them, all of one shape and type.
        A part whose lse is -inf is empty, whatever its out holds.
    :param out: where the result goes; may be a state's own; ``None``: a new array.
    :param lse: where its log-sum-exp goes, float32; ``None``: a new array if ``return_lse``.
    :returns: ``out``, or ``(out, lse)`` with ``return_lse``.
    :raises ValueError, TypeError: a shape or a type, by name; no or too many states.
    """
    states = [tuple(state) for state in states]
    if out is None or (return_lse and lse is None):
        if not states:
            raise InvalidArgumentError("states is empty; it must have 1 to 32 pairs (out, lse)")
        out = empty(states[0][0].shape, states[0][0]) if out is None else out
        if return_lse and lse is None:
            lse = empty(states[0][1].shape, states[0][1])
    _onebeat.merge_states(states, out, lse)
    return (out, lse) if return_lse else out


def _empty_lse(q: Array) -> Array:
    if len(q.shape) == 4:
        requests, tokens, heads, _ = q.shape
        return empty((requests, heads, tokens), q, "float32", "lse")
    return empty((q.shape[1], q.shape[0]), q, "float32", "lse")
