# SPDX-License-Identifier: Apache-2.0
"""The engine from Python: :class:`LLM` and what it takes and gives."""

from onebeat.llm.llm import LLM
from onebeat.llm.outputs import CompletionOutput, Logprob, RequestOutput, StreamChunk
from onebeat.llm.sampling import SamplingParams

__all__ = ["LLM", "CompletionOutput", "Logprob", "RequestOutput", "SamplingParams", "StreamChunk"]
