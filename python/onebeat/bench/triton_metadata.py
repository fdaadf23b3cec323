# SPDX-License-Identifier: Apache-2.0
"""The metadata of a decode step in one Triton kernel, in the manner of SGLang's: a peer for comparisons.

Programs of the first column tile fill their part of a row; the very first also walks over all requests for lengths
and sums. Columns are written for every row up to the table's width.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit
def _fill(seq_lens, req_to_token, rows, lens, sums, table, batch, columns, token_stride, table_stride,
          page: tl.constexpr, block: tl.constexpr):
    request, tile = tl.program_id(0), tl.program_id(1)
    if request == 0 and tile == 0:
        total = tl.zeros((), tl.int32)
        for i in range(batch):
            length = tl.load(seq_lens + i).to(tl.int32)
            tl.store(lens + i, length)
            tl.store(sums + i, total)
            total += length
        tl.store(sums + batch, total)
    row = tl.load(rows + request).to(tl.int64)
    column = tile * block + tl.arange(0, block)
    inside = column < columns
    slot = tl.load(req_to_token + row * token_stride + column.to(tl.int64) * page, mask=inside, other=0)
    tl.store(table + request.to(tl.int64) * table_stride + column, slot // page, mask=inside)


def launch(seq_lens: Any, req_to_token: Any, rows: Any, lens: Any, sums: Any, table: Any, page: int,
           block: int) -> None:
    batch, columns = table.shape
    _fill[(batch, triton.cdiv(columns, block))](seq_lens, req_to_token, rows, lens, sums, table, batch, columns,
                                                req_to_token.stride(0), table.stride(0), page, block, num_warps=8)
