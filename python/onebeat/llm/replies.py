# SPDX-License-Identifier: Apache-2.0
"""Requests on their way: submits them, follows their events, and cancels what is left when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

from onebeat import _onebeat
from onebeat.errors import OF_CODE, InternalError
from onebeat.llm.outputs import CompletionOutput, Logprob, RequestOutput, StreamChunk

_BETWEEN_LOOKS = 1.0  # Seconds; events are answered at once, signals soon.
_UNTIL_THE_QUEUE_HAS_ROOM = 0.01  # Seconds, while others fill it.


class Replies:
    """The replies to some prompts, in the order in which they come.

    Use it through :func:`chunks` or :func:`chunks_async`; :attr:`results` are whole when they end.
    """

    def __init__(self, session: Any, prompts: list[tuple[str | None, list[int], dict[str, Any]]]):
        self._session = session
        self._tokenizer_size = session.facts()["tokenizer_size"]
        self._queue = _onebeat.ReplyQueue()
        self._waiting = deque(enumerate(prompts))
        self._place: dict[int, int] = {}  # of requests, by their ids
        self._unfinished = sum(arguments["completions"] for _, _, arguments in prompts)
        self.results = [
            RequestOutput(text, ids, [self._empty_output(index, arguments)
                                      for index in range(max(arguments["completions"], 0))], arguments["seed"])
            for text, ids, arguments in prompts
        ]

    @staticmethod
    def _empty_output(index: int, arguments: dict[str, Any]) -> CompletionOutput:
        if arguments["log_probs"] < 0:
            return CompletionOutput(index)
        return CompletionOutput(index, cumulative_logprob=0.0, logprobs=[])

    def chunks(self) -> Iterator[StreamChunk]:
        """The parts of all replies. Ending it early, also by an exception or Ctrl-C, cancels the others."""
        try:
            self._submit_waiting()
            while self._unfinished > 0:
                if self._queue.wait(_UNTIL_THE_QUEUE_HAS_ROOM if self._is_kept_out() else _BETWEEN_LOOKS):
                    yield from self._follow(self._queue.take())
                self._submit_waiting()
        finally:
            self._session.cancel(self._queue)

    async def chunks_async(self) -> AsyncIterator[StreamChunk]:
        """The same for an event loop, which is never kept waiting."""
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        events: deque = deque()

        def take() -> None:
            events.extend(self._queue.take())
            arrived.set()

        loop.add_reader(self._queue.fileno(), take)
        try:
            self._submit_waiting()
            while self._unfinished > 0:
                # Not asyncio.wait_for(): before Python 3.12 it may swallow a cancellation.
                if self._is_kept_out():
                    loop.call_later(_UNTIL_THE_QUEUE_HAS_ROOM, arrived.set)
                await arrived.wait()
                arrived.clear()
                batch = list(events)
                events.clear()
                for chunk in self._follow(batch):
                    yield chunk
                self._submit_waiting()
        finally:
            loop.remove_reader(self._queue.fileno())
            self._session.cancel(self._queue)

    def _is_kept_out(self) -> bool:
        """Others fill the queue: no event of ours will say when it has room."""
        return bool(self._waiting) and not self._place

    def _submit_waiting(self) -> None:
        """As many as the engine's queue has room for."""
        while self._waiting:
            place, (_, ids, arguments) = self._waiting[0]
            try:
                request = self._session.submit(self._queue, ids, **arguments)
            except Exception as error:
                if len(self.results) > 1 and len(error.args) == 1:
                    error.args = (f"prompt {place}: {error.args[0]}",)
                raise
            if request is None:
                return
            self._waiting.popleft()
            self._place[request] = place

    def _follow(self, events: list[tuple]) -> Iterator[StreamChunk]:
        for (request, completion, token, text, log_prob, top, reason, failure, cached, _) in events:
            place = self._place[request]
            result = self.results[place]
            output = result.outputs[completion]
            tokens = [] if token is None else [token]
            output.token_ids += tokens
            output.text += text
            logprobs = None
            if output.logprobs is not None:
                logprobs = [] if token is None or log_prob is None else [self._logprobs(token, log_prob, top)]
                output.logprobs += logprobs
                output.cumulative_logprob += log_prob if logprobs else 0.0
            if reason is not None:
                self._unfinished -= 1
                result.num_cached_tokens = max(result.num_cached_tokens, cached)
                if failure is not None:
                    code, message = failure
                    raise OF_CODE.get(code, InternalError)(message)
                output.finish_reason = "abort" if reason == "cancelled" else reason
            yield StreamChunk(place, completion, text, tokens, logprobs, output.finish_reason)
            if result.finished:
                self._place.pop(request, None)

    def _logprobs(self, token: int, log_prob: float, top: list[tuple[int, float]]) -> dict[int, Logprob]:
        found = {token: Logprob(log_prob, None, self._text_of(token))}
        for rank, (other, value) in enumerate(top, start=1):
            found[other] = Logprob(value, rank, self._text_of(other))
        return found

    def _text_of(self, token: int) -> str:
        # A model's table may have rows beyond its tokenizer.
        return self._session.decode([token], special=True) if token < self._tokenizer_size else ""
