# SPDX-License-Identifier: Apache-2.0
"""PagedAttentionBackend: the attention of an engine in the shape of SGLang's backends, on one plan per step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onebeat
from onebeat.arrays import empty
from onebeat.errors import InvalidArgumentError, PlanMismatchError, UnavailableError, UnsupportedError

__all__ = ["AttentionMetadata", "PagedAttentionBackend"]

_HOPPER = 9  # Major compute capability that kernels are compiled for.


@dataclass
class AttentionMetadata:
    """What all layers of one forward pass share."""

    batch_size: int
    query_tokens: int  #: Of each request in DECODE and TARGET_VERIFY; 0 in EXTEND.
    cache_seqlens_int32: Any  #: int32 [B]: KV tokens, the new ones included.
    cu_seqlens_k: Any  #: int32 [B + 1]
    #: int32 [B, pages], or the engine's own req_to_token where a page is one token.
    page_table: Any
    swa_page_table: Any  #: The same in the pool of layers with a window, where that is a pool of its own.
    rows: Any  #: int32 [B]: rows of the tables; None: request b has row b.
    plans: dict[int, Any] = field(default_factory=dict)  #: DECODE and TARGET_VERIFY: by window_left.
    planner: Any = None  #: That made the plans.
    query_begin: list[int] = field(default_factory=list)  #: EXTEND: B + 1 numbers.
    lens: list[int] = field(default_factory=list)  #: EXTEND: B numbers.


class PagedAttentionBackend:
    """Decode, verification and prompts over a paged KV pool that the engine owns.

    Metadata is made once for a step, in :meth:`init_forward_metadata` or, for a captured step, in
    :meth:`init_forward_metadata_replay_cuda_graph`; layers only execute it, one launch each. Layers with a sliding
    window have plans of their own in all of these, so none of them reads what lies outside of it.

    It runs on CUDA (torch tensors) and, through the CPU executor, on NumPy arrays; with those, capturing is nothing
    but calling, so the graph functions can be tested without a GPU.

    Args:
        model_runner: What SGLang's has: ``device``, ``page_size``, ``kv_cache_dtype``, ``sliding_window_size`` (earlier
            tokens that a query sees besides itself; None or -1: no layer has a window), ``model_config`` with
            ``context_len``, ``head_dim``, ``num_attention_heads``, ``get_num_kv_heads(attention_tp_size)``,
            ``req_to_token_pool.req_to_token`` (int32 [rows, tokens]: slot of each token), and ``token_to_kv_pool``
            with ``get_kv_buffer(layer_id)`` ([slots, heads, dim] each) and ``set_kv_buffer(layer, loc, k, v)``; if it
            has ``full_to_swa_index_mapping``, layers with a window have a pool of their own.
        attention_tp_size: Ranks that share the attention heads: under DP attention fewer than the world's. None: 1,
            or an error if the runner has more ranks than one.
        speculative_step_id: Of a draft model's backend: which of its steps this one is for.
        topk: Drafts for each request; more than 1 is refused.
        speculative_num_draft_tokens: Tokens that TARGET_VERIFY has for each request, up to 16; 0: not used.
        workers: See :class:`onebeat.AttentionGeometry`.
        invariant_chunk_tokens: See :class:`onebeat.AttentionGeometry`: a request's bits do not depend on its company.

    Raises:
        UnavailableError: (RuntimeError) There is no GPU with kernels: it says which one is there.
        UnsupportedError: (NotImplementedError) Names what is asked for and not here.
        InvalidArgumentError: (ValueError) A geometry that cannot be.
    """

    def __init__(self, model_runner: Any, *, attention_tp_size: int | None = None, speculative_step_id: int = 0,
                 topk: int = 0, speculative_num_draft_tokens: int = 0, workers: int | None = None,
                 invariant_chunk_tokens: int = 0):
        self.device = str(model_runner.device)
        require_kernels(self.device)
        if topk > 1:
            raise UnsupportedError(f"topk is {topk}: several drafts for each request are not supported; use 1")
        self.page_size = int(model_runner.page_size)
        self.req_to_token = model_runner.req_to_token_pool.req_to_token
        self.token_to_kv_pool = model_runner.token_to_kv_pool
        self.max_context_len = int(model_runner.model_config.context_len)
        self.speculative_step_id = int(speculative_step_id)
        self.num_draft_tokens = int(speculative_num_draft_tokens)
        self.has_swa_pool = getattr(self.token_to_kv_pool, "full_to_swa_index_mapping", None) is not None
        window = getattr(model_runner, "sliding_window_size", None)
        self.windows = [-1] if window is None or window < 0 else [-1, int(window)]
        #: None until :meth:`init_forward_metadata` or its like was called.
        self.forward_metadata: AttentionMetadata | None = None
        self._fields = _geometry_fields(model_runner, attention_tp_size, self.page_size)
        self._fields.update(workers=workers, invariant_chunk_tokens=invariant_chunk_tokens, device=self.device)
        self._planners: dict[int, onebeat.StepPlanner] = {}  # by query tokens
        self._graph: _GraphState | None = None
        self._geometries(1)  # Says at once what is wrong with it.

    # A step without a graph

    def init_forward_metadata(self, forward_batch: Any) -> None:
        """Makes what the layers of this forward pass share."""
        mode = forward_batch.forward_mode
        batch = int(forward_batch.batch_size)
        self._refuse_encoder(forward_batch.encoder_lens)
        decodes = mode.is_decode_or_idle() or mode.is_target_verify()
        query_tokens = self._query_tokens(mode) if decodes else 0
        lens = _host_list(forward_batch, "seq_lens", batch)
        delta = self._delta(mode, forward_batch.spec_info)
        longest = max(lens, default=0) + delta
        if longest > self.max_context_len:
            raise InvalidArgumentError(f"a request has {longest} tokens; the context has room for "
                                       f"{self.max_context_len}")
        memory = _Tables(self, max(batch, 1), -(-longest // self.page_size))
        metadata = self._fill(memory, batch, query_tokens, forward_batch.req_pool_indices[:batch],
                              forward_batch.seq_lens[:batch], delta)
        if decodes:
            self._plan(metadata)
        else:
            news = _host_list(forward_batch, "extend_seq_lens", batch)
            metadata.query_begin = [0]
            for new in news:
                metadata.query_begin.append(metadata.query_begin[-1] + new)
            metadata.lens = lens
        self.forward_metadata = metadata

    # A captured step

    def init_cuda_graph_state(self, max_bs: int, max_num_tokens: int) -> None:
        """Allocates what captured steps of up to `max_bs` requests read, once for all of them."""
        limit = max(1, self.num_draft_tokens) * max_bs
        if max_num_tokens > limit:
            raise InvalidArgumentError(f"max_num_tokens is {max_num_tokens}; {max_bs} requests have up to {limit}")
        if self.device != "cpu":
            # The capturing stream cannot make one.
            onebeat.reserve_workspace(self._geometries(max(1, self.num_draft_tokens))[0], max_requests=max_bs,
                                      device=self.device)
        self._graph = _GraphState(_Tables(self, max_bs, -(-self.max_context_len // self.page_size)), max_bs, {})

    def get_cuda_graph_seq_len_fill_value(self) -> int:
        """Length of rows that fill up a batch: they cost nothing. 1 is as right."""
        return 0

    def init_forward_metadata_capture_cuda_graph(self, bs: int, num_tokens: int, req_pool_indices: Any, seq_lens: Any,
                                                 encoder_lens: Any, forward_mode: Any, spec_info: Any) -> None:
        """Binds what a graph of `bs` requests will read, before it is captured; values may be anything valid."""
        graph = self._graph_state(bs)
        self._refuse_encoder(encoder_lens)
        query_tokens = self._query_tokens(forward_mode)
        if num_tokens != bs * query_tokens:
            raise InvalidArgumentError(f"num_tokens is {num_tokens}; {bs} requests of {query_tokens} tokens have "
                                       f"{bs * query_tokens}")
        metadata = self._fill(graph.tables, bs, query_tokens, req_pool_indices[:bs], seq_lens[:bs],
                              self._delta(forward_mode, spec_info))
        self._plan(metadata)
        graph.metadata[bs, query_tokens] = metadata
        self.forward_metadata = metadata

    def init_forward_metadata_replay_cuda_graph(self, bs: int, req_pool_indices: Any, seq_lens: Any, seq_lens_sum: int,
                                                encoder_lens: Any, forward_mode: Any, spec_info: Any,
                                                seq_lens_cpu: Any = None, out_cache_loc: Any = None) -> None:
        """Writes a step's values where its graph reads them; no allocation, nothing read back from the device."""
        graph = self._graph_state(bs)
        self._refuse_encoder(encoder_lens)
        query_tokens = self._query_tokens(forward_mode)
        metadata = graph.metadata.get((bs, query_tokens))
        if metadata is None:
            raise InvalidArgumentError(f"no graph was captured for {bs} requests of {query_tokens} tokens; captured "
                                       f"are {sorted(graph.metadata)}")
        self._fill(graph.tables, bs, query_tokens, req_pool_indices[:bs], seq_lens[:bs],
                   self._delta(forward_mode, spec_info))
        self._plan(metadata)
        self.forward_metadata = metadata

    # Layers

    def forward(self, q: Any, k: Any, v: Any, layer: Any, forward_batch: Any, save_kv_cache: bool = True,
                **others: Any) -> Any:
        """:meth:`forward_decode` or :meth:`forward_extend`, as the batch is."""
        decodes = forward_batch.forward_mode.is_decode_or_idle()
        return (self.forward_decode if decodes else self.forward_extend)(q, k, v, layer, forward_batch, save_kv_cache,
                                                                        **others)

    def forward_decode(self, q: Any, k: Any, v: Any, layer: Any, forward_batch: Any, save_kv_cache: bool = True, *,
                       sinks: Any = None, **others: Any) -> Any:
        """Attention of one layer for one token of each request: q [B, H * D], out [B, H * Dv].

        Args:
            k, v: [B, G * D] and [B, G * Dv], appended to the pool first; None: they are there already.
            layer: What SGLang's has: ``layer_id``, ``tp_q_head_num``, ``tp_k_head_num``, ``head_dim``, ``v_head_dim``,
                ``scaling``, ``logit_cap``, ``sliding_window_size``.
            sinks: float32 [H] logits that take weight and give no value.
        """
        metadata = self._begin(layer, others)
        if metadata.query_tokens == 0:
            raise PlanMismatchError("forward_decode() after the metadata of an EXTEND batch")
        if len(q) == 0:
            return empty((0, layer.tp_q_head_num * _v_head_dim(layer)), q)
        self._save(layer, forward_batch, k, v, save_kv_cache)
        window = self._window_of(layer)
        out = onebeat.decode_attention(
            metadata.plans[window], _heads(q, layer.tp_q_head_num, layer.head_dim), *self._caches(layer),
            self._table(metadata, window), rows=metadata.rows, scale=layer.scaling, soft_cap=layer.logit_cap or 0.0,
            sinks=sinks)
        return out.reshape(len(q), -1)

    def forward_extend(self, q: Any, k: Any, v: Any, layer: Any, forward_batch: Any, save_kv_cache: bool = True, *,
                       sinks: Any = None, **others: Any) -> Any:
        """The same for prompts, or parts of them, and for drafted tokens: q [tokens, H * D], request after request.

        Raises:
            UnsupportedError: (NotImplementedError) Prompts on a GPU; drafted tokens are welcome there.
        """
        metadata = self._begin(layer, others)
        if metadata.query_tokens > 0:
            return self.forward_decode(q, k, v, layer, forward_batch, save_kv_cache, sinks=sinks)
        self._save(layer, forward_batch, k, v, save_kv_cache)
        window = self._window_of(layer)
        out = onebeat.prefill_attention(
            self._geometries(1)[self.windows.index(window)], _heads(q, layer.tp_q_head_num, layer.head_dim),
            *self._caches(layer), self._table(metadata, window), metadata.query_begin, metadata.lens,
            rows=metadata.rows, scale=layer.scaling, soft_cap=layer.logit_cap or 0.0, sinks=sinks)
        return out.reshape(len(q), -1)

    # Inner parts

    def _geometries(self, query_tokens: int) -> list[Any]:
        return [onebeat.AttentionGeometry(**self._fields, window_left=window, max_query_tokens=query_tokens)
                for window in self.windows]

    def _planner(self, requests: int, query_tokens: int) -> Any:
        """One for each number of query tokens; made again, larger, for a batch that exceeds it."""
        planner = self._planners.get(query_tokens)
        if planner is None or requests > planner.max_requests:
            most = max(requests, self._graph.max_bs if self._graph else 0, 2 * planner.max_requests if planner else 16)
            planner = onebeat.StepPlanner(self._geometries(query_tokens), max_requests=most,
                                          max_context_tokens=self.max_context_len, device=self.device)
            self._planners[query_tokens] = planner
        return planner

    def _fill(self, tables: _Tables, batch: int, query_tokens: int, indices: Any, seq_lens: Any,
              delta: int) -> AttentionMetadata:
        """Lengths, sums and tables; where a page is one token the engine's own table does."""
        direct = self.page_size == 1
        swa = tables.swa_page_table[:batch] if tables.swa_page_table is not None else None
        lens, sums = tables.lens[:batch], tables.sums[:batch + 1]
        tables.rows[:batch] = indices
        if batch > 0:
            onebeat.normal_decode_set_metadata(
                lens, sums, tables.page_table[:batch], self.req_to_token, tables.rows[:batch], None,
                0 if direct and swa is None else tables.page_table.shape[1], seq_lens, delta, self.page_size, swa,
                self.token_to_kv_pool if swa is not None else None, live=not (direct and swa is None))
        if direct and swa is None:
            return AttentionMetadata(batch, query_tokens, lens, sums, self.req_to_token, None, tables.rows[:batch])
        return AttentionMetadata(batch, query_tokens, lens, sums, tables.page_table[:batch], swa, None)

    def _plan(self, metadata: AttentionMetadata) -> None:
        """Makes the plans, or writes those again that a graph reads."""
        if metadata.planner is None:
            metadata.planner = self._planner(metadata.batch_size, metadata.query_tokens)
        out = [metadata.plans[window] for window in self.windows] if metadata.plans else None
        metadata.plans = dict(zip(self.windows, metadata.planner.plan(metadata.cache_seqlens_int32, out=out)))

    def _graph_state(self, bs: int) -> _GraphState:
        if self._graph is None:
            raise InvalidArgumentError("init_cuda_graph_state() comes before capture and replay")
        if not 1 <= bs <= self._graph.max_bs:
            raise InvalidArgumentError(f"bs is {bs}; init_cuda_graph_state() was called for 1 to {self._graph.max_bs}")
        return self._graph

    def _query_tokens(self, mode: Any) -> int:
        if mode.is_decode_or_idle():
            return 1
        if not mode.is_target_verify():
            raise UnsupportedError(f"a graph of {mode} is not supported; DECODE and TARGET_VERIFY are")
        if self.num_draft_tokens < 1:
            raise InvalidArgumentError("TARGET_VERIFY needs speculative_num_draft_tokens, which was not given")
        return self.num_draft_tokens

    def _delta(self, mode: Any, spec_info: Any) -> int:
        """Tokens that a step adds to seq_lens."""
        if getattr(spec_info, "topk", 1) > 1:
            raise UnsupportedError(f"spec_info.topk is {spec_info.topk}: several drafts for each request are not "
                                   "supported; use 1")
        if mode.is_target_verify():
            return self.num_draft_tokens
        return self.speculative_step_id + 1 if spec_info is not None and mode.is_decode_or_idle() else 0

    @staticmethod
    def _refuse_encoder(encoder_lens: Any) -> None:
        if encoder_lens is not None:
            raise UnsupportedError("encoder_lens is given: cross-attention is not supported")

    def _begin(self, layer: Any, others: dict[str, Any]) -> AttentionMetadata:
        for name, value in others.items():
            if value is not None:
                raise UnsupportedError(f"{name} is not supported; leave it out")
        if getattr(layer, "is_cross_attention", False):
            raise UnsupportedError(f"layer {layer.layer_id} is cross-attention, which is not supported")
        if self.forward_metadata is None:
            raise PlanMismatchError("init_forward_metadata() comes before the first layer")
        heads = (layer.tp_q_head_num, layer.tp_k_head_num)
        planned = (self._fields["num_heads"], self._fields["num_kv_heads"])
        if heads != planned:
            raise PlanMismatchError(f"layer {layer.layer_id} has {heads[0]} query and {heads[1]} KV heads; the plans "
                                    f"are for {planned[0]} and {planned[1]}: is attention_tp_size that of the "
                                    "attention group?")
        return self.forward_metadata

    def _window_of(self, layer: Any) -> int:
        window = getattr(layer, "sliding_window_size", None)
        window = -1 if window is None or window < 0 else int(window)
        if window not in self.windows:
            raise PlanMismatchError(f"layer {layer.layer_id} has a window of {window}; the plans are for "
                                    f"{self.windows[-1]} (sliding_window_size of the runner)")
        return window

    def _table(self, metadata: AttentionMetadata, window: int) -> Any:
        return metadata.page_table if window < 0 or metadata.swa_page_table is None else metadata.swa_page_table

    def _save(self, layer: Any, forward_batch: Any, k: Any, v: Any, wanted: bool) -> None:
        if k is not None and wanted:
            self.token_to_kv_pool.set_kv_buffer(layer, forward_batch.out_cache_loc,
                                                _heads(k, layer.tp_k_head_num, layer.head_dim),
                                                _heads(v, layer.tp_k_head_num, _v_head_dim(layer)))

    def _caches(self, layer: Any) -> tuple[Any, Any]:
        """[pages, P, G, D] of what the pool has as [slots, G, D]; slots beyond the last whole page are nobody's."""
        def paged(cache: Any) -> Any:
            pages = cache.shape[0] // self.page_size
            return cache[:pages * self.page_size].reshape(pages, self.page_size, *cache.shape[1:])

        k_cache, v_cache = self.token_to_kv_pool.get_kv_buffer(layer.layer_id)
        return paged(k_cache), paged(v_cache)


class _Tables:
    """What a step's metadata is written into."""

    def __init__(self, backend: PagedAttentionBackend, requests: int, pages: int):
        like = backend.req_to_token
        needs_table = backend.page_size > 1 or backend.has_swa_pool
        self.lens = empty((requests,), like, "int32")
        self.sums = empty((requests + 1,), like, "int32")
        self.rows = empty((requests,), like, "int32")
        self.page_table = empty((requests, max(pages, 1) if needs_table else 1), like, "int32")
        self.swa_page_table = empty(self.page_table.shape, like, "int32") if backend.has_swa_pool else None
        for array in (self.lens, self.sums, self.rows, self.page_table, self.swa_page_table):
            if array is not None:
                array[...] = 0


@dataclass
class _GraphState:
    tables: _Tables
    max_bs: int
    metadata: dict[tuple[int, int], AttentionMetadata]  # by requests and query tokens


def require_kernels(device: str) -> None:
    """Raises UnavailableError unless kernels for the device are in this build."""
    if not device.startswith("cuda"):
        return
    if not onebeat.with_cuda:
        raise UnavailableError(f"device is {device}, but this build of onebeat has no CUDA code; install it where "
                               "nvcc is found")
    import torch

    if not torch.cuda.is_available():
        raise UnavailableError(f"device is {device}, but torch finds no GPU")
    major, minor = torch.cuda.get_device_capability(device)
    if major != _HOPPER:
        raise UnavailableError(f"{device} has compute capability {major}.{minor}; there are kernels for {_HOPPER}.0")


def _geometry_fields(model_runner: Any, attention_tp_size: int | None, page_size: int) -> dict[str, Any]:
    config = model_runner.model_config
    if attention_tp_size is None:
        ranks = getattr(model_runner, "tp_size", 1)
        if ranks != 1:
            raise InvalidArgumentError(f"the runner has {ranks} ranks; attention_tp_size must say how many of them "
                                       "share the attention heads")
        attention_tp_size = 1
    if config.num_attention_heads % attention_tp_size != 0:
        raise InvalidArgumentError(f"{config.num_attention_heads} heads cannot be shared by {attention_tp_size} ranks")
    return {
        "num_heads": config.num_attention_heads // attention_tp_size,
        "num_kv_heads": config.get_num_kv_heads(attention_tp_size),
        "head_dim": config.head_dim,
        "head_dim_v": getattr(config, "v_head_dim", None) or config.head_dim,
        "page_tokens": page_size,
        "kv_dtype": _dtype_name(model_runner.kv_cache_dtype),
    }


def _dtype_name(dtype: Any) -> str:
    return getattr(dtype, "__name__", None) or getattr(dtype, "name", None) or str(dtype)


def _heads(rows: Any, heads: int, dim: int) -> Any:
    return rows.reshape(-1, heads, dim)


def _v_head_dim(layer: Any) -> int:
    return getattr(layer, "v_head_dim", None) or layer.head_dim


def _host_list(forward_batch: Any, name: str, batch: int) -> list[int]:
    """Numbers of a batch on the host; read from the device only if the engine has them nowhere else."""
    values = getattr(forward_batch, f"{name}_cpu", None)
    values = getattr(forward_batch, name) if values is None else values
    return [int(value) for value in (values.tolist() if hasattr(values, "tolist") else values)[:batch]]
