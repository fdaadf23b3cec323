# SPDX-License-Identifier: Apache-2.0
"""Arguments at random: a right result, or an exception of ours, or a TypeError; never a crash or a silent wrong result."""

import os

import numpy as np
import pytest
from frameworks import KINDS, TOLERANCE, attention, framework
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onebeat

EXAMPLES = int(os.environ.get("ONEBEAT_FUZZ_EXAMPLES", "150"))
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not os.environ.get("ONEBEAT_FUZZ_RANDOM"),
    suppress_health_check=list(HealthCheck),
)

#: What an argument may become instead of what it was.
WRONG = st.one_of(
    st.none(),
    st.integers(-3, 70),
    st.sampled_from(["", "cuda:99", "x", 1.5, True, [], [1, 2], (1,), {}, object]),
    st.builds(
        lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
        st.lists(st.integers(0, 5), min_size=0, max_size=5),
        st.sampled_from(["float32", "float16", "int32", "int64", "uint16", "uint8", "bool", "complex64", "float64"]),
        st.integers(0, 3),
    ),
)


def decode_call(lib, dtype, lens, tokens, heads, page, seed):
    rng = np.random.default_rng(seed)
    count, columns = len(lens), max(1, -(-max(lens, default=1) // page))
    pages = count * columns + 1
    table = rng.permutation(pages)[: count * columns].reshape(count, columns).astype(np.int32)
    q = rng.standard_normal((count, tokens, heads[0], 64)).astype(np.float32)
    k, v = rng.standard_normal((2, pages, page, heads[1], 64)).astype(np.float32)
    q, k, v = (lib.array(x, dtype) for x in (q, k, v))
    arguments = dict(
        q=q,
        k_cache=k,
        v_cache=v,
        cache_seqlens=lib.array(np.array(lens, np.int32)),
        page_table=lib.array(table),
        causal=True,
    )
    return arguments, [lib.numpy(x) for x in (q, k, v)], table


def forget_faults(lib):
    if lib.device == "cuda":
        lib.synchronize()
        try:
            onebeat.raise_faults()
        except onebeat.OnebeatError:
            pass


SHAPES = dict(
    lens=st.lists(st.integers(4, 200), min_size=1, max_size=5),
    tokens=st.integers(1, 4),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 2), (8, 1), (5, 5)]),
    page=st.sampled_from([1, 2, 16, 64]),
    seed=st.integers(0, 2**31),
)


@pytest.mark.parametrize("kind", KINDS)
@BOUNDED
@given(
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    window=st.sampled_from([-1, -1, 0, 3, 50, 1000]),
    softcap=st.sampled_from([0.0, 0.0, 5.0]),
    with_metadata=st.booleans(),
    **SHAPES,
)
def test_right_arguments_give_right_results(kind, dtype, window, softcap, with_metadata, lens, tokens, heads, page, seed):
    lib = framework(kind)
    if kind == "torch-cuda" and dtype == "float32":
        dtype = "bfloat16"
    arguments, inputs, table = decode_call(lib, dtype, lens, tokens, heads, page, seed)
    metadata = None
    if with_metadata:
        metadata = onebeat.get_scheduler_metadata(
            len(lens), tokens, max(lens), *heads, 64, 64, dtype, arguments["cache_seqlens"], page_size=page,
            is_causal=True, window_size_left=window,
        )
    out = onebeat.flash_attn_with_kvcache(
        **arguments, window_size=(window, -1), softcap=softcap, scheduler_metadata=metadata
    )
    lib.synchronize()
    want, _ = attention(
        inputs[0].reshape(-1, heads[0], 64), *inputs[1:], table, lens, [tokens] * len(lens), window_left=window,
        soft_cap=softcap,
    )
    assert np.abs(lib.numpy(out).reshape(want.shape) - want).max() < TOLERANCE[dtype]


FLASH_ARGUMENTS = (
    "q k_cache v_cache k v qv cache_seqlens page_table cu_seqlens_q max_seqlen_q softmax_scale causal window_size "
    "attention_chunk softcap scheduler_metadata num_splits sm_margin sinks out softmax_lse stream"
).split()


@pytest.mark.parametrize("kind", KINDS)
@BOUNDED
@given(changes=st.dictionaries(st.sampled_from(FLASH_ARGUMENTS), WRONG, min_size=1, max_size=3), **SHAPES)
def test_wrong_arguments_are_refused_or_harmless(kind, changes, lens, tokens, heads, page, seed):
    lib = framework(kind)
    arguments, _, _ = decode_call(lib, "bfloat16", lens, tokens, heads, page, seed)
    if kind == "torch-cuda":  # A made-up stream cannot be told from a real one.
        changes.pop("stream", None)
    try:
        out = onebeat.flash_attn_with_kvcache(**{**arguments, **changes})
        lib.synchronize()
        assert out is not None
    except (onebeat.OnebeatError, TypeError, AttributeError, IndexError):
        pass
    forget_faults(lib)
    onebeat.flash_attn_with_kvcache(**arguments)  # Still works.
    lib.synchronize()


@pytest.mark.parametrize("kind", KINDS)
@BOUNDED
@given(
    noise=st.lists(st.tuples(st.integers(0, 10**6), st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=8),
    **SHAPES,
)
def test_damaged_metadata_is_refused_or_harmless(kind, noise, lens, tokens, heads, page, seed):
    lib = framework(kind)
    if kind == "torch-cuda":
        pytest.skip("a GPU executes records whose stamp fits without asking the host, which alone can prove a plan")
    arguments, _, _ = decode_call(lib, "bfloat16", lens, tokens, heads, page, seed)
    metadata = onebeat.get_scheduler_metadata(
        len(lens), tokens, max(lens), *heads, 64, 64, "bfloat16", arguments["cache_seqlens"], page_size=page,
        is_causal=True,
    )
    for at, value in noise:
        metadata[at % metadata.shape[0]] = value
    try:
        onebeat.flash_attn_with_kvcache(**arguments, scheduler_metadata=metadata)
    except onebeat.OnebeatError:
        pass


@BOUNDED
@given(
    changes=st.dictionaries(
        st.sampled_from(
            "batch_size max_seqlen_q max_seqlen_k num_heads num_heads_k headdim headdim_v qkv_dtype seqused_k cu_seqlens_q "
            "cu_seqlens_k page_size is_causal window_size_left window_size_right attention_chunk num_splits sm_margin out "
            "stream".split()
        ),
        WRONG,
        min_size=1,
        max_size=3,
    )
)
def test_wrong_arguments_of_metadata_are_refused_or_harmless(changes):
    arguments = dict(
        batch_size=2,
        max_seqlen_q=1,
        max_seqlen_k=100,
        num_heads=4,
        num_heads_k=2,
        headdim=64,
        headdim_v=64,
        qkv_dtype="bfloat16",
        seqused_k=np.array([5, 100], np.int32),
        page_size=16,
    )
    try:
        onebeat.get_scheduler_metadata(**{**arguments, **changes})
    except (onebeat.OnebeatError, TypeError, AttributeError, IndexError):
        pass


@BOUNDED
@given(changes=st.dictionaries(st.integers(0, 11), WRONG, min_size=1, max_size=3))
def test_wrong_arguments_of_step_metadata_are_refused_or_harmless(changes):
    class Pool:
        full_to_swa_index_mapping = np.arange(100)

    zeros = [np.zeros(shape, np.int32) for shape in ((2,), (3,), (2, 8))]
    arguments = [
        *zeros, np.arange(100).reshape(2, 50), np.array([1, 0]), None, 3, np.array([40, 7]), 1, 16, zeros[2].copy(), Pool()
    ]
    for at, value in changes.items():
        arguments[at] = value
    try:
        onebeat.normal_decode_set_metadata(*arguments)
    except (onebeat.OnebeatError, TypeError, ValueError):
        pass


@BOUNDED
@given(
    fields=st.dictionaries(
        st.sampled_from(
            "num_heads num_kv_heads head_dim head_dim_v page_tokens window_left chunk_tokens max_query_tokens tile_tokens "
            "workers invariant_chunk_tokens causal kv_dtype device".split()
        ),
        st.one_of(st.integers(-5, 600), st.sampled_from([2**31, -(2**31), 2**40, None, "cpu", "float16", "x", 1.5])),
        max_size=4,
    ),
    lens=st.lists(st.integers(-2, 5000), max_size=6),
)
def test_geometries_and_plans(fields, lens):
    try:
        geometry = onebeat.AttentionGeometry(**{**dict(num_heads=8, num_kv_heads=2, head_dim=64), **fields})
        planner = onebeat.StepPlanner(geometry, max_requests=5, max_context_tokens=4096)
        plan = planner.plan(lens)
    except (onebeat.OnebeatError, TypeError):
        return
    plan.check(lens=lens)
    assert plan.lens == lens
