#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ik_bench.py MODEL THREADS PROMPTS DEPTHS TOKENS REPEATS: ik_llama.cpp's speed, as a JSON object on stdout.

Run by measure.py with the Python of build/peers/venv. PROMPTS and DEPTHS are lists like 128,512. Only llama_decode() is
timed: no sampling, no tokenizer. Weights are repacked when they are loaded, flash attention is on: its fastest mode.
"""

import json
import sys
import time

from ik_llama_cpp import _ctypes_api as C
from ik_llama_cpp._internals import make_batch_range


def timed(context, tokens, position):
    batch = make_batch_range(tokens, pos_start=position)
    begin = time.perf_counter()
    if C.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")
    C.llama_get_logits_ith(context, -1)
    return time.perf_counter() - begin


def main():
    path, threads, prompts, depths, tokens, repeats = sys.argv[1:]
    prompts = [int(n) for n in prompts.split(",")]
    depths = [int(n) for n in depths.split(",")]
    C.llama_backend_init()
    model_params = C.llama_model_default_params()
    model_params.repack_tensors = True
    model = C.llama_model_load_from_file(path.encode(), model_params)
    params = C.llama_context_default_params()
    params.n_ctx = max(prompts + depths) + int(tokens) + 64
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = int(threads)
    params.flash_attn = True
    context = C.llama_init_from_model(model, params)
    ids = [i * 7919 % 40000 for i in range(params.n_ctx)]

    def fill(count):
        C.llama_kv_cache_clear(context)
        for start in range(0, count, 512):
            timed(context, ids[start:min(start + 512, count)], start)

    result = {"prompt": {}, "decode": {}}
    timed(context, ids[:32], 0)
    for count in prompts:
        best = 1e9
        for _ in range(int(repeats)):
            C.llama_kv_cache_clear(context)
            best = min(best, timed(context, ids[:count], 0))
        result["prompt"][str(count)] = count / best
    for depth in depths:
        best = 1e9
        for _ in range(int(repeats)):
            fill(depth)
            best = min(best, sum(timed(context, [ids[i]], depth + i) for i in range(int(tokens))))
        result["decode"][str(depth)] = int(tokens) / best
    print(json.dumps(result))


if __name__ == "__main__":
    main()
