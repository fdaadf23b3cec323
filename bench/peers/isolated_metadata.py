#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The isolated case of step preparation on one GPU in one run: PyTorch operations, a Triton kernel, onebeat.

isolated_metadata.py ONEBEAT    ONEBEAT: the command line, built with CUDA. Prints JSON.

Writes the lengths, their prefix sums and a page table of 32 requests, pages of one token, 8,192 columns, from a pool
map of 1,024 rows (`onebeat bench prepare --set isolated` has the same case). Two forms of it are ours to measure here:
the row of PyTorch operations that serving engines began with, and one Triton kernel whose first program sums the
lengths one after the other while all programs copy, which is how they fused it. All three must write the same numbers.
Needs PyTorch and Triton.
"""

import json
import statistics
import subprocess
import sys
import time

import torch
import triton
import triton.language as tl

REQUESTS, CONTEXT, POOL_ROWS, CALLS, REPEATS = 32, 8192, 1024, 1000, 11


@triton.jit
def fill_metadata(lens, rows, pool, out_lens, sums, table, requests, columns, pool_stride, table_stride,
                  BLOCK: tl.constexpr):
    request = tl.program_id(0)
    chunk = tl.program_id(1)
    if (request == 0) & (chunk == 0):
        total = 0
        tl.store(sums, 0)
        for b in range(requests):
            length = tl.load(lens + b).to(tl.int32)
            total += length
            tl.store(out_lens + b, length)
            tl.store(sums + b + 1, total)
    column = chunk * BLOCK + tl.arange(0, BLOCK)
    live = column < columns
    row = tl.load(rows + request).to(tl.int64)
    slots = tl.load(pool + row * pool_stride + column, mask=live)
    tl.store(table + request * table_stride + column, slots, mask=live)


class Case:
    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        lens = torch.randint(CONTEXT // 2, CONTEXT + 1, (REQUESTS,), generator=generator)
        lens[0] = CONTEXT
        self.lens = lens.cuda()
        self.rows = torch.randperm(POOL_ROWS, generator=generator)[:REQUESTS].to(torch.int32).cuda()
        self.pool = torch.randint(0, 1 << 30, (POOL_ROWS, CONTEXT), generator=generator, dtype=torch.int32).cuda()
        self.wide_rows = self.rows.long()  # what PyTorch would make of them first
        self.columns = torch.arange(CONTEXT, device="cuda")
        self.forget()

    def forget(self):
        self.out_lens = torch.full((REQUESTS,), -1, dtype=torch.int32, device="cuda")
        self.sums = torch.zeros(REQUESTS + 1, dtype=torch.int32, device="cuda")
        self.table = torch.full((REQUESTS, CONTEXT), -1, dtype=torch.int32, device="cuda")

    def results(self):
        return [self.out_lens.clone(), self.sums.clone(), self.table.clone()]

    def unfused(self):
        self.out_lens.copy_(self.lens)
        self.sums[1:].copy_(torch.cumsum(self.out_lens, dim=0, dtype=torch.int32))
        pages = self.pool[self.wide_rows[:, None], self.columns[None, :]]
        self.table[:, :CONTEXT].copy_(pages // 1)

    def fused(self):
        block = 256
        fill_metadata[(REQUESTS, triton.cdiv(CONTEXT, block))](
            self.lens, self.rows, self.pool, self.out_lens, self.sums, self.table, REQUESTS, CONTEXT,
            self.pool.stride(0), self.table.stride(0), BLOCK=block, num_warps=8)


def kernels_of(call):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profile:
        call()
        torch.cuda.synchronize()
    return sum(e.count for e in profile.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA)


def measure(call):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    in_graph, returns, eager = [], [], []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        in_graph.append(begin.elapsed_time(end) * 1e3 / CALLS)
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        returned = time.perf_counter()
        torch.cuda.synchronize()
        returns.append((returned - start) * 1e6 / CALLS)
        eager.append((time.perf_counter() - start) * 1e6 / CALLS)
    return {"graph_us": round(statistics.median(in_graph), 3), "eager_call_us": round(statistics.median(returns), 3),
            "eager_us": round(statistics.median(eager), 3)}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    case = Case()
    case.unfused()
    expected = case.results()
    case.forget()
    case.fused()
    same = all(torch.equal(a, b) for a, b in zip(expected, case.results()))
    if not same:
        sys.exit("the two forms differ")
    rows = []
    for form, call in (("unfused PyTorch", case.unfused), ("fused Triton", case.fused)):
        rows.append({"form": form, "kernels": kernels_of(call), **measure(call), "stored": False})
    ours = json.loads(subprocess.run([sys.argv[1], "bench", "prepare", "--device", "cuda:0", "--set", "isolated",
                                      "--format", "json"], check=True, capture_output=True, text=True).stdout)
    ours["rows"] = [row for row in ours["rows"] if not row["stored"]] + rows + [r for r in ours["rows"] if r["stored"]]
    ours["torch"] = torch.__version__
    ours["triton"] = triton.__version__
    print(json.dumps(ours, indent=1))


if __name__ == "__main__":
    main()
