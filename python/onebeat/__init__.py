# SPDX-License-Identifier: Apache-2.0
"""Onebeat: LLM inference on one plan per step.

:class:`StepPlanner` divides a decode step over the workers of a device once; every layer executes the
:class:`DecodePlan`. Arrays are of any framework with DLPack: torch, CuPy, JAX, NumPy.
"""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

from . import errors
from ._onebeat import AttentionGeometry, DecodePlan, heads_of_rank
from ._onebeat import with_cuda as _with_cuda
from .errors import *  # noqa: F403
from .llm import LLM, SamplingParams
from .planner import StepPlanner

try:
    __version__ = _version("onebeat")
except PackageNotFoundError:  # Imported from a build tree.
    __version__ = "0"

#: Whether this build has CUDA code.
with_cuda: bool = _with_cuda

__all__ = [
    "AttentionGeometry",
    "DecodePlan",
    "LLM",
    "SamplingParams",
    "StepPlanner",
    "heads_of_rank",
    "with_cuda",
    *errors.__all__,
]
