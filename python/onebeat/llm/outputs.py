# SPDX-License-Identifier: Apache-2.0
"""What generating gives: whole replies, and the parts of them that a stream brings."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CompletionOutput", "Logprob", "RequestOutput", "StreamChunk"]


@dataclass(frozen=True)
class Logprob:
    """The natural logarithm of a token's probability."""

    logprob: float
    rank: int | None  #: 1 for the likeliest; None for a token that was drawn from beyond the ranks asked for.
    decoded_token: str


@dataclass
class CompletionOutput:
    """One reply."""

    index: int  #: Which of the ``n`` replies to its prompt.
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    #: Sum of the log-probabilities of the tokens; None without ``logprobs``.
    cumulative_logprob: float | None = None
    #: For each token: the log-probabilities of it and of the likeliest, by id; None without ``logprobs``.
    logprobs: list[dict[int, Logprob]] | None = None
    #: "stop" (an end token or a stop string, which are no part of the reply), "length" (``max_tokens``, or the
    #: context is full), "abort" (the engine was closed); None while it is being written.
    finish_reason: str | None = None

    def finished(self) -> bool:
        return self.finish_reason is not None


@dataclass
class RequestOutput:
    """The replies to one prompt."""

    prompt: str | None  #: None if it was given as ids.
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    seed: int  #: With which the replies can be had again.
    num_cached_tokens: int = 0  #: Tokens of the prompt that an earlier request had computed.

    @property
    def finished(self) -> bool:
        return all(output.finished() for output in self.outputs)


@dataclass(frozen=True)
class StreamChunk:
    """What is new in one reply."""

    prompt_index: int  #: Which of the prompts, in their order.
    index: int  #: Which of its ``n`` replies.
    text: str  #: The characters that are certain now: whole ones, and none of a stop string. May be empty.
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None  #: One for each token; None without ``logprobs``.
    finish_reason: str | None  #: Not None in the last part of a reply.
