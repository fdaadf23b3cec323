# SPDX-License-Identifier: Apache-2.0
"""decode_attention and prefill_attention against attention in float64."""

import numpy as np
import pytest
from frameworks import KINDS_AND_TYPES, TOLERANCE, Batch, attention, framework

import onebeat

CASES = {
    "plain": dict(lens=[1, 16, 17, 300, 0, 1000], tokens=1),
    "verify": dict(lens=[5, 64, 129, 700], tokens=4),
    "window": dict(lens=[2, 40, 900], tokens=2, window_left=100),
    "cap": dict(lens=[33, 500], tokens=1, soft_cap=3.0),
}


def run_decode(kind, dtype, lens, tokens, window_left=-1, soft_cap=0.0, heads=(8, 2), dim=64):
    lib = framework(kind)
    batch = Batch(lens, [tokens] * len(lens), heads=heads, dim=dim)
    (q, k, v), (q32, k32, v32) = batch.rounded(lib, dtype)
    geometry = onebeat.AttentionGeometry(
        *heads, dim, page_tokens=batch.page, max_query_tokens=tokens, window_left=window_left, kv_dtype=dtype, device=lib.device
    )
    planner = onebeat.StepPlanner(geometry, max_requests=len(lens), max_context_tokens=4096, device=lib.device)
    plan = planner.plan(lib.array(lens, "int32"))
    plan.check(lens=lens)
    out, lse = onebeat.decode_attention(
        plan, q, k, v, lib.array(batch.page_table), soft_cap=soft_cap, return_lse=True
    )
    lib.synchronize()
    want, want_lse = attention(
        q32, k32, v32, batch.page_table, lens, batch.query_tokens, window_left=window_left, soft_cap=soft_cap
    )
    assert np.abs(lib.numpy(out) - want).max() < TOLERANCE[dtype]
    got = lib.numpy(lse).T
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(want_lse))
    finite = np.isfinite(want_lse)
    assert np.abs(got[finite] - want_lse[finite]).max() < TOLERANCE[dtype]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind, dtype", KINDS_AND_TYPES)
def test_decode(kind, dtype, case):
    run_decode(kind, dtype, **CASES[case])


@pytest.mark.parametrize("kind, dtype", [pair for pair in KINDS_AND_TYPES if pair[0] != "torch-cuda"])
def test_prefill_of_prompts_and_of_parts_of_them(kind, dtype):
    lib = framework(kind)
    lens, tokens = [70, 33, 200], [70, 5, 1]  # A whole prompt, the end of one, a single token.
    batch = Batch(lens, tokens, heads=(4, 2))
    (q, k, v), inputs = batch.rounded(lib, dtype)
    geometry = onebeat.AttentionGeometry(4, 2, batch.dim, page_tokens=batch.page, kv_dtype=dtype)
    out, lse = onebeat.prefill_attention(
        geometry, q, k, v, lib.array(batch.page_table), [0, 70, 75, 76], lens, return_lse=True
    )
    want, want_lse = attention(*inputs, batch.page_table, lens, tokens)
    assert np.abs(lib.numpy(out) - want).max() < TOLERANCE[dtype]
    assert np.abs(lib.numpy(lse).T - want_lse).max() < TOLERANCE[dtype]


def decode_arguments(lens=(5, 40), tokens=1, dtype="float32", **changes):
    batch = Batch(lens, [tokens] * len(lens), heads=(4, 2))
    (q, k, v), inputs = batch.rounded(framework("numpy"), dtype)
    geometry = onebeat.AttentionGeometry(4, 2, batch.dim, page_tokens=batch.page, max_query_tokens=tokens, kv_dtype=dtype)
    plan = onebeat.StepPlanner(geometry, max_requests=8, max_context_tokens=4096).plan(list(lens))
    arguments = dict(plan=plan, q=q, k_cache=k, v_cache=v, page_table=batch.page_table)
    return batch, inputs, {**arguments, **changes}


def test_views_of_one_interleaved_cache_and_sinks():
    batch, inputs, arguments = decode_arguments()
    both = np.stack([arguments["k_cache"], arguments["v_cache"]], axis=1)  # [pages, 2, P, G, D]
    arguments.update(k_cache=both[:, 0], v_cache=both[:, 1], q=arguments["q"].reshape(2, 1, 4, -1))
    sinks = np.linspace(-1, 2, 4, dtype=np.float32)
    out = onebeat.decode_attention(**arguments, sinks=sinks)
    want, _ = attention(*inputs, batch.page_table, batch.lens, batch.query_tokens, sinks=sinks)
    assert np.abs(out[:, 0] - want).max() < TOLERANCE["float32"]


def test_rows_choose_from_a_page_map():
    batch, inputs, arguments = decode_arguments()
    page_map = np.full((5, batch.page_table.shape[1]), 2**31 - 1, np.int32)
    page_map[[3, 1]] = batch.page_table
    arguments.update(page_table=page_map, rows=np.array([3, 1], np.int32))
    want, _ = attention(*inputs, batch.page_table, batch.lens, batch.query_tokens)
    assert np.abs(onebeat.decode_attention(**arguments) - want).max() < TOLERANCE["float32"]


def test_codes_of_fp8_times_scales():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    batch, (q, k, v), arguments = decode_arguments(dtype="float32")
    scales = np.array([0.5, 2.0], np.float32)
    codes = [(x / scales[:, None]).astype(ml_dtypes.float8_e4m3fn) for x in (k, v)]
    meant = [x.astype(np.float32) * scales[:, None] for x in codes]
    geometry = onebeat.AttentionGeometry(4, 2, batch.dim, page_tokens=batch.page, kv_dtype="float8_e4m3")
    plan = onebeat.StepPlanner(geometry, max_requests=2, max_context_tokens=64).plan(batch.lens)
    want, _ = attention(q, *meant, batch.page_table, batch.lens, batch.query_tokens)
    for k_cache, v_cache in (codes, [x.view(np.uint8) for x in codes]):
        out = onebeat.decode_attention(
            plan, q, k_cache, v_cache, batch.page_table, k_scale=scales, v_scale=scales
        )
        assert np.abs(out - want).max() < 1e-4


@pytest.mark.parametrize("tokens", [1, 3])
def test_merged_parts_are_the_whole(tokens):
    batch, inputs, arguments = decode_arguments(lens=(64, 128), tokens=tokens)
    q = arguments["q"].reshape(2, tokens, 4, -1)
    pages = np.array([2, 4])  # Of 16 tokens; the first part has half of each request, the second the rest.
    parts = []
    geometry = onebeat.AttentionGeometry(
        4, 2, batch.dim, page_tokens=16, max_query_tokens=tokens, causal=False, kv_dtype="float32"
    )
    planner = onebeat.StepPlanner(geometry, max_requests=2, max_context_tokens=128)
    for begin, end in ((0 * pages, pages), (pages, 2 * pages)):
        table = np.zeros((2, 4), np.int32)
        for b in range(2):
            table[b, : end[b] - begin[b]] = batch.page_table[b, begin[b] : end[b]]
        plan = planner.plan((end - begin) * 16)
        parts.append(
            onebeat.decode_attention(plan, q, arguments["k_cache"], arguments["v_cache"], table, return_lse=True)
        )
    out, lse = onebeat.merge_states(parts, return_lse=True)
    want, want_lse = attention(*inputs, batch.page_table, batch.lens, batch.query_tokens, causal=False)
    assert np.abs(out.reshape(want.shape) - want).max() < TOLERANCE["float32"]
    assert np.abs(lse.transpose(0, 2, 1).reshape(want_lse.shape) - want_lse).max() < TOLERANCE["float32"]
    flat = [(o.reshape(want.shape), np.ascontiguousarray(s.transpose(1, 0, 2)).reshape(4, -1)) for o, s in parts]
    np.testing.assert_array_equal(onebeat.merge_states(flat).reshape(out.shape), out)
    with pytest.raises(ValueError, match="states"):
        onebeat.merge_states([])
    with pytest.raises(ValueError, match="lse has shape"):
        onebeat.merge_states([(parts[0][0], parts[0][1][:, :2])])


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (dict(q=np.zeros((2, 4, 32), np.float32)), ValueError, "q has shape .* dimension 2 must be 64"),
        (dict(q=np.zeros((1, 4, 64), np.float32)), ValueError, "out has shape .* and q"),
        (dict(q=np.zeros((2, 4, 64), np.int32)), TypeError, "q has elements of int32"),
        (dict(k_cache=np.zeros((9, 16, 2, 64), np.float16)), TypeError, "k_cache has elements of float16"),
        (dict(v_cache=np.zeros((9, 8, 2, 64), np.float32)), ValueError, "v_cache has shape .* dimension 1 must be 16"),
        (dict(page_table=np.zeros((2, 3), np.int64)), TypeError, "page_table has elements of int64"),
        (dict(page_table=np.zeros((1, 3), np.int32)), ValueError, "page table has 1 rows for 2 requests"),
        (dict(page_table=np.full((2, 3), 99, np.int32)), IndexError, "page"),
        (dict(out=np.zeros((2, 4, 64), np.float32)[:, ::-1]), ValueError, "stride"),
        (dict(rows=np.zeros(1, np.int32)), ValueError, "rows has 1 numbers; the plan has 2"),
        (dict(scale=-1.0), ValueError, "scale"),
        (dict(sinks=np.zeros(3, np.float32)), ValueError, "sinks has shape .* must be 4"),
        (dict(k_scale=np.ones(2, np.float32)), ValueError, "k_scale"),
        (dict(k_cache=[[1.0]]), TypeError, "k_cache is a list"),
        (dict(plan=None), TypeError, "plan is a NoneType"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(changes, error, message):
    _, _, arguments = decode_arguments(out=np.full((2, 4, 64), 7, np.float32))
    arguments.update(changes)
    with pytest.raises(error, match=message):
        onebeat.decode_attention(**arguments)
    if error is not IndexError and "out" not in changes:
        assert (arguments["out"] == 7).all()


def test_arrays_that_cannot_be_written_are_refused():
    _, _, arguments = decode_arguments()
    out = np.zeros((2, 4, 64), np.float32)
    out.flags.writeable = False
    with pytest.raises(TypeError, match="out is a ndarray; it must be a writable array"):
        onebeat.decode_attention(**arguments, out=out)


def test_threads_can_be_chosen_and_do_not_matter():
    _, _, arguments = decode_arguments(lens=(3000, 40))
    before = onebeat.get_num_threads()
    try:
        outs = []
        for threads in (1, 3):
            onebeat.set_num_threads(threads)
            assert onebeat.get_num_threads() == threads
            outs.append(onebeat.decode_attention(**arguments))
        np.testing.assert_array_equal(*outs)
        with pytest.raises(ValueError, match="0"):
            onebeat.set_num_threads(0)
    finally:
        onebeat.set_num_threads(before)
