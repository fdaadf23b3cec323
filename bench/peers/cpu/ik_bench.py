#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ik_bench.py MODEL THREADS FLASH CASE NUMBER TOKENS REPEATS: ik_llama.cpp's tokens per second, a JSON list on stdout.

Run by measure.py with the Python of build/peers/venv. CASE is prompt (of NUMBER tokens), decode (TOKENS steps behind NUMBER
tokens) or together (NUMBER requests behind 16 tokens each). Only llama_decode() is timed: no sampling, no tokenizer. Weights
are repacked when they are loaded, its fastest mode; FLASH (0 or 1) is flash attention. One run more is made than counts.
"""

import ctypes
import json
import sys
import time

from ik_llama_cpp import _ctypes_api as C

# The library has it, the module does not name it: forgets the positions [begin, end) of a sequence; -1: all.
forget = C._lib.llama_kv_cache_seq_rm
forget.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
forget.restype = ctypes.c_bool

BATCH = 512
TOGETHER_PROMPT = 16


def decode(context, batch, rows):
    """rows: (token, position, sequence) of each token; the last of each sequence gives logits. Returns seconds."""
    last = {sequence: i for i, (_, _, sequence) in enumerate(rows)}
    batch.n_tokens = len(rows)
    for i, (token, position, sequence) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = 1 if last[sequence] == i else 0
    begin = time.perf_counter()
    if C.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")
    C.llama_get_logits_ith(context, len(rows) - 1)
    return time.perf_counter() - begin


def main():
    path, threads, flash, case, number, tokens, repeats = sys.argv[1:]
    number, tokens = int(number), int(tokens)
    requests = number if case == "together" else 1
    before = {"prompt": 0, "decode": number, "together": TOGETHER_PROMPT}[case]
    C.llama_backend_init()
    model_params = C.llama_model_default_params()
    model_params.repack_tensors = True
    model_params.use_mmap = False
    model = C.llama_model_load_from_file(path.encode(), model_params)
    params = C.llama_context_default_params()
    params.n_ctx = max(4096, requests * (number + tokens))
    params.n_batch = params.n_ubatch = BATCH
    params.n_seq_max = requests
    params.n_threads = params.n_threads_batch = int(threads)
    params.flash_attn = flash == "1"
    context = C.llama_init_from_model(model, params)
    batch = C.llama_batch_init(BATCH, 0, 1)
    ids = [i * 7919 % 40000 for i in range(params.n_ctx)]

    speeds = []
    for sequence in range(requests):
        for start in range(0, before, BATCH):
            decode(context, batch, [(ids[i], i, sequence) for i in range(start, min(start + BATCH, before))])
    for _ in range(int(repeats) + 1):
        forget(context, -1, before, -1)
        if case == "prompt":
            speeds.append(number / decode(context, batch, [(ids[i], i, 0) for i in range(number)]))
        else:
            seconds = sum(decode(context, batch, [(ids[step + s], before + step, s) for s in range(requests)])
                          for step in range(tokens))
            speeds.append(requests * tokens / seconds)
    print(json.dumps(speeds[1:]))


if __name__ == "__main__":
    main()
