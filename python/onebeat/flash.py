# SPDX-License-Identifier: Apache-2.0
"""FlashAttention-3's decode calls on our plan: the same names, argument order, defaults and meaning.

``scheduler_metadata`` is a plan's bytes in a tensor of int32. What these functions do not do is refused by the
argument's name; nothing is ignored.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np

from . import _onebeat
from ._onebeat import AttentionGeometry
from .arrays import Array, empty, framework_of
from .errors import InvalidArgumentError, UnsupportedError, WrongTypeError


def scheduler_metadata_size(
    batch_size: int, headdim: int = 128, qkv_dtype: Any = "bfloat16", *, device: Any = "cuda"
) -> int:
    """Numbers of int32 that the metadata of ``batch_size`` requests has, on this device.

    It grows with the batch; an engine that copies metadata into a buffer of its own makes it of the largest batch's
    size and passes the first ``scheduler_metadata_size(batch_size)`` numbers. It is larger than FlashAttention-3's.

    >>> scheduler_metadata_size(32, device="cpu") < scheduler_metadata_size(64, device="cpu")
    True
    """
    return _onebeat.metadata_size(batch_size, headdim, _dtype_name(qkv_dtype), device)


def get_scheduler_metadata(
    batch_size: int,
    max_seqlen_q: int,
    max_seqlen_k: int,
    num_heads: int,
    num_heads_k: int,
    headdim: int,
    headdim_v: Optional[int],
    qkv_dtype: Any,
    seqused_k: Array,
    cu_seqlens_q: Optional[Array] = None,
    cu_seqlens_k: Optional[Array] = None,
    cu_seqlens_k_new: Optional[Array] = None,
    seqused_q: Optional[Array] = None,
    leftpad_k: Optional[Array] = None,
    page_size: Optional[int] = None,
    max_seqlen_k_new: int = 0,
    is_causal: bool = False,
    window_size_left: int = -1,
    window_size_right: int = -1,
    attention_chunk: int = 0,
    has_softcap: bool = False,
    num_splits: int = 0,
    pack_gqa: Optional[bool] = None,
    sm_margin: int = 0,
    *,
    out: Optional[Array] = None,
    stream: Any = None,
) -> Array:
    """The plan of one decode step for all layers of one geometry, in one launch without a synchronisation.

    The signature is that of FlashAttention-3's operator. Give the result to :func:`flash_attn_with_kvcache` in every
    layer of the step; make it anew when lengths change.

    :param batch_size: B, the size of ``seqused_k``.
    :param max_seqlen_q: T, query tokens of a request: 1, or up to 16 in speculative verification.
    :param max_seqlen_k: longest request. Lengths up to the next power of two, and up to 131,072 anyway, are planned
        right; longer ones are cut to that and reported.
    :param num_heads, num_heads_k: H and G of **this rank**, after attention tensor parallelism.
    :param headdim_v: ``None``: as ``headdim``.
    :param qkv_dtype: of the cache: a torch or NumPy type, or ``"bfloat16"``.
    :param seqused_k: int32 or int64 [B]: KV tokens of each request, the step's own included.
    :param cu_seqlens_q: int32 [B + 1], prefix sums of query tokens. On a GPU every request must have ``max_seqlen_q``.
    :param page_size: P, a power of two; must be given.
    :param window_size_left, window_size_right: as in :func:`flash_attn_with_kvcache`; windows are planned for.
    :param has_softcap, pack_gqa: have no influence on a plan; every value is right.
    :param num_splits: 0: automatic; 1: batch-invariant; others are refused.
    :param cu_seqlens_k, cu_seqlens_k_new, seqused_q, leftpad_k, max_seqlen_k_new, sm_margin: must have their defaults.
    :param out: int32 [scheduler_metadata_size(...)] to write; ``None``: a new tensor beside ``seqused_k``.
    :param stream: CUDA stream; ``None``: the current one of the framework of ``seqused_k``.
    :returns: int32 [scheduler_metadata_size(batch_size, headdim)].
    :raises NotImplementedError: an argument that is not supported, by name.
    :raises ValueError, TypeError: a wrong value, shape or type, by name.
    """
    _refuse(
        cu_seqlens_k=cu_seqlens_k, cu_seqlens_k_new=cu_seqlens_k_new, seqused_q=seqused_q, leftpad_k=leftpad_k
    )
    if type(max_seqlen_k_new) is not int or max_seqlen_k_new:
        raise UnsupportedError(f"max_seqlen_k_new is {max_seqlen_k_new}; it must be 0: write new tokens to the cache first")
    if type(sm_margin) is not int or sm_margin:
        raise UnsupportedError(f"sm_margin is {sm_margin}; it must be 0: the plan uses the whole device")
    if page_size is None:
        raise UnsupportedError("page_size is None; only paged caches are supported")
    if type(batch_size) is not int:
        raise WrongTypeError(f"batch_size is {batch_size!r}; it must be an int")
    if tuple(seqused_k.shape) != (batch_size,):
        raise InvalidArgumentError(f"seqused_k has shape {tuple(seqused_k.shape)}; it must be ({batch_size},), batch_size")
    if out is None:
        size = _onebeat.metadata_size(batch_size, headdim, _dtype_name(qkv_dtype), _device_of(seqused_k))
        out = empty((size,), seqused_k, "int32")
    _onebeat.get_metadata(
        seqused_k,
        cu_seqlens_q,
        out,
        max_seqlen_q,
        max_seqlen_k,
        num_heads,
        num_heads_k,
        headdim,
        headdim if headdim_v is None else headdim_v,
        _dtype_name(qkv_dtype),
        page_size,
        is_causal,
        window_size_left,
        window_size_right,
        0 if attention_chunk is None else attention_chunk,
        num_splits,
        stream,
    )
    return out


def flash_attn_with_kvcache(
    q: Array,
    k_cache: Array,
    v_cache: Array,
    k: Optional[Array] = None,
    v: Optional[Array] = None,
    qv: Optional[Array] = None,
    rotary_cos: Optional[Array] = None,
    rotary_sin: Optional[Array] = None,
    cache_seqlens: Union[int, Array, None] = None,
    cache_batch_idx: Optional[Array] = None,
    cache_leftpad: Optional[Array] = None,
    page_table: Optional[Array] = None,
    cu_seqlens_q: Optional[Array] = None,
    cu_seqlens_k_new: Optional[Array] = None,
    max_seqlen_q: Optional[int] = None,
    rotary_seqlens: Optional[Array] = None,
    q_descale: Optional[Array] = None,
    k_descale: Optional[Array] = None,
    v_descale: Optional[Array] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    attention_chunk: Optional[int] = 0,
    softcap: float = 0.0,
    rotary_interleaved: bool = True,
    scheduler_metadata: Optional[Array] = None,
    num_splits: int = 0,
    pack_gqa: Optional[bool] = None,
    sm_margin: int = 0,
    return_softmax_lse: bool = False,
    sinks: Optional[Array] = None,
    *,
    out: Optional[Array] = None,
    softmax_lse: Optional[Array] = None,
    stream: Any = None,
) -> Union[Array, tuple[Array, Array]]:
    """Attention of a decode or verify step over a paged cache, one launch with ``scheduler_metadata``.

    The arguments are those of FlashAttention-3, with SGLang's ``sinks``; ours come after them, by name only.

    :param q: [B, T, H, D], or [tokens, H, D] with ``cu_seqlens_q`` and ``max_seqlen_q``.
    :param k_cache, v_cache: [pages, P, G, D] and [pages, P, G, Dv]; the new tokens are in them already.
    :param cache_seqlens: int32 or int64 [B], or one number: KV tokens of each request, the step's own included.
    :param page_table: int32 [B, pages].
    :param cu_seqlens_q: int32 [B + 1]; on a GPU every request must have ``max_seqlen_q`` tokens.
    :param cu_seqlens_k_new, rotary_interleaved: say how ``k`` and the rotary tables are laid out; without those, as
        in the original, they have no meaning.
    :param window_size: earlier and later tokens that a query sees besides itself; -1: all. With ``causal`` nothing
        later is seen.
    :param scheduler_metadata: of :func:`get_scheduler_metadata` for this step and geometry, or a
        :class:`DecodePlan`; ``None``: the call plans itself (one more launch). Lengths are then those that the metadata
        was made for. Metadata of another geometry is refused: on the host at once; on a GPU in the kernel, which
        leaves the outputs untouched, and a later call raises.
    :param num_splits: 0: automatic; 1: batch-invariant; others are refused. The same as the metadata's.
    :param pack_gqa: how to compute, not what: query heads of one KV head are always computed together.
    :param sinks: float32 [H] logits that take weight and give no value.
    :param k, v, qv, rotary_cos, rotary_sin, cache_batch_idx, cache_leftpad, rotary_seqlens, q_descale, k_descale,
        v_descale, sm_margin: must have their defaults.
    :param out: where the result goes, shaped as ``q`` with Dv; ``None``: a new array.
    :param softmax_lse: where the log-sum-exp goes, float32 [B, H, T] or [H, tokens]; ``None``: a new array if it is
        returned.
    :param stream: CUDA stream; ``None``: the current one of the framework of ``q``.
    :returns: ``out``, or ``(out, softmax_lse)`` with ``return_softmax_lse``.
    :raises NotImplementedError: an argument that is not supported, by name.
    :raises ValueError, TypeError, IndexError: as :func:`decode_attention`.
    """
    if (
        k is not None
        or v is not None
        or qv is not None
        or rotary_cos is not None
        or rotary_sin is not None
        or cache_batch_idx is not None
        or cache_leftpad is not None
        or rotary_seqlens is not None
        or q_descale is not None
        or k_descale is not None
        or v_descale is not None
    ):
        _refuse(
            k=k,
            v=v,
            qv=qv,
            rotary_cos=rotary_cos,
            rotary_sin=rotary_sin,
            cache_batch_idx=cache_batch_idx,
            cache_leftpad=cache_leftpad,
            rotary_seqlens=rotary_seqlens,
            q_descale=q_descale,
            k_descale=k_descale,
            v_descale=v_descale,
        )
    if type(sm_margin) is not int or sm_margin:
        raise UnsupportedError(f"sm_margin is {sm_margin}; it must be 0: the plan uses the whole device")
    if page_table is None:
        raise UnsupportedError("page_table is None; only paged caches are supported")
    if cache_seqlens is None:
        raise UnsupportedError("cache_seqlens is None; it must be given")
    if isinstance(cache_seqlens, int):
        cache_seqlens = _filled(page_table, cache_seqlens)
    if out is None:
        out = empty((*q.shape[:-1], v_cache.shape[-1]), q)
    if return_softmax_lse and softmax_lse is None:
        softmax_lse = _empty_lse(q)
    _onebeat.flash_decode(
        q,
        k_cache,
        v_cache,
        page_table,
        cache_seqlens,
        cu_seqlens_q,
        1 if max_seqlen_q is None else max_seqlen_q,
        scheduler_metadata,
        out,
        softmax_lse,
        softmax_scale,
        causal,
        window_size[0],
        window_size[1],
        0 if attention_chunk is None else attention_chunk,
        softcap,
        sinks,
        num_splits,
        stream,
    )
    return (out, softmax_lse) if return_softmax_lse else out


def reserve_workspace(geometry: AttentionGeometry, *, max_requests: int, device: Any = "cuda") -> None:
    """Makes one workspace for a stream that will be captured into a CUDA graph; call it once for each such stream.

    Each stream of a device has a workspace: scratch for split requests, room for a plan and the status word that
    kernels report into. A call on a new stream makes it. A stream that is being captured cannot: the first such one
    without a workspace takes the one made here.

    :param geometry: the largest that will be used on the stream; scratch depends on its heads, not on lengths.
    :param max_requests: largest B of calls without metadata.
    :raises RuntimeError: if this build has no CUDA code.
    """
    _cuda("reserve_workspace")(geometry, max_requests, device)


def raise_faults(device: Any = "cuda") -> None:
    """Raises what kernels of a device have reported since the last call, if anything.

    Every call on the device does this first, without waiting; call it after a synchronisation to see the last step's.

    :raises onebeat.PlanMismatchError: metadata of another geometry.
    :raises IndexError: a length, page or slot outside its limits.
    """
    _cuda("raise_faults")(device)


def _cuda(name: str) -> Any:
    if not _onebeat.with_cuda:
        from .errors import UnavailableError

        raise UnavailableError(f"{name}: this build of onebeat has no CUDA code; install it where nvcc is")
    return getattr(_onebeat, name)


def _refuse(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise UnsupportedError(f"{name} is given; it is not supported and must be None")


def _filled(page_table: Array, value: int) -> Array:
    lens = empty((page_table.shape[0],), page_table, "int32", "cache_seqlens")
    lens[:] = value
    return lens


def _empty_lse(q: Array) -> Array:
    if len(q.shape) == 4:
        requests, tokens, heads, _ = q.shape
        return empty((requests, heads, tokens), q, "float32", "softmax_lse")
    return empty((q.shape[1], q.shape[0]), q, "float32", "softmax_lse")


def _dtype_name(dtype: Any) -> str:
    if isinstance(dtype, str) or framework_of(dtype) == "torch":
        return str(dtype)
    try:
        name = np.dtype(dtype).name
    except TypeError:
        raise WrongTypeError(f"qkv_dtype is {dtype!r}; it must be a data type such as torch.bfloat16") from None
    return "bfloat16" if name == "uint16" else name


def _device_of(array: Array) -> str:
    if framework_of(array) == "numpy":
        return "cpu"
    device = getattr(array, "device", "cpu")
    return str(device) if framework_of(array) == "torch" else f"cuda:{device.id}" if hasattr(device, "id") else "cpu"
