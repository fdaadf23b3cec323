#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Host time of the Python package's eager calls on a GPU, beside torch's own smallest ones.

python_host_time.py [FILE]    writes JSON to FILE, in the shape of bench/results/
"""

import datetime
import json
import statistics
import sys
import time

import torch

import onebeat

REQUESTS, HEADS, KV_HEADS, DIM, PAGE, COLUMNS = 32, 32, 8, 128, 16, 64
BURST, BURSTS, ROUNDS = 50, 10, 3


def calls():
    """Name and function of each call; everything they need is there already, and so are the outputs where it is said."""

    def tensor(*shape, dtype=torch.int32):
        return torch.zeros(shape, dtype=dtype, device="cuda")

    k, v = torch.randn(2, REQUESTS * COLUMNS, PAGE, KV_HEADS, DIM, device="cuda", dtype=torch.bfloat16)
    q = torch.randn(REQUESTS, 1, HEADS, DIM, device="cuda", dtype=torch.bfloat16)
    out = torch.empty_like(q)
    lens = torch.full((REQUESTS,), COLUMNS * PAGE - 24, dtype=torch.int32, device="cuda")
    table = torch.randperm(REQUESTS * COLUMNS, device="cuda").to(torch.int32).reshape(REQUESTS, COLUMNS)
    step = (REQUESTS, 1, COLUMNS * PAGE, HEADS, KV_HEADS, DIM, DIM, torch.bfloat16, lens)
    paged = dict(page_size=PAGE, is_causal=True)
    metadata = onebeat.get_scheduler_metadata(*step, **paged)
    geometry = onebeat.AttentionGeometry(HEADS, KV_HEADS, DIM, page_tokens=PAGE, device="cuda")
    planner = onebeat.StepPlanner(geometry, max_requests=REQUESTS, max_context_tokens=4096, device="cuda")
    plan = planner.plan(lens)
    slots = torch.arange(REQUESTS * 2048, device="cuda", dtype=torch.int32).reshape(REQUESTS, 2048)
    rows = torch.arange(REQUESTS, device="cuda")
    tables = (tensor(REQUESTS), tensor(REQUESTS + 1), tensor(REQUESTS, 2048 // PAGE))
    words = tensor(REQUESTS)
    attention = dict(cache_seqlens=lens, page_table=table, causal=True, scheduler_metadata=metadata)
    ops = torch.ops.onebeat
    through_torch = (q, k, v, table, lens, None, 1, metadata, None, True)
    return {
        "flash_attn_with_kvcache, out and metadata given": lambda: onebeat.flash_attn_with_kvcache(
            q, k, v, out=out, **attention
        ),
        "flash_attn_with_kvcache, metadata given": lambda: onebeat.flash_attn_with_kvcache(q, k, v, **attention),
        "decode_attention, out given": lambda: onebeat.decode_attention(plan, q, k, v, table, out=out),
        "torch.ops flash_attn_with_kvcache.out": lambda: ops.flash_attn_with_kvcache.out(*through_torch, out=out),
        "torch.ops flash_attn_with_kvcache": lambda: ops.flash_attn_with_kvcache(*through_torch),
        "get_scheduler_metadata, out given": lambda: onebeat.get_scheduler_metadata(*step, out=metadata, **paged),
        "get_scheduler_metadata": lambda: onebeat.get_scheduler_metadata(*step, **paged),
        "torch.ops get_scheduler_metadata": lambda: ops.get_scheduler_metadata(*step, **paged),
        "StepPlanner.plan, out given": lambda: planner.plan(lens, out=plan),
        "normal_decode_set_metadata": lambda: onebeat.normal_decode_set_metadata(
            *tables, slots, rows, None, COLUMNS, lens, 0, PAGE
        ),
        "torch.ops normal_decode_set_metadata": lambda: ops.normal_decode_set_metadata(
            *tables, slots, rows, COLUMNS, lens, 0, PAGE
        ),
        "torch.empty_like": lambda: torch.empty_like(q),
        "torch add_": lambda: words.add_(1),
    }


def burst(call):
    """Microseconds of host time of one call, in a burst that the device's queue holds."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(BURST):
        call()
    return (time.perf_counter() - began) / BURST * 1e6


def measure():
    """Rows of one call each: the median burst of each round; rounds go through all calls."""
    times = {}
    for _ in range(ROUNDS):
        for name, call in calls().items():
            burst(call)
            times.setdefault(name, []).append(statistics.median(burst(call) for _ in range(BURSTS)))
    return [{"call": name, "us": round(min(of_call), 3), "rounds_us": [round(us, 3) for us in of_call]}
            for name, of_call in times.items()]


def main():
    result = {
        "bench": "python-host-time",
        "device": torch.cuda.get_device_name(),
        "date": datetime.date.today().isoformat(),
        "version": onebeat.__version__,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "requests": REQUESTS,
        "heads": f"{HEADS}/{KV_HEADS}",
        "head_dim": DIM,
        "rows": measure(),
    }
    for row in result["rows"]:
        print(f"{row['us']:8.2f} us  {row['call']}")
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
