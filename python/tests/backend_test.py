# SPDX-License-Identifier: Apache-2.0
"""PagedAttentionBackend: eager, captured and replayed steps, windows, verification, against attention in fp64.

With NumPy, capturing is calling: the layers then read what a replay wrote where the capture bound it. The same tests
run on a GPU with real graphs.
"""

import numpy as np
import pytest
from backend_runner import give_slots, make_layer, make_runner, reference, why_no_gpu

import onebeat
from onebeat.backends import ForwardBatch, ForwardMode, PagedAttentionBackend


NO_GPU = why_no_gpu()
ON_GPU = pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU or "-")
FRAMEWORKS = ["numpy", *(pytest.param(name, marks=ON_GPU) for name in ("torch-bfloat16", "torch"))]


def head_dim_on(framework):
    """Upstream's 8 on the CPU; the least that kernels have on a GPU."""
    return 8 if framework == "numpy" else 64


class Requests:
    """Some requests with random keys, values and queries, and what their attention should be."""

    def __init__(self, runner, lens, rows=None):
        self.runner, self.lens = runner, list(lens)
        self.rows = list(range(len(lens))) if rows is None else rows
        self.slots = [give_slots(runner, row, length) for row, length in zip(self.rows, self.lens)]
        self.shape = (runner.layers[0].tp_k_head_num, runner.layers[0].head_dim)
        self.kv = [[runner.rng.standard_normal((2, length, *self.shape)).astype(np.float16) for length in self.lens]
                   for _ in runner.layers]

    def indices(self):
        return self.runner.xp.array(np.array(self.rows, np.int64))

    def seq_lens(self, less=0):
        return self.runner.xp.array(np.array(self.lens, np.int64) - less)

    def new_slots(self, news):
        return self.runner.xp.array(np.concatenate([slots[len(slots) - new:]
                                                    for slots, new in zip(self.slots, news)]).astype(np.int64))

    def write(self, layer, begins, ends):
        """Puts keys and values of a part of each request into the pool."""
        xp = self.runner.xp
        for request, slots in enumerate(self.slots):
            part = slice(begins[request], ends[request])
            keys, values = self.kv[layer.layer_id][request][:, part]
            if len(keys):
                self.runner.token_to_kv_pool.set_kv_buffer(layer, xp.array(slots[part].astype(np.int64)),
                                                           xp.array(keys), xp.array(values))

    def run(self, backend, layer, forward_batch, news, graph=None):
        """One layer for the last tokens of each request; the largest error."""
        xp = self.runner.xp
        tokens = sum(news)
        q = self.runner.rng.standard_normal((tokens, layer.tp_q_head_num, layer.head_dim)).astype(np.float16)
        k, v = (np.concatenate([self.kv[layer.layer_id][request][part, length - new:]
                                for request, (length, new) in enumerate(zip(self.lens, news))])
                for part in range(2))
        given = [xp.array(array.reshape(tokens, -1)) for array in (q, k, v)]
        forward = graph or backend.forward
        out = xp.host(forward(*given, layer, forward_batch))
        assert out.shape == (tokens, layer.tp_q_head_num * layer.head_dim)
        assert not np.isnan(out).any()
        out = out.reshape(q.shape)
        worst, begin = 0.0, 0
        for request, new in enumerate(news):
            wanted = reference(q[begin:begin + new], *self.kv[layer.layer_id][request], scale=layer.scaling,
                               window=layer.sliding_window_size, soft_cap=layer.logit_cap)
            worst = max(worst, float(np.abs(out[begin:begin + new] - wanted).max(initial=0)))
            begin += new
        return worst


def batch_of(requests, mode, news, less=0, **changes):
    fields = dict(forward_mode=mode, batch_size=len(requests.lens), req_pool_indices=requests.indices(),
                  seq_lens=requests.seq_lens(less), out_cache_loc=requests.new_slots(news))
    if mode is ForwardMode.EXTEND:
        fields["extend_seq_lens"] = requests.runner.xp.array(np.array(news, np.int64))
    return ForwardBatch(**{**fields, **changes})


def check(runner, lens, news, mode=ForwardMode.DECODE, **backend_arguments):
    """One eager pass over all layers."""
    backend = PagedAttentionBackend(runner, **backend_arguments)
    requests = Requests(runner, lens)
    less = news[0] if mode is ForwardMode.TARGET_VERIFY else 0
    forward_batch = batch_of(requests, mode, news, less)
    backend.init_forward_metadata(forward_batch)
    for layer in runner.layers:
        requests.write(layer, [0] * len(lens), [length - new for length, new in zip(lens, news)])
        # Upstream's tolerance is 0.1.
        assert requests.run(backend, layer, forward_batch, news) < runner.xp.tolerance


# The cases of SGLang's own test of its backend: fp16, 2 heads of 8, 2 requests of 256 tokens, context 2,048


@pytest.mark.parametrize("new, page_size", [(256, 1), (128, 1), (256, 64)],
                         ids=["extend", "extend_with_prefix", "extend_with_page_size_greater_than_1"])
def test_extend(new, page_size):
    check(make_runner(page_size=page_size), [256, 256], [new, new], ForwardMode.EXTEND)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("page_size", [1, 64], ids=["decode", "decode_with_page_size_greater_than_1"])
def test_decode(framework, page_size):
    check(make_runner(framework, page_size=page_size, head_dim=head_dim_on(framework)), [256, 256], [1, 1])


# Cases of its dense unit tests: grouped heads, pages of 16, interleaved pages, drafted tokens


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("lens, heads, kv_heads, page_size", [
    ([16], 4, 2, 16), ([3], 4, 2, 16), ([16, 17, 18], 12, 12, 16), ([15, 16, 17], 4, 4, 16),
    ([1, 2048, 129, 64], 8, 2, 64), ([1] * 40, 8, 1, 128), ([700, 5], 32, 8, 1),
])
def test_decode_of_other_shapes(framework, lens, heads, kv_heads, page_size):
    check(make_runner(framework, heads=heads, kv_heads=kv_heads, head_dim=64, page_size=page_size), lens,
          [1] * len(lens))


@pytest.mark.parametrize("lens, news", [
    ([3, 11, 19], [3, 3, 3]), ([16, 8, 2], [1, 8, 2]), ([500], [37]), ([5, 9], [0, 9]),
])
@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize("window", [None, 4])
def test_extend_of_other_shapes(lens, news, page_size, window):
    check(make_runner(heads=4, kv_heads=2, page_size=page_size, window=window, layers=2), lens, news,
          ForwardMode.EXTEND)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("page_size", [1, 16])
def test_verify(framework, page_size):
    for tokens in (3, 8):
        runner = make_runner(framework, heads=4, kv_heads=2, head_dim=64, page_size=page_size, window=5, layers=2)
        check(runner, [4 + tokens, 7 + tokens, 300], [tokens] * 3, ForwardMode.TARGET_VERIFY,
              speculative_num_draft_tokens=tokens)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize("swa_pool", [False, True])
def test_layers_with_a_window(framework, page_size, swa_pool):
    check(make_runner(framework, heads=4, kv_heads=2, head_dim=64, page_size=page_size, window=20, layers=3,
                      swa_pool=swa_pool), [1, 20, 21, 22, 300], [1] * 5)


def test_soft_cap_and_sinks_reach_the_layers():
    runner = make_runner(heads=4, kv_heads=2, page_size=16)
    runner.layers[0].logit_cap = 2.0
    check(runner, [50, 7], [1, 1])
    backend = PagedAttentionBackend(runner)
    requests = Requests(runner, [9], rows=[5])
    layer = make_layer(0, 4, 2, 8)
    requests.write(layer, [0], [9])
    forward_batch = batch_of(requests, ForwardMode.DECODE, [1])
    backend.init_forward_metadata(forward_batch)
    q = runner.rng.standard_normal((1, 4, 8)).astype(np.float16)
    sinks = np.array([0.5, -1, 2, 0], np.float32)
    out = backend.forward_decode(q, None, None, layer, forward_batch, sinks=sinks)
    wanted = reference(q, *requests.kv[0][0], scale=layer.scaling, sinks=sinks)
    assert np.abs(out.reshape(wanted.shape) - wanted).max() < 4e-3


# Captured steps


class CallsAsGraphs:
    """With NumPy a graph is the call itself."""

    def capture(self, backend, layer, forward_batch, tokens):
        return backend.forward


class TorchGraphs:
    stream = None  # That warms up and captures, for all.

    def capture(self, backend, layer, forward_batch, tokens):
        import torch
        heads, dim = layer.tp_q_head_num, layer.head_dim
        q, k, v = (torch.zeros(tokens, count * dim, dtype=backend.token_to_kv_pool.buffers[0][0].dtype, device="cuda")
                   for count in (heads, layer.tp_k_head_num, layer.tp_k_head_num))
        loc = torch.zeros(tokens, dtype=torch.int64, device="cuda")
        static = ForwardBatch(forward_batch.forward_mode, forward_batch.batch_size, None, None, loc)
        TorchGraphs.stream = TorchGraphs.stream or torch.cuda.Stream()
        TorchGraphs.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(TorchGraphs.stream):
            backend.forward(q, k, v, layer, static)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=TorchGraphs.stream):
            out = backend.forward(q, k, v, layer, static)

        def replay(new_q, new_k, new_v, _, now):
            for buffer, values in ((q, new_q), (k, new_k), (v, new_v), (loc, now.out_cache_loc)):
                buffer.zero_()
                buffer[:len(values)] = values
            graph.replay()
            return out[:len(new_q)]

        return replay


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize("swa_pool", [False, True])
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("fill", [0, 1])
def test_captured_steps(framework, page_size, swa_pool, tokens, fill):
    """Requests grow across pages and tiles, join and leave; rows fill the batch up; one graph for each layer."""
    runner = make_runner(framework, heads=4, kv_heads=2, head_dim=64, page_size=page_size, window=20, layers=2,
                         context_len=512, swa_pool=swa_pool)
    for k, v in runner.token_to_kv_pool.buffers:
        k[0] = v[0] = 0  # what rows that fill up a batch read and write
    xp = runner.xp
    mode = ForwardMode.DECODE if tokens == 1 else ForwardMode.TARGET_VERIFY
    backend = PagedAttentionBackend(runner, speculative_num_draft_tokens=0 if tokens == 1 else tokens)
    bs = 4
    backend.init_cuda_graph_state(bs, bs * tokens)
    filler = xp.array(np.full(bs, fill, np.int64))
    nobody = xp.array(np.zeros(bs, np.int64))
    backend.init_forward_metadata_capture_cuda_graph(bs, bs * tokens, nobody, filler, None, mode, None)
    bound = backend.forward_metadata
    graphs = TorchGraphs() if framework != "numpy" else CallsAsGraphs()
    captured = [graphs.capture(backend, layer, ForwardBatch(mode, bs, nobody, filler, None), bs * tokens)
                for layer in runner.layers]
    sizes = [[60, 3 + tokens], [61, 9], [64, 10, 200], [65, 250], [127 + tokens, 17, 16 + tokens, 33], [500]]
    for lens in sizes:
        requests = Requests(runner, lens, rows=[10 + place for place in range(len(lens))])
        live = len(lens)
        less = 0 if tokens == 1 else tokens
        indices, seq_lens = xp.array(np.zeros(bs, np.int64)), xp.array(np.full(bs, fill, np.int64))
        indices[:live] = requests.indices()
        seq_lens[:live] = requests.seq_lens(less)
        news = [tokens] * live
        for layer in runner.layers:
            requests.write(layer, [0] * live, [length - tokens for length in lens])
        backend.init_forward_metadata_replay_cuda_graph(bs, indices, seq_lens, int(sum(lens)), None, mode, None)
        assert backend.forward_metadata is bound
        for layer, graph in zip(runner.layers, captured):
            assert run_padded(requests, backend, layer, news, bs * tokens, graph, framework) < xp.tolerance


def run_padded(requests, backend, layer, news, rows, graph, framework):
    """Like Requests.run(), with rows of zeros behind, as a graph has them."""
    forward_batch = batch_of(requests, backend_mode(news), news)
    if framework != "numpy":
        return requests.run(backend, layer, forward_batch, news, graph)

    def padded(q, k, v, same_layer, batch):
        missing = rows - len(q)
        pad = [np.concatenate([array, np.zeros((missing, array.shape[1]), array.dtype)]) for array in (q, k, v)]
        slots = np.concatenate([batch.out_cache_loc, np.zeros(missing, np.int64)])
        whole = ForwardBatch(batch.forward_mode, batch.batch_size, None, None, slots)
        return graph(*pad, same_layer, whole)[:len(q)]

    return requests.run(backend, layer, forward_batch, news, padded)


def backend_mode(news):
    return ForwardMode.DECODE if news[0] == 1 else ForwardMode.TARGET_VERIFY


def test_metadata_of_a_replay_is_written_in_place():
    runner = make_runner(page_size=16, window=5, layers=2)
    backend = PagedAttentionBackend(runner)
    backend.init_cuda_graph_state(8, 8)
    ones = np.ones(8, np.int64)
    backend.init_forward_metadata_capture_cuda_graph(8, 8, ones * 0, ones, None, ForwardMode.DECODE, None)
    bound = backend.forward_metadata
    plans = dict(bound.plans)
    # A larger step without a graph in between needs a larger planner; the graph keeps its own.
    many = Requests(runner, [2] * 50, rows=list(range(20, 70)))
    backend.init_forward_metadata(batch_of(many, ForwardMode.DECODE, [1] * 50))
    assert set(plans) == {-1, 5}
    Requests(runner, [33, 100], rows=[0, 1])
    lens = np.array([33, 100, 0, 0, 0, 0, 0, 0])
    backend.init_forward_metadata_replay_cuda_graph(8, np.array([0, 1] + [0] * 6), lens, 133, None,
                                                    ForwardMode.DECODE, None)
    assert bound.plans == plans, "the same plans, written again"
    for plan in plans.values():
        plan.check(lens=lens.tolist(), query_tokens=[1] * 8)
    np.testing.assert_array_equal(bound.cache_seqlens_int32, lens)
    np.testing.assert_array_equal(bound.cu_seqlens_k, np.concatenate([[0], np.cumsum(lens)]))
    table = runner.req_to_token_pool.req_to_token
    np.testing.assert_array_equal(bound.page_table[1, :7], table[1, :112:16] // 16)


def test_a_draft_model_s_steps_add_tokens():
    runner = make_runner(page_size=16)
    backend = PagedAttentionBackend(runner, speculative_step_id=2, topk=1)
    requests = Requests(runner, [33, 100])
    batch = batch_of(requests, ForwardMode.DECODE, [1, 1], less=3, spec_info=object())
    backend.init_forward_metadata(batch)
    assert backend.forward_metadata.plans[-1].lens == [33, 100]


def test_an_idle_rank_runs_a_step_of_nobody():
    runner = make_runner(page_size=16)
    backend = PagedAttentionBackend(runner)
    batch = ForwardBatch(ForwardMode.IDLE, 0, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    backend.init_forward_metadata(batch)
    out = backend.forward(np.zeros((0, 16), np.float16), None, None, runner.layers[0], batch)
    assert out.shape == (0, 16)


# Refusals


def expect(error, words, call):
    with pytest.raises(error) as raised:
        call()
    assert isinstance(raised.value, onebeat.OnebeatError)
    for word in words if isinstance(words, list) else [words]:
        assert word in str(raised.value), str(raised.value)


def test_refusals():
    runner = make_runner(page_size=16)
    backend = PagedAttentionBackend(runner)
    layer = runner.layers[0]
    requests = Requests(runner, [9])
    batch = batch_of(requests, ForwardMode.DECODE, [1])
    rows = np.zeros((1, 16), np.float16)
    expect(ValueError, "init_forward_metadata", lambda: backend.forward(rows, rows, rows, layer, batch))
    backend.init_forward_metadata(batch)
    expect(ValueError, ["4 query and 2 KV heads", "2 and 2"],
           lambda: backend.forward(rows, rows, rows, make_layer(0, 4, 2, 8), batch))
    expect(ValueError, "window of 7", lambda: backend.forward(rows, rows, rows, make_layer(0, 2, 2, 8, 7), batch))
    expect(NotImplementedError, "k_rope",
           lambda: backend.forward_decode(rows, rows, rows, layer, batch, k_rope=rows))
    cross = make_layer(0, 2, 2, 8)
    cross.is_cross_attention = True
    expect(NotImplementedError, "cross-attention", lambda: backend.forward(rows, rows, rows, cross, batch))
    expect(NotImplementedError, "encoder_lens",
           lambda: backend.init_forward_metadata(batch_of(requests, ForwardMode.DECODE, [1], encoder_lens=[1])))
    expect(NotImplementedError, "topk",
           lambda: backend.init_forward_metadata(
               batch_of(requests, ForwardMode.DECODE, [1], spec_info=type("Spec", (), {"topk": 4}))))
    expect(NotImplementedError, "topk is 4", lambda: PagedAttentionBackend(runner, topk=4))
    expect(ValueError, "speculative_num_draft_tokens",
           lambda: backend.init_forward_metadata(batch_of(requests, ForwardMode.TARGET_VERIFY, [1])))
    expect(ValueError, ["3000", "2048"],
           lambda: backend.init_forward_metadata(
               batch_of(requests, ForwardMode.DECODE, [1], seq_lens=np.array([3000]))))
    backend.init_forward_metadata(batch_of(requests, ForwardMode.EXTEND, [9]))
    expect(ValueError, "EXTEND", lambda: backend.forward_decode(rows, rows, rows, layer, batch))


def test_refusals_of_graphs():
    backend = PagedAttentionBackend(make_runner(page_size=16))
    one = np.ones(9, np.int64)

    def capture(bs, tokens, mode=ForwardMode.DECODE):
        backend.init_forward_metadata_capture_cuda_graph(bs, tokens, one * 0, one, None, mode, None)

    def replay(bs):
        backend.init_forward_metadata_replay_cuda_graph(bs, one * 0, one, 1, None, ForwardMode.DECODE, None)

    expect(ValueError, "init_cuda_graph_state", lambda: capture(1, 1))
    expect(ValueError, ["max_num_tokens is 9", "8"], lambda: backend.init_cuda_graph_state(8, 9))
    backend.init_cuda_graph_state(8, 8)
    expect(ValueError, ["bs is 9", "8"], lambda: capture(9, 9))
    expect(ValueError, "num_tokens is 4", lambda: capture(2, 4))
    expect(NotImplementedError, "EXTEND", lambda: capture(2, 2, ForwardMode.EXTEND))
    capture(2, 2)
    expect(ValueError, ["no graph was captured for 4", "(2, 1)"], lambda: replay(4))


def test_heads_come_from_the_attention_group():
    runner = make_runner(heads=8, kv_heads=2, page_size=16)
    runner.tp_size = 4
    expect(ValueError, ["4 ranks", "attention_tp_size"], lambda: PagedAttentionBackend(runner))
    expect(ValueError, ["8 heads", "3 ranks"], lambda: PagedAttentionBackend(runner, attention_tp_size=3))
    backend = PagedAttentionBackend(runner, attention_tp_size=4)
    assert backend._fields["num_heads"] == 2 and backend._fields["num_kv_heads"] == 1


def test_a_gpu_without_kernels_is_named(monkeypatch):
    runner = make_runner(page_size=16)
    runner.device = "cuda"
    if not onebeat.with_cuda:
        expect(RuntimeError, "no CUDA code", lambda: PagedAttentionBackend(runner))
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(onebeat, "with_cuda", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (10, 0))
    expect(RuntimeError, ["10.0", "9.0"], lambda: PagedAttentionBackend(runner))
