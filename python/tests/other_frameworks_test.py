# SPDX-License-Identifier: Apache-2.0
"""CuPy's arrays on a GPU and JAX's on the host, which can be read and not written."""

import numpy as np
import pytest
from frameworks import TOLERANCE, Batch, attention

import onebeat


def test_cupy_arrays_on_the_current_stream():
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available() or not onebeat.with_cuda:
        pytest.skip("no CUDA device, or no CUDA code in this build")
    batch = Batch([40, 900], [1, 1], heads=(8, 2))
    q, k, v = (cupy.asarray(x, dtype=cupy.float16) for x in (batch.q, batch.k, batch.v))
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        lens, table = cupy.asarray(batch.lens, dtype=cupy.int32), cupy.asarray(batch.page_table)
        metadata = onebeat.get_scheduler_metadata(
            2, 1, 900, 8, 2, 64, 64, "float16", lens, page_size=16, is_causal=True
        )
        out = onebeat.flash_attn_with_kvcache(
            q[:, None], k, v, cache_seqlens=lens, page_table=table, causal=True, scheduler_metadata=metadata
        )
    stream.synchronize()
    inputs = [cupy.asnumpy(x) for x in (q, k, v)]
    want, _ = attention(*inputs, batch.page_table, batch.lens, batch.query_tokens)
    assert isinstance(out, cupy.ndarray)
    assert np.abs(cupy.asnumpy(out)[:, 0].astype(np.float32) - want).max() < TOLERANCE["float16"]


def test_jax_arrays_are_read(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # Else it takes most of a GPU's memory.
    jax = pytest.importorskip("jax")
    batch = Batch([40, 90], [1, 1], heads=(8, 2))
    host = jax.devices("cpu")[0]
    q, k, v, table = (jax.device_put(x, host) for x in (batch.q, batch.k, batch.v, batch.page_table))
    geometry = onebeat.AttentionGeometry(8, 2, 64, page_tokens=16, kv_dtype="float32")
    planner = onebeat.StepPlanner(geometry, max_requests=2, max_context_tokens=128)
    plan = planner.plan(jax.device_put(np.array(batch.lens, np.int32), host))
    out = onebeat.decode_attention(plan, q, k, v, table, out=np.empty(batch.q.shape, np.float32))
    want, _ = attention(batch.q, batch.k, batch.v, batch.page_table, batch.lens, batch.query_tokens)
    assert np.abs(out - want).max() < TOLERANCE["float32"]
    with pytest.raises(TypeError, match="cannot be written"):
        onebeat.decode_attention(plan, q, k, v, table)
    with pytest.raises(TypeError, match="out is a .*writable"):
        onebeat.decode_attention(plan, q, k, v, table, out=jax.numpy.zeros_like(q))
