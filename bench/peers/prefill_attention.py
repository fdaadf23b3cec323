#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prefill attention on one GPU in one run: onebeat, and cuDNN and FlashAttention-2 as PyTorch has them.

prefill_attention.py ONEBEAT    ONEBEAT: the command line, built with CUDA. Prints JSON.

Runs `onebeat bench attention --prefill`, then the peers on those of its shapes that they can do (one prompt with nothing
before it; K and V in one piece where ours are in pages), then ours again; the faster of our two runs counts, as the
fastest of a peer's layouts does. Needs PyTorch.
"""

import json
import statistics
import subprocess
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

BACKENDS = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "FlashAttention-2": SDPBackend.FLASH_ATTENTION}
ROW_US, REPEATS = 4000, 7


def ours(onebeat):
    output = subprocess.run([onebeat, "bench", "attention", "--prefill", "--device", "cuda:0", "--format", "json"],
                            capture_output=True, text=True, check=True).stdout
    return json.loads(output)


def median_us(call, launches):
    for _ in range(2):
        call()
    times = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(launches):
            call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / launches)
    return statistics.median(times)


def tensors(tokens, heads, head_dim, token_major):
    """[1, heads, tokens, head_dim], the tokens or the heads outermost in memory."""
    shape = (1, tokens, heads, head_dim) if token_major else (1, heads, tokens, head_dim)
    values = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    return values.transpose(1, 2) if token_major else values


def measure_peers(row, seconds):
    tokens, heads, kv_heads, dim = int(row["batch"]), row["heads"], row["kv_heads"], row["head_dim"]
    launches = max(3, min(100, int(ROW_US / (seconds * 1e6))))
    best = {}
    for token_major in (True, False):
        q = tensors(tokens, heads, dim, token_major)
        k, v = (tensors(tokens, kv_heads, dim, token_major) for _ in range(2))
        for name, backend in BACKENDS.items():
            try:
                with sdpa_kernel(backend):
                    us = median_us(lambda: scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
                                   launches)
            except RuntimeError:
                continue  # this one has no kernel for the shape
            best[name] = min(us, best.get(name, us))
    return best


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    result = ours(sys.argv[1])
    for row in result["rows"]:
        if row["prefix"] == 0 and row["batch"].isdigit():
            row["peers_us"] = {name: round(us, 2) for name, us in measure_peers(row, row["us"] * 1e-6).items()}
    for row, again in zip(result["rows"], ours(sys.argv[1])["rows"]):
        row["both_us"] = [row["us"], again["us"]]
        if again["us"] < row["us"]:
            row.update({key: again[key] for key in ("us", "tflops", "share", "spread")})
    result["torch"] = torch.__version__
    result["cudnn"] = torch.backends.cudnn.version()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
