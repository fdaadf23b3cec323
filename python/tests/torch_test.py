# SPDX-License-Identifier: Apache-2.0
"""What torch adds: operators, fake tensors, streams, CUDA graphs, no waiting."""

import numpy as np
import pytest
from frameworks import TOLERANCE, Batch, attention, framework

import onebeat

torch = pytest.importorskip("torch")

HEADS, DIM = (8, 2), 64
DEVICES = ["cpu", "cuda"]


def batch_on(device, lens, dtype="bfloat16"):
    lib = framework(f"torch-{device}")
    batch = Batch(lens, [1] * len(lens), heads=HEADS, dim=DIM)
    arrays, inputs = batch.rounded(lib, dtype)
    q, k, v = arrays
    return lib, batch, (q[:, None], k, v), inputs


def metadata_arguments(batch, lens, dtype=torch.bfloat16):
    count = lens.shape[0]
    return (count, 1, 4096, batch.heads, batch.kv_heads, batch.dim, batch.dim, dtype, lens)


@pytest.mark.parametrize("device", DEVICES)
def test_operators_compute_what_the_functions_do(device):
    lib, batch, (q, k, v), inputs = batch_on(device, [40, 900])
    lens, table = lib.array(batch.lens, "int32"), lib.array(batch.page_table)
    metadata = torch.ops.onebeat.get_scheduler_metadata(
        *metadata_arguments(batch, lens), page_size=batch.page, is_causal=True
    )
    out, lse = torch.ops.onebeat.flash_attn_with_kvcache(
        q, k, v, table, lens, scheduler_metadata=metadata, causal=True
    )
    written = torch.ops.onebeat.flash_attn_with_kvcache.out(
        q, k, v, table, lens, scheduler_metadata=metadata, causal=True, out=torch.empty_like(q)
    )
    want, want_lse = attention(*inputs, batch.page_table, batch.lens, batch.query_tokens)
    assert np.abs(lib.numpy(out)[:, 0] - want).max() < TOLERANCE["bfloat16"]
    assert np.abs(lib.numpy(lse)[:, :, 0] - want_lse).max() < TOLERANCE["bfloat16"]
    assert torch.equal(out, written)

    slots = torch.arange(2 * 64, device=lib.device).reshape(2, 64)
    outputs = [torch.zeros(shape, dtype=torch.int32, device=lib.device) for shape in ((2,), (3,), (2, 8))]
    torch.ops.onebeat.normal_decode_set_metadata(
        *outputs, slots, torch.tensor([1, 0], device=lib.device), 4, torch.tensor([30, 5], device=lib.device), 1, 16
    )
    assert outputs[1].tolist() == [0, 31, 37] and outputs[2][0, :4].tolist() == [4, 5, 6, 7]
    outputs = [torch.zeros(shape, dtype=torch.int32, device=lib.device) for shape in ((2,), (2, 3))]
    torch.ops.onebeat.draft_decode_set_expand_metadata(
        *outputs, torch.tensor([3], device=lib.device), 1, torch.tensor([[23, 24], [31, 32]], device=lib.device), 2, 4
    )
    assert outputs[0].tolist() == [4, 4] and outputs[1].tolist() == [[5, 6, 0], [7, 8, 0]]


@pytest.mark.parametrize("device", DEVICES)
def test_fake_tensors_have_the_shapes_of_real_ones(device):
    lib, batch, (q, k, v), _ = batch_on(device, [40, 900])
    lens, table = lib.array(batch.lens, "int32"), lib.array(batch.page_table)

    def step(q, k, v, table, lens):
        metadata = torch.ops.onebeat.get_scheduler_metadata(*metadata_arguments(batch, lens), page_size=batch.page)
        return (metadata, *torch.ops.onebeat.flash_attn_with_kvcache(q, k, v, table, lens, scheduler_metadata=metadata))

    real = step(q, k, v, table, lens)
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = step(*(mode.from_tensor(tensor) for tensor in (q, k, v, table, lens)))
    for one, other in zip(real, fake):
        assert (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles(device):
    lib, batch, (q, k, v), _ = batch_on(device, [40, 900])
    lens, table = lib.array(batch.lens, "int32"), lib.array(batch.page_table)

    def step(q, k, v, table, lens):
        out, _ = torch.ops.onebeat.flash_attn_with_kvcache(q * 2, k, v, table, lens, causal=True)
        return out + 1

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(q, k, v, table, lens), step(q, k, v, table, lens))


def test_a_captured_step_follows_its_lengths():
    lib, batch, (q, k, v), inputs = batch_on("cuda", [700, 900, 1000])
    lens, table = lib.array([1, 1, 1], "int32"), lib.array(batch.page_table)
    geometry = onebeat.AttentionGeometry(*HEADS, DIM, page_tokens=batch.page, device="cuda")
    onebeat.reserve_workspace(geometry, max_requests=3)
    metadata = torch.empty(onebeat.scheduler_metadata_size(3, DIM), dtype=torch.int32, device="cuda")
    out = torch.empty_like(q)

    def step():
        onebeat.get_scheduler_metadata(*metadata_arguments(batch, lens), page_size=batch.page, is_causal=True, out=metadata)
        for _ in range(3):
            onebeat.flash_attn_with_kvcache(
                q, k, v, cache_seqlens=lens, page_table=table, causal=True, scheduler_metadata=metadata, out=out
            )

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # Makes a workspace of its own: the reserved one is for the capture.
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="global"):  # Refuses whatever waits or allocates.
        step()
    for now in ([1, 500, 1000], [17, 900, 128], [700, 64, 999]):
        lens.copy_(torch.tensor(now, dtype=torch.int32))
        out.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        want, _ = attention(*inputs, batch.page_table, now, [1, 1, 1])
        assert np.abs(lib.numpy(out)[:, 0] - want).max() < TOLERANCE["bfloat16"]
    onebeat.raise_faults()


def test_a_capture_without_a_workspace_is_refused():
    _, batch, (q, k, v), _ = batch_on("cuda", [70, 90])
    lens = torch.tensor(batch.lens, dtype=torch.int32, device="cuda")
    table = torch.tensor(batch.page_table, device="cuda")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin()
        with pytest.raises(MemoryError, match="reserve_workspace"):
            onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table, out=torch.empty_like(q))
        graph.capture_end()
    torch.cuda.synchronize()


def test_calls_do_not_wait_for_the_device():
    _, batch, (q, k, v), _ = batch_on("cuda", [70, 900])
    lens = torch.tensor(batch.lens, dtype=torch.int32, device="cuda")
    table = torch.tensor(batch.page_table, device="cuda")
    slots = torch.arange(2 * 1024, device="cuda").reshape(2, 1024)
    rows = torch.tensor([1, 0], device="cuda")
    outputs = [torch.zeros(shape, dtype=torch.int32, device="cuda") for shape in ((2,), (3,), (2, 8))]

    def step():
        metadata = onebeat.get_scheduler_metadata(*metadata_arguments(batch, lens), page_size=batch.page, is_causal=True)
        onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table, causal=True, scheduler_metadata=metadata)
        onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table, causal=True)
        onebeat.normal_decode_set_metadata(*outputs, slots, rows, None, 4, lens, 0, 16)

    step()
    torch.cuda.synchronize()
    asleep = torch.cuda.Event()
    torch.cuda._sleep(1_000_000_000)  # Half a second and more.
    asleep.record()
    step()
    assert not asleep.query()
    torch.cuda.synchronize()


def test_calls_run_on_the_current_stream():
    lib, batch, (q, k, v), inputs = batch_on("cuda", [70, 900])
    lens, table = lib.array(batch.lens, "int32"), lib.array(batch.page_table)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    torch.cuda._sleep(500_000_000)  # The default stream is busy; the other one need not care.
    busy = torch.cuda.Event()
    busy.record()
    with torch.cuda.stream(stream):
        onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table, causal=True)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        out = onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table, causal=True)
    stream.synchronize()
    explicit = onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table, causal=True, stream=stream)
    stream.synchronize()
    assert torch.equal(out, explicit)
    want, _ = attention(*inputs, batch.page_table, batch.lens, batch.query_tokens)
    assert np.abs(lib.numpy(out)[:, 0] - want).max() < TOLERANCE["bfloat16"]


def test_tensors_on_different_devices_are_refused():
    _, batch, (q, k, v), _ = batch_on("cuda", [70, 900])
    lens = torch.tensor(batch.lens, dtype=torch.int32)
    table = torch.tensor(batch.page_table, device="cuda")
    with pytest.raises(ValueError, match="cache_seqlens is on cpu; it must be on cuda:0"):
        onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table)
    with pytest.raises(ValueError, match="k_cache is on cpu"):
        onebeat.flash_attn_with_kvcache(q, k.cpu(), v, cache_seqlens=lens.cuda(), page_table=table)


def test_lengths_beyond_the_table_are_reported():
    _, batch, (q, k, v), _ = batch_on("cuda", [70, 90])
    lens = torch.tensor([70, 5000], dtype=torch.int32, device="cuda")
    table = torch.tensor(batch.page_table, device="cuda")
    onebeat.raise_faults()
    onebeat.flash_attn_with_kvcache(q, k, v, cache_seqlens=lens, page_table=table)
    torch.cuda.synchronize()
    with pytest.raises(IndexError, match="page"):
        onebeat.raise_faults()
    onebeat.raise_faults()
