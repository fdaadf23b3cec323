# SPDX-License-Identifier: Apache-2.0
"""get_scheduler_metadata and flash_attn_with_kvcache."""

import inspect

import numpy as np
import pytest
from frameworks import KINDS, KINDS_AND_TYPES, TOLERANCE, Batch, attention, framework

import onebeat

HEADS, DIM = (8, 2), 64


def metadata_of(lib, batch, dtype="bfloat16", tokens=1, **changes):
    lens = lib.array(batch.lens, "int32")
    arguments = dict(
        batch_size=len(batch.lens),
        max_seqlen_q=tokens,
        max_seqlen_k=max(batch.lens),
        num_heads=batch.heads,
        num_heads_k=batch.kv_heads,
        headdim=batch.dim,
        headdim_v=batch.dim,
        qkv_dtype=dtype,
        seqused_k=lens,
        page_size=batch.page,
        is_causal=True,
    )
    return onebeat.get_scheduler_metadata(**{**arguments, **changes})


def call(lib, batch, q, k_cache, v_cache, tokens=1, **changes):
    arguments = dict(
        cache_seqlens=lib.array(batch.lens, "int32"),
        page_table=lib.array(batch.page_table),
        causal=True,
    )
    q = q.reshape(len(batch.lens), tokens, *q.shape[1:])
    return onebeat.flash_attn_with_kvcache(q, k_cache, v_cache, **{**arguments, **changes})


def check(lib, batch, inputs, out, dtype, tokens=1, **masks):
    lib.synchronize()
    want, _ = attention(*inputs, batch.page_table, batch.lens, batch.query_tokens, **masks)
    got = lib.numpy(out).reshape(want.shape)
    assert np.abs(got - want).max() < TOLERANCE[dtype]


@pytest.mark.parametrize("with_metadata", [False, True])
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("kind, dtype", KINDS_AND_TYPES)
def test_with_and_without_metadata(kind, dtype, tokens, with_metadata):
    lib = framework(kind)
    batch = Batch([4, 17, 300, 1000], [tokens] * 4, heads=HEADS, dim=DIM)
    arrays, inputs = batch.rounded(lib, dtype)
    metadata = metadata_of(lib, batch, dtype, tokens) if with_metadata else None
    out, lse = call(lib, batch, *arrays, tokens, scheduler_metadata=metadata, return_softmax_lse=True)
    check(lib, batch, inputs, out, dtype)
    assert tuple(lse.shape) == (4, HEADS[0], tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_planned_for(kind):
    lib = framework(kind)
    batch = Batch([40, 900], [1, 1], heads=HEADS, dim=DIM)
    arrays, inputs = batch.rounded(lib, "bfloat16")
    metadata = metadata_of(lib, batch, window_size_left=100, window_size_right=0)
    out = call(lib, batch, *arrays, scheduler_metadata=metadata, window_size=(100, 0))
    check(lib, batch, inputs, out, "bfloat16", window_left=100)


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_layout_with_cu_seqlens_q(kind):
    lib = framework(kind)
    batch = Batch([40, 900, 7], [2] * 3, heads=HEADS, dim=DIM)
    arrays, inputs = batch.rounded(lib, "bfloat16")
    cu = lib.array([0, 2, 4, 6], "int32")
    q, k, v = arrays
    out, lse = onebeat.flash_attn_with_kvcache(
        q, k, v, cache_seqlens=lib.array(batch.lens, "int32"), page_table=lib.array(batch.page_table), cu_seqlens_q=cu,
        cu_seqlens_k_new=cu, max_seqlen_q=2, causal=True, return_softmax_lse=True,
    )
    assert tuple(lse.shape) == (HEADS[0], 6)
    check(lib, batch, inputs, out, "bfloat16")


def test_unequal_query_tokens_on_the_host():
    lib = framework("numpy")
    batch = Batch([40, 900, 7], [1, 3, 2], heads=HEADS, dim=DIM)
    (q, k, v), inputs = batch.rounded(lib, "float32")
    cu = np.array([0, 1, 4, 6], np.int32)
    metadata = metadata_of(lib, batch, "float32", 3, cu_seqlens_q=cu)
    for given in (None, metadata):
        out = onebeat.flash_attn_with_kvcache(
            q, k, v, cache_seqlens=np.array(batch.lens), page_table=batch.page_table, cu_seqlens_q=cu, max_seqlen_q=3,
            causal=True, scheduler_metadata=given,
        )
        check(lib, batch, inputs, out, "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_has_the_size_that_is_told(kind):
    lib = framework(kind)
    batch = Batch([4, 17], [1, 1], heads=HEADS, dim=DIM)
    size = onebeat.scheduler_metadata_size(2, DIM, device=lib.device)
    assert tuple(metadata_of(lib, batch).shape) == (size,)
    buffer = lib.array(np.zeros(onebeat.scheduler_metadata_size(64, DIM, device=lib.device), np.int32))
    returned = metadata_of(lib, batch, out=buffer[:size])
    assert tuple(returned.shape) == (size,)
    arrays, inputs = batch.rounded(lib, "bfloat16")
    check(lib, batch, inputs, call(lib, batch, *arrays, scheduler_metadata=buffer[:size]), "bfloat16")
    with pytest.raises(onebeat.PlanMismatchError, match="scheduler_metadata_size"):
        call(lib, batch, *arrays, scheduler_metadata=buffer)


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_of_another_geometry_is_refused(kind):
    lib = framework(kind)
    batch = Batch([40, 900], [1, 1], heads=HEADS, dim=DIM)
    arrays, inputs = batch.rounded(lib, "bfloat16")
    out = lib.array(np.full((2, 1, HEADS[0], DIM), 7), "bfloat16")
    others = [dict(num_heads_k=1), dict(num_heads=16), dict(window_size_left=5), dict(page_size=32), dict(max_seqlen_q=2)]
    for changes in others:
        metadata = metadata_of(lib, batch, **changes)
        with pytest.raises(onebeat.PlanMismatchError):
            call(lib, batch, *arrays, scheduler_metadata=metadata, out=out)
            lib.synchronize()
            call(lib, batch, *arrays)
        assert (lib.numpy(out) == 7).all()
    check(lib, batch, inputs, call(lib, batch, *arrays), "bfloat16")


@pytest.mark.parametrize("kind", KINDS)
def test_plans_of_ours_are_metadata_too(kind):
    lib = framework(kind)
    batch = Batch([40, 900], [1, 1], heads=HEADS, dim=DIM)
    arrays, inputs = batch.rounded(lib, "bfloat16")
    lens = lib.array(batch.lens, "int32")
    plans = {}
    for window in (-1, 5):
        geometry = onebeat.AttentionGeometry(*HEADS, DIM, page_tokens=batch.page, window_left=window, device=lib.device)
        plans[window] = onebeat.StepPlanner(
            geometry, max_requests=8, max_context_tokens=2048, device=lib.device
        ).plan(lens)
    check(lib, batch, inputs, call(lib, batch, *arrays, scheduler_metadata=plans[-1]), "bfloat16")
    with pytest.raises(onebeat.PlanMismatchError, match="window 5"):
        call(lib, batch, *arrays, scheduler_metadata=plans[5])


def test_stale_metadata_is_seen_on_the_host():
    lib = framework("numpy")
    batch = Batch([40, 900], [1, 1], heads=HEADS, dim=DIM)
    arrays, _ = batch.rounded(lib, "bfloat16")
    metadata = metadata_of(lib, batch)
    with pytest.raises(onebeat.PlanMismatchError, match=r"cache_seqlens\[1\] is 899.*900"):
        call(lib, batch, *arrays, scheduler_metadata=metadata, cache_seqlens=np.array([40, 899]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_supported_is_refused_by_name(kind):
    lib = framework(kind)
    batch = Batch([40, 900], [1, 1], heads=HEADS, dim=DIM)
    arrays, _ = batch.rounded(lib, "bfloat16")
    lens = lib.array(batch.lens, "int32")
    for name in "k v qv rotary_cos rotary_sin cache_batch_idx cache_leftpad rotary_seqlens q_descale k_descale v_descale".split():
        with pytest.raises(NotImplementedError, match=f"^{name} is given"):
            call(lib, batch, *arrays, **{name: lens})
    for name, value in dict(sm_margin=4, num_splits=3, page_table=None, cache_seqlens=None).items():
        with pytest.raises(NotImplementedError, match=f"^{name} is {value}"):
            call(lib, batch, *arrays, **{name: value})
    for name in "cu_seqlens_k cu_seqlens_k_new seqused_q leftpad_k".split():
        with pytest.raises(NotImplementedError, match=f"^{name} is given"):
            metadata_of(lib, batch, **{name: lens})
    for name, value in dict(max_seqlen_k_new=1, sm_margin=4, num_splits=7, page_size=None, max_seqlen_q=17).items():
        with pytest.raises(NotImplementedError, match=f"^{name} is {value}"):
            metadata_of(lib, batch, **{name: value})


def test_batch_invariant_bits_on_the_host():
    lib = framework("numpy")
    together = Batch([5000, 900, 3], [1] * 3, heads=HEADS, dim=DIM)
    (q, k, v), inputs = together.rounded(lib, "float32")
    out = call(lib, together, q, k, v, num_splits=1, scheduler_metadata=metadata_of(lib, together, "float32", num_splits=1))
    check(lib, together, inputs, out, "float32")
    alone = onebeat.flash_attn_with_kvcache(
        q[:1, None], k, v, cache_seqlens=np.array([5000]), page_table=together.page_table[:1], causal=True, num_splits=1
    )
    np.testing.assert_array_equal(alone[0], out[0])


def test_signatures_are_those_of_the_originals():
    flash = list(inspect.signature(onebeat.flash_attn_with_kvcache).parameters)
    assert flash[:30] == (
        "q k_cache v_cache k v qv rotary_cos rotary_sin cache_seqlens cache_batch_idx cache_leftpad page_table "
        "cu_seqlens_q cu_seqlens_k_new max_seqlen_q rotary_seqlens q_descale k_descale v_descale softmax_scale causal "
        "window_size attention_chunk softcap rotary_interleaved scheduler_metadata num_splits pack_gqa sm_margin "
        "return_softmax_lse"
    ).split()
    metadata = list(inspect.signature(onebeat.get_scheduler_metadata).parameters)
    assert metadata[:24] == (
        "batch_size max_seqlen_q max_seqlen_k num_heads num_heads_k headdim headdim_v qkv_dtype seqused_k cu_seqlens_q "
        "cu_seqlens_k cu_seqlens_k_new seqused_q leftpad_k page_size max_seqlen_k_new is_causal window_size_left "
        "window_size_right attention_chunk has_softcap num_splits pack_gqa sm_margin"
    ).split()
