# SPDX-License-Identifier: Apache-2.0
"""SGLang's step metadata, number for number; shapes and data as in its own tests."""

import numpy as np
import pytest
from frameworks import KINDS, framework

import onebeat


class Pool:
    def __init__(self, mapping):
        self.full_to_swa_index_mapping = mapping


def decode_case(lib, B, longest, page, swa=False, delta=0, lens=None, seed=0, live=False):
    rng = np.random.default_rng(seed)
    lens = rng.integers(longest // 2, longest, B, endpoint=True) if lens is None else np.array(lens)
    pages = -(-(longest + delta) // page)
    slots = rng.integers(0, 10000, (B, 2 * longest)).astype(np.int32)
    mapping = ((np.arange(10000) + rng.integers(0, 100)) % 10000).astype(np.int64)
    width = pages + 10
    out = {name: lib.array(np.zeros(shape, np.int32)) for name, shape in dict(
        lens=(B,), sums=(B + 1,), table=(B, width), swa=(B, width)).items()}
    onebeat.normal_decode_set_metadata(
        out["lens"], out["sums"], out["table"], lib.array(slots), lib.array(np.arange(B, dtype=np.int32)),
        lib.array(np.arange(0, 2 * longest, page)), pages, lib.array(lens.astype(np.int64)), delta, page,
        out["swa"] if swa else None, Pool(lib.array(mapping)) if swa else None, live=live,
    )
    lib.synchronize()
    total = lens + delta
    columns = np.arange(pages)
    first = slots[:, columns * page]
    table, window = np.zeros((2, B, width), np.int32)
    table[:, :pages] = first // page
    if swa:
        window[:, :pages] = mapping[first] // page
    if live:
        dead = np.arange(width)[None, :] >= -(-total // page)[:, None]
        table[dead] = window[dead] = 0
    np.testing.assert_array_equal(lib.numpy(out["lens"]), total)
    np.testing.assert_array_equal(lib.numpy(out["sums"]), np.concatenate([[0], np.cumsum(total)]))
    np.testing.assert_array_equal(lib.numpy(out["table"]), table)
    np.testing.assert_array_equal(lib.numpy(out["swa"]), window)


CASES = {
    "page 1 small": (2, 128, 1),
    "page 1 medium": (16, 256, 1),
    "page 1 large": (64, 512, 1),
    "page 1 with delta": (8, 200, 1, False, 5),
    "page 16 small": (4, 256, 16),
    "page 16 medium": (16, 512, 16),
    "page 64 small": (4, 512, 64),
    "page 64 medium": (32, 1024, 64),
    "page 64 with delta": (8, 512, 64, False, 3),
    "page 16 with swa": (8, 256, 16, True),
    "page 64 with swa": (16, 512, 64, True),
    "page 64 with swa and delta": (8, 400, 64, True, 2),
    "one request": (1, 128, 1),
    "one request, page 64": (1, 256, 64),
    "few tokens": (2, 10, 1),
    "varied lengths": (8, 512, 64, False, 0, [10, 50, 100, 200, 300, 450, 500, 512]),
    **{f"page {page}": (4, 256, page) for page in (1, 2, 4, 8, 16, 32, 64, 128)},
}


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_normal_decode(kind, case, live):
    decode_case(framework(kind), *CASES[case], live=live)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_repeat_and_columns_beyond_stay(kind):
    lib = framework(kind)
    slots = np.arange(3 * 64, dtype=np.int64).reshape(3, 64)
    out = [lib.array(np.full(shape, -5, np.int32)) for shape in ((4,), (5,), (4, 9))]
    onebeat.normal_decode_set_metadata(
        *out, lib.array(slots), lib.array([2, 0, 2, 1]), None, 0, lib.array([5, 6, 7, 8]), 1, 16
    )
    lib.synchronize()
    assert lib.numpy(out[1]).tolist() == [0, 6, 13, 21, 30]
    assert (lib.numpy(out[2]) == -5).all()
    onebeat.normal_decode_set_metadata(
        *out, lib.array(slots), lib.array([2, 0, 2, 1]), None, 2, lib.array([5, 6, 7, 8]), 1, 16
    )
    lib.synchronize()
    assert lib.numpy(out[2])[:, :2].tolist() == [[8, 9], [0, 1], [8, 9], [4, 5]]
    assert (lib.numpy(out[2])[:, 2:] == -5).all()


@pytest.mark.parametrize("pages", [5, 7, 259, 1025])
@pytest.mark.parametrize("requests", [1, 63, 257])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes_and_strided_inputs(kind, requests, pages):
    lib = framework(kind)
    rng = np.random.default_rng(pages)
    page, rows = 2, 300
    wide = lib.array(rng.integers(0, 2**20, (rows, 2 * pages * page + 3)))
    slots = wide[:, ::2]  # Neither contiguous nor aligned.
    lens = lib.array(rng.integers(1, pages * page, 2 * requests))[::2]
    rows_of = lib.array(rng.integers(0, rows, requests))
    out_lens, sums = (lib.array(np.full(n, -1, np.int32)) for n in (requests, requests + 1))
    table = lib.array(np.full((requests, pages + 1), -1, np.int32))
    onebeat.normal_decode_set_metadata(out_lens, sums, table, slots, rows_of, None, pages, lens, 0, page)
    lib.synchronize()
    want = np.full((requests, pages + 1), -1)
    want[:, :pages] = lib.numpy(slots)[lib.numpy(rows_of)][:, : pages * page : page] // page
    np.testing.assert_array_equal(lib.numpy(table), want)
    np.testing.assert_array_equal(lib.numpy(sums)[1:], np.cumsum(lib.numpy(lens)))


EXPAND = [
    # last_page_lens, slots, decode_length, tables, lens; topk 2, pages of 4
    ([3], [[23, 24], [31, 32]], 1, [[5, 6], [7, 8]], [4, 4]),
    (
        [3],
        [[27, 28, 29, 30, 31, 32], [35, 36, 37, 38, 39, 40]],
        5,
        [[6, 7, 8, 0, 0, 0], [8, 9, 10, 0, 0, 0]],
        [8, 8],
    ),
    (
        [1, 3, 0],
        [[1, 2, 3, 4], [6, 7, 8, 9], [3, 8, 9, 10], [14, 15, 16, 17], [0, 1, 2, 3], [4, 5, 6, 7]],
        3,
        [[0, 1, 0, 0], [1, 2, 0, 0], [0, 2, 0, 0], [3, 4, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]],
        [4, 4, 6, 6, 3, 3],
    ),
]


@pytest.mark.parametrize("last, slots, decode_length, tables, lens", EXPAND)
@pytest.mark.parametrize("kind", KINDS)
def test_draft_expand(kind, last, slots, decode_length, tables, lens):
    lib = framework(kind)
    out_lens = lib.array(np.zeros(len(lens), np.int32))
    table = lib.array(np.zeros(np.shape(tables), np.int32))
    onebeat.draft_decode_set_expand_metadata(
        out_lens, table, lib.array(np.array(last, np.int64)), decode_length, lib.array(np.array(slots, np.int64)), 2, 4
    )
    lib.synchronize()
    assert lib.numpy(out_lens).tolist() == lens
    assert lib.numpy(table).tolist() == tables


@pytest.mark.parametrize("page", [0, -1, 3, 6, 10])
def test_bad_page_sizes_are_refused(page):
    with pytest.raises(ValueError, match="page"):
        decode_case(framework("numpy"), 2, 128, page) if page > 0 else onebeat.normal_decode_set_metadata(
            *(np.zeros(s, np.int32) for s in ((2,), (3,), (2, 4), (2, 8), (2,))), None, 4, np.ones(2, np.int64), 0, page
        )
