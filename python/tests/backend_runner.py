# SPDX-License-Identifier: Apache-2.0
"""What an engine hands to an attention backend, small: a pool, a table of slots, layers, and an attention to compare
with that knows no plan."""

from types import SimpleNamespace

import numpy as np

import onebeat


def why_no_gpu():
    """Empty if there is one with kernels."""
    if not onebeat.with_cuda:
        return "this build has no CUDA code"
    try:
        import torch
    except ImportError:
        return "no torch"
    return "" if torch.cuda.is_available() and torch.cuda.get_device_capability()[0] == 9 else "no GPU with kernels"


def make_runner(framework="numpy", *, heads=2, kv_heads=2, head_dim=8, page_size=1, context_len=2048, max_batch=160,
                slots=None, window=None, swa_pool=False, layers=1, seed=0):
    """Slots of requests lie anywhere in the pool, in whole pages; what nobody owns is NaN."""
    rng = np.random.default_rng(seed)
    xp = _FRAMEWORKS[framework]
    dtype = xp.floats
    pages_each = -(-context_len // page_size)
    pages = (slots or 4 * context_len) // page_size + 1  # page 0 is for rows that fill up a batch
    pool = KvPool(xp, layers, pages * page_size, kv_heads, head_dim, dtype)
    table = np.zeros((max_batch, pages_each * page_size), np.int32)
    runner = SimpleNamespace(
        device=xp.device, page_size=page_size, kv_cache_dtype=xp.dtype(dtype), sliding_window_size=window,
        model_config=SimpleNamespace(context_len=context_len, head_dim=head_dim, num_attention_heads=heads,
                                     get_num_kv_heads=lambda ranks: max(1, kv_heads // ranks)),
        req_to_token_pool=SimpleNamespace(req_to_token=xp.array(table)), token_to_kv_pool=pool,
        layers=[make_layer(index, heads, kv_heads, head_dim, window if index % 2 else None)
                for index in range(layers)],
        free_pages=list(rng.permutation(np.arange(1, pages))), rng=rng, xp=xp)
    if swa_pool:
        # A pool of its own for layers with a window: the same pages in another order.
        order = np.concatenate([[0], 1 + rng.permutation(pages - 1)])
        slots_of = (order[:, None] * page_size + np.arange(page_size)).reshape(-1)
        pool.full_to_swa_index_mapping = xp.array(slots_of.astype(np.int32))
        pool.swa_layers = {index for index in range(layers) if index % 2}
    return runner


def make_layer(layer_id, heads, kv_heads, head_dim, window=None, soft_cap=0.0):
    return SimpleNamespace(layer_id=layer_id, tp_q_head_num=heads, tp_k_head_num=kv_heads, tp_v_head_num=kv_heads,
                           head_dim=head_dim, v_head_dim=head_dim, scaling=head_dim**-0.5, logit_cap=soft_cap,
                           sliding_window_size=-1 if window is None else window, is_cross_attention=False)


class KvPool:
    def __init__(self, xp, layers, slots, kv_heads, head_dim, dtype):
        self.buffers = [tuple(xp.full((slots, kv_heads, head_dim), float("nan"), dtype) for _ in range(2))
                        for _ in range(layers)]
        self.swa_layers = set()

    def get_kv_buffer(self, layer_id):
        return self.buffers[layer_id]

    def set_kv_buffer(self, layer, loc, k, v):
        if layer.layer_id in self.swa_layers:
            loc = self.full_to_swa_index_mapping[loc]
        for buffer, values in zip(self.buffers[layer.layer_id], (k, v)):
            buffer[loc] = values


def give_slots(runner, row, tokens):
    """Whole pages for so many tokens of a request; returns its slots."""
    page = runner.page_size
    pages = np.array([runner.free_pages.pop() for _ in range(-(-tokens // page))])
    slots = (pages[:, None] * page + np.arange(page)).reshape(-1)
    runner.req_to_token_pool.req_to_token[row, :len(slots)] = runner.xp.array(slots.astype(np.int32))
    return slots[:tokens]


class NumpyArrays:
    device = "cpu"
    floats = "float16"
    tolerance = 4e-3  # Keys and values have 11 bits.
    array = staticmethod(np.array)

    @staticmethod
    def full(shape, value, dtype):
        return np.full(shape, value, dtype)

    @staticmethod
    def dtype(name):
        return np.dtype(name)

    @staticmethod
    def host(array):
        return np.asarray(array)


class TorchArrays:
    device = "cuda"
    floats = "float16"
    tolerance = 4e-3

    @classmethod
    def array(cls, values):
        import torch
        tensor = torch.tensor(np.asarray(values), device="cuda")
        return tensor.to(getattr(torch, cls.floats)) if tensor.is_floating_point() else tensor

    @staticmethod
    def full(shape, value, dtype):
        import torch
        return torch.full(shape, value, dtype=getattr(torch, dtype), device="cuda")

    @staticmethod
    def dtype(name):
        import torch
        return getattr(torch, name)

    @staticmethod
    def host(array):
        return array.float().cpu().numpy()


class TorchBfloat16Arrays(TorchArrays):
    floats = "bfloat16"
    tolerance = 3e-2


_FRAMEWORKS = {"numpy": NumpyArrays, "torch": TorchArrays, "torch-bfloat16": TorchBfloat16Arrays}


def reference(q, keys, values, *, scale, window=-1, soft_cap=0.0, sinks=None):
    """Attention in fp64 of the last len(q) tokens of one request: q [T, H, D], keys and values [tokens, G, D]."""
    tokens, queries = len(keys), len(q)
    repeats = q.shape[1] // keys.shape[1]
    keys, values = (np.repeat(np.asarray(part, np.float64), repeats, axis=1) for part in (keys, values))
    scores = np.einsum("thd,khd->htk", np.asarray(q, np.float64), keys) * scale
    if soft_cap > 0:
        scores = soft_cap * np.tanh(scores / soft_cap)
    place = np.arange(tokens)[None, :]
    own = np.arange(tokens - queries, tokens)[:, None]
    seen = (place <= own) & ((window < 0) | (place >= own - window))
    scores = np.where(seen[None], scores, -np.inf)
    if sinks is not None:
        scores = np.concatenate([scores, np.broadcast_to(np.asarray(sinks)[:, None, None], (*scores.shape[:2], 1))], -1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("htk,khd->thd", weights[..., :tokens], values)
