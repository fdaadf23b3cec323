# SPDX-License-Identifier: Apache-2.0
"""Onebeat: LLM inference on one plan per step.

:class:`StepPlanner` divides a decode step over the workers of a device once; every layer executes the
:class:`DecodePlan`. Arrays are of any framework with DLPack: torch, CuPy, JAX, NumPy.
"""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec

from . import errors
from ._onebeat import AttentionGeometry, DecodePlan, get_num_threads, heads_of_rank, set_num_threads
from ._onebeat import with_cuda as _with_cuda
from .attention import decode_attention, merge_states, prefill_attention
from .errors import *  # noqa: F403
from .flash import (
    flash_attn_with_kvcache,
    get_scheduler_metadata,
    raise_faults,
    reserve_workspace,
    scheduler_metadata_size,
)
from .llm import LLM, SamplingParams
from .planner import StepPlanner
from .sglang import draft_decode_set_expand_metadata, normal_decode_set_metadata

try:
    __version__ = _version("onebeat")
except PackageNotFoundError:  # Imported from a build tree.
    __version__ = "0"

#: Whether this build has CUDA code.
with_cuda: bool = _with_cuda

if _find_spec("torch") is not None:
    from . import torch_ops as _torch_ops  # noqa: F401

__all__ = [
    "AttentionGeometry",
    "DecodePlan",
    "LLM",
    "SamplingParams",
    "StepPlanner",
    "decode_attention",
    "draft_decode_set_expand_metadata",
    "flash_attn_with_kvcache",
    "get_num_threads",
    "get_scheduler_metadata",
    "heads_of_rank",
    "merge_states",
    "normal_decode_set_metadata",
    "prefill_attention",
    "raise_faults",
    "reserve_workspace",
    "scheduler_metadata_size",
    "set_num_threads",
    "with_cuda",
    *errors.__all__,
]
