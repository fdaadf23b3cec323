# SPDX-License-Identifier: Apache-2.0
"""A step's metadata: lengths, their sums and page tables, ours beside ways that engines have them."""

from __future__ import annotations

from typing import Any

import numpy as np

import onebeat
from onebeat.bench.measure import Candidate
from onebeat.bench.workload import Workload

_BLOCK_COLUMNS = 256


class Metadata:
    """Buffers as a captured step has them, and ways to fill them."""

    def __init__(self, work: Workload):
        self.work = work
        arrays, batch = work.arrays, len(work.lens)
        self.columns = work.page_table.shape[1]
        self.lens = arrays.zeros((batch,), "int32")
        self.sums = arrays.zeros((batch + 1,), "int32")
        self.page_table = arrays.zeros((batch, self.columns), "int32")
        self._strided = arrays.array(np.arange(0, self.columns * work.page, work.page))
        self._kernel: Any = None

    def results(self) -> list[Any]:
        return [self.lens, self.sums, self.page_table]

    def ours(self, live: bool = False) -> None:
        work = self.work
        onebeat.normal_decode_set_metadata(self.lens, self.sums, self.page_table, work.req_to_token, work.rows, None,
                                           self.columns, work.seq_lens, 0, work.page, live=live)

    def eager(self) -> None:
        """One operation of the framework after the other: copy, sum, gather, divide."""
        work = self.work
        self.lens[...] = work.seq_lens
        if work.arrays.device == "cpu":
            np.cumsum(self.lens, out=self.sums[1:])
            self.page_table[...] = work.req_to_token[work.rows[:, None], self._strided[None, :]] // work.page
        else:
            torch = work.arrays.torch
            self.sums[1:].copy_(torch.cumsum(self.lens, 0, dtype=torch.int32))
            self.page_table.copy_(work.req_to_token[work.rows[:, None], self._strided[None, :]] // work.page)

    def need_triton(self) -> None:
        """Raises ImportError where there is none."""
        if self._kernel is None:
            from onebeat.bench.triton_metadata import launch

            self._kernel = launch

    def triton(self) -> None:
        """One kernel: a program sums, serially, the others gather."""
        self.need_triton()
        work = self.work
        self._kernel(work.seq_lens, work.req_to_token, work.rows, self.lens, self.sums, self.page_table, work.page,
                     _BLOCK_COLUMNS)


def metadata_candidates(work: Workload) -> tuple[list[Candidate], dict[str, str]]:
    metadata, candidates, absent = Metadata(work), [], {}

    def cleared(run: Any) -> Any:
        """So that no candidate finds the results of another."""
        def results() -> list[Any]:
            for array in metadata.results():
                array[...] = -1
            metadata.sums[:1] = 0  # Engines write the first sum once, when they make the buffer.
            run()
            return metadata.results()

        return results

    candidates.append(Candidate("onebeat", metadata.ours, cleared(metadata.ours)))
    # Writes fewer columns: not comparable bit by bit.
    candidates.append(Candidate("onebeat, live columns", lambda: metadata.ours(live=True)))
    candidates.append(Candidate("one operation after the other", metadata.eager, cleared(metadata.eager)))
    if work.arrays.device == "cpu":
        absent["fused Triton kernel"] = "needs a GPU"
        return candidates, absent
    try:
        metadata.need_triton()
    except ImportError as error:
        absent["fused Triton kernel"] = str(error)
    else:
        candidates.append(Candidate("fused Triton kernel", metadata.triton, cleared(metadata.triton)))
    return candidates, absent
