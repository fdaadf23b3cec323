# SPDX-License-Identifier: Apache-2.0
"""The frameworks and devices that the tests run on, and what they compare with."""

import numpy as np
import pytest


class NumPy:
    """Host arrays of NumPy."""

    name = "numpy"
    device = "cpu"

    def array(self, values, dtype=None):
        return np.ascontiguousarray(np.asarray(values), dtype=dtype and np.dtype(self._dtype(dtype)))

    def numpy(self, array):
        """float32 or integers, whatever the array holds."""
        if array.dtype.name == "bfloat16" or array.dtype == np.float16:
            return array.astype(np.float32)
        return array

    def synchronize(self):
        pass

    @staticmethod
    def _dtype(dtype):
        if dtype == "bfloat16":
            return pytest.importorskip("ml_dtypes").bfloat16
        return dtype


class Torch:
    """Tensors of torch on one device."""

    def __init__(self, torch, device):
        self.torch = torch
        self.device = device
        self.name = f"torch-{device}"

    def array(self, values, dtype=None):
        tensor = self.torch.as_tensor(np.ascontiguousarray(values)).to(self.device)
        return tensor.to(getattr(self.torch, dtype)) if dtype else tensor

    def numpy(self, array):
        if array.dtype in (self.torch.bfloat16, self.torch.float16):
            array = array.float()
        return array.cpu().numpy()

    def synchronize(self):
        if self.device != "cpu":
            self.torch.cuda.synchronize()


def _torch(device):
    torch = pytest.importorskip("torch")
    if device == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")
        import onebeat

        if not onebeat.with_cuda:
            pytest.skip("this build has no CUDA code: install where nvcc is found")
    return Torch(torch, device)


KINDS = ("numpy", "torch-cpu", "torch-cuda")

#: What each of them computes in.
KINDS_AND_TYPES = [
    (kind, dtype)
    for kind in KINDS
    for dtype in ("float32", "float16", "bfloat16")
    if kind != "torch-cuda" or dtype != "float32"
]


def framework(kind):
    return NumPy() if kind == "numpy" else _torch(kind.partition("-")[2])


def attention(q, k_cache, v_cache, page_table, lens, query_tokens, *, scale=None, causal=True, window_left=-1,
              soft_cap=0.0, sinks=None):
    """Attention in float64 that knows no plan: q [tokens, H, D]; returns (out, lse [tokens, H])."""
    q, k_cache, v_cache = (np.asarray(x, np.float64) for x in (q, k_cache, v_cache))
    heads, dim = q.shape[1:]
    page, kv_heads = k_cache.shape[1:3]
    scale = dim**-0.5 if scale is None else scale
    out = np.zeros((*q.shape[:2], v_cache.shape[-1]))
    lse = np.full(q.shape[:2], -np.inf)
    token = 0
    for b, (length, count) in enumerate(zip(lens, query_tokens)):
        positions = np.arange(length)
        where = (page_table[b][positions // page], positions % page)
        keys, values = k_cache[where], v_cache[where]
        for t in range(count):
            own = length - count + t
            sees = np.ones(length, bool)
            if causal:
                sees &= positions <= own
            if window_left >= 0:
                sees &= positions >= own - window_left
            for h in range(heads):
                if not sees.any():
                    continue
                g = h * kv_heads // heads
                scores = keys[sees, g] @ q[token, h] * scale
                if soft_cap > 0:
                    scores = soft_cap * np.tanh(scores / soft_cap)
                top = scores.max()
                weights = np.exp(scores - top)
                total = weights.sum()
                lse[token, h] = top + np.log(total)
                if sinks is not None:
                    total += np.exp(sinks[h] - top)
                out[token, h] = weights @ values[sees, g] / total
            token += 1
    return out, lse


class Batch:
    """A random batch over a paged cache; unused pages are NaN."""

    def __init__(self, lens, query_tokens, *, heads=(4, 2), dim=64, page=16, seed=0, spare=3):
        rng = np.random.default_rng(seed)
        self.lens, self.query_tokens = list(lens), list(query_tokens)
        self.heads, self.kv_heads, self.dim, self.page = *heads, dim, page
        counts = [-(-length // page) for length in self.lens]
        total = sum(counts) + spare
        ids = rng.permutation(total)
        self.page_table = np.full((len(self.lens), max(counts, default=0) + 1), 2**31 - 1, np.int32)
        self.k = np.full((total, page, self.kv_heads, dim), np.nan, np.float32)
        self.v = self.k.copy()
        begin = 0
        for b, count in enumerate(counts):
            own = ids[begin : begin + count]
            self.page_table[b, :count] = own
            self.k[own] = rng.standard_normal((count, page, self.kv_heads, dim))
            self.v[own] = rng.standard_normal((count, page, self.kv_heads, dim))
            begin += count
        self.q = rng.standard_normal((sum(self.query_tokens), self.heads, dim)).astype(np.float32)

    def rounded(self, framework, dtype):
        """q, k, v of the framework in this type, and what they became as float32."""
        arrays = [framework.array(x, dtype) for x in (self.q, self.k, self.v)]
        return arrays, [framework.numpy(x) for x in arrays]


#: Largest allowed difference of outputs of order 1 in each type.
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
