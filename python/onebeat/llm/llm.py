# SPDX-License-Identifier: Apache-2.0
"""A model that answers prompts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Union

from onebeat import _onebeat
from onebeat.errors import InvalidArgumentError, UnavailableError, UnsupportedError, WrongTypeError
from onebeat.llm.outputs import RequestOutput, StreamChunk
from onebeat.llm.replies import Replies
from onebeat.llm.sampling import SamplingParams, integer, refuse_others, resolve_aliases

__all__ = ["LLM"]

#: A text, token ids, or one of them in a dict, as {"prompt": ...} or {"prompt_token_ids": ...}.
Prompt = Union[str, Sequence[int], Mapping[str, Any]]
Params = Union[SamplingParams, Mapping[str, Any], Sequence[Union[SamplingParams, Mapping[str, Any]]], None]
Message = Mapping[str, Any]

_LONG_BATCH = 8  # Prompts; from here on a terminal sees a progress bar.

_ALIASES = {
    "context_length": "max_model_len",
    "max_running_requests": "max_num_seqs",
    "max_total_tokens": "cache_tokens",
    "chunked_prefill_size": "prefill_chunk",
    "enable_deterministic_inference": "batch_invariant",
}

_NOT_HERE = {
    "data_parallel_size": (1,),
    "disable_radix_cache": (False,),
    "dp_size": (1,),
    "dtype": ("auto",),
    "enforce_eager": (False, True),
    "gpu_memory_utilization": (None,),
    "load_format": ("auto",),
    "mem_fraction_static": (None,),
    "pipeline_parallel_size": (1,),
    "quantization": (None,),
    "revision": (None,),
    "speculative_algorithm": (None,),
    "speculative_config": (None,),
    "swap_space": (None, 0),
    "tensor_parallel_size": (1,),
    "tokenizer": (None,),
    "tokenizer_mode": ("auto",),
    "tp_size": (1,),
    "trust_remote_code": (False,),
}


class LLM:
    """A loaded model, its tokenizer, and a thread of its own that computes all requests together.

    All functions may be called from any thread; several models may be loaded at once. Use it as a context manager,
    or call :meth:`close`, to give its memory back early.

    Args:
        model: A ``.gguf`` file, a folder with safetensors weights, or a name that ``onebeat pull`` has fetched.
        threads: Threads that compute; None: one for each processor.
        max_model_len: Longest sequence, prompt and reply together, in tokens (also ``context_length``); None: the
            model's own, at most 8,192.
        kv_cache_dtype: Numbers in the KV cache: "auto" (f16, or f32 with ``compute="f32"``), "f32", "f16", "bf16".
        max_num_seqs: Replies that are computed at once (also ``max_running_requests``); the others wait.
        max_waiting: Requests that wait in the engine; more wait in the calls that make them.
        cache_tokens: Tokens of the KV cache, which all requests share (also ``max_total_tokens``); None: as many as
            ``max_num_seqs`` sequences of full length have, or as half of the free memory holds.
        enable_prefix_caching: Prompts that begin alike are computed once.
        prefill_chunk: Tokens of prompts in one step (also ``chunked_prefill_size``).
        compute: "auto": the fastest; "f32": exact to fp32 rounding.
        isa: Instruction set of the matrix products: "auto" (the best there is), "portable", "avx2", "avx512vnni",
            "amx".
        batch_invariant: A reply's bits depend on nothing that was computed before or beside it (also
            ``enable_deterministic_inference``).
        device: "auto" or "cpu": models run on the CPU so far.

    Raises:
        NotFoundError: (FileNotFoundError) There is no such model.
        DataLossError: (ValueError) The model's files are damaged.
        UnsupportedError: (NotImplementedError) An architecture, a quantisation or an argument that is not here.
        InvalidArgumentError, OutOfRangeError: (ValueError) An argument, with its value and limits.
        ResourceExhaustedError: (MemoryError) The context does not fit, with the one that would.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        threads: int | None = None,
        max_model_len: int | None = None,
        kv_cache_dtype: str = "auto",
        max_num_seqs: int = 16,
        max_waiting: int = 1024,
        cache_tokens: int | None = None,
        enable_prefix_caching: bool = True,
        prefill_chunk: int = 256,
        compute: str = "auto",
        isa: str = "auto",
        batch_invariant: bool = False,
        device: str = "auto",
        **others: Any,
    ):
        arguments = resolve_aliases("LLM", others, _ALIASES)
        given = {
            "threads": threads, "max_model_len": max_model_len, "kv_cache_dtype": kv_cache_dtype,
            "max_num_seqs": max_num_seqs, "max_waiting": max_waiting, "cache_tokens": cache_tokens,
            "enable_prefix_caching": enable_prefix_caching, "prefill_chunk": prefill_chunk, "compute": compute,
            "isa": isa, "batch_invariant": batch_invariant,
        }
        for name in list(arguments):
            if name in given:
                if given[name] != LLM.__init__.__kwdefaults__[name]:
                    raise WrongTypeError(f"LLM was given {name} twice, under two names")
                given[name] = arguments.pop(name)
        refuse_others("LLM", arguments, _NOT_HERE)
        if device not in ("auto", "cpu"):
            raise UnavailableError(f"device is {device!r}: models run on the CPU only so far; use device='cpu'")

        def count(name: str, most: int = 2**31 - 1) -> int | None:
            return None if given[name] is None else integer(name, given[name], 1, most)

        self._session = _onebeat.EngineSession.load(
            os.fspath(model),
            threads=count("threads"),
            context=count("max_model_len", 2**62),
            compute=str(given["compute"]),
            kv_type=str(given["kv_cache_dtype"]),
            isa=str(given["isa"]),
            max_requests=integer("max_num_seqs", given["max_num_seqs"]),
            max_waiting=integer("max_waiting", given["max_waiting"]),
            cache_tokens=count("cache_tokens", 2**62),
            reuse_prefixes=bool(given["enable_prefix_caching"]),
            prefill_chunk=integer("prefill_chunk", given["prefill_chunk"]),
            batch_invariant=bool(given["batch_invariant"]),
        )

    # Whole replies

    def generate(self, prompts: Prompt | Sequence[Prompt], sampling_params: Params = None, *,
                 use_tqdm: bool | None = None, parse_special: bool = False) -> list[RequestOutput]:
        """Completes prompts, all together.

        Args:
            prompts: A text, a list of token ids, ``{"prompt": text}`` or ``{"prompt_token_ids": ids}``; or several of
                them in a list. Texts get the token that begins a sequence where the model wants it.
            sampling_params: A :class:`SamplingParams`, or a dict of its arguments, for all prompts; or a list with
                one for each. None: the defaults.
            use_tqdm: A progress bar (needs tqdm). None: for long batches in a terminal, if tqdm is installed.
            parse_special: Texts of special tokens in prompts, such as ``<|im_start|>``, become those tokens. Only for
                prompts whose writer is trusted with them.

        Returns:
            One output for each prompt, in their order; also a list for one prompt.

        Raises:
            InvalidArgumentError, OutOfRangeError: (ValueError) A parameter, an id, or a prompt that is empty or
                longer than the context, with the values; nothing is left running.
            WrongTypeError: (TypeError) A prompt or a parameter of another type.
            UnavailableError: (RuntimeError) The model was closed.
            KeyboardInterrupt: Ctrl-C; nothing is left running, and the model can be used again.
        """
        return self._run(self._requests(prompts, sampling_params, parse_special), use_tqdm)

    def chat(self, messages: Sequence[Message] | Sequence[Sequence[Message]], sampling_params: Params = None, *,
             use_tqdm: bool | None = None, add_generation_prompt: bool = True,
             chat_template_kwargs: Mapping[str, Any] | None = None) -> list[RequestOutput]:
        """Answers a conversation, or several, through the model's chat template.

        Args:
            messages: Dicts with "role" and "content" (a string, or a list of ``{"type": "text", "text": ...}``), or a
                list of such lists. Special tokens that contents spell stay spelled out.
            sampling_params, use_tqdm: See :meth:`generate`.
            add_generation_prompt: The prompt ends with the beginning of the assistant's message.
            chat_template_kwargs: What the template sees besides the messages, such as ``{"enable_thinking": False}``.

        Raises:
            UnsupportedError: (NotImplementedError) The model has no chat template, or it needs what is not there.
            InvalidArgumentError: (ValueError) The template refuses the messages.
        """
        return self._run(
            self._chat_requests(messages, sampling_params, add_generation_prompt, chat_template_kwargs), use_tqdm)

    # Parts of replies as they come

    def stream(self, prompts: Prompt | Sequence[Prompt], sampling_params: Params = None, *,
               parse_special: bool = False) -> Iterator[StreamChunk]:
        """The parts of the replies as they come; of several prompts mixed. Ending the iteration cancels the rest."""
        return Replies(self._open(), self._requests(prompts, sampling_params, parse_special)).chunks()

    def stream_chat(self, messages: Sequence[Message], sampling_params: Params = None, *,
                    add_generation_prompt: bool = True,
                    chat_template_kwargs: Mapping[str, Any] | None = None) -> Iterator[StreamChunk]:
        """:meth:`stream` for conversations."""
        requests = self._chat_requests(messages, sampling_params, add_generation_prompt, chat_template_kwargs)
        return Replies(self._open(), requests).chunks()

    # The same for asyncio

    async def async_generate(self, prompts: Prompt | Sequence[Prompt], sampling_params: Params = None, *,
                             parse_special: bool = False) -> list[RequestOutput]:
        """:meth:`generate` as a coroutine. Cancelling its task cancels the requests."""
        replies = Replies(self._open(), self._requests(prompts, sampling_params, parse_special))
        async for _ in replies.chunks_async():
            pass
        return replies.results

    def async_stream(self, prompts: Prompt | Sequence[Prompt], sampling_params: Params = None, *,
                     parse_special: bool = False) -> AsyncIterator[StreamChunk]:
        """:meth:`stream` as an asynchronous iterator. Closing it, or cancelling its task, cancels the requests."""
        return Replies(self._open(), self._requests(prompts, sampling_params, parse_special)).chunks_async()

    async def async_chat(self, messages: Sequence[Message], sampling_params: Params = None, *,
                         add_generation_prompt: bool = True,
                         chat_template_kwargs: Mapping[str, Any] | None = None) -> list[RequestOutput]:
        """:meth:`chat` as a coroutine."""
        requests = self._chat_requests(messages, sampling_params, add_generation_prompt, chat_template_kwargs)
        replies = Replies(self._open(), requests)
        async for _ in replies.chunks_async():
            pass
        return replies.results

    # Texts and ids

    def tokenize(self, text: str, *, parse_special: bool = False, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text; with `add_special_tokens` after the token that begins a sequence, where the model wants
        it."""
        if not isinstance(text, str):
            raise WrongTypeError(f"text is a {type(text).__name__}; it must be a string")
        return self._open().encode(text, special=bool(parse_special), begin=bool(add_special_tokens))

    def detokenize(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of ids; bytes that are no characters become U+FFFD."""
        ids = [integer(f"token_ids[{place}]", token) for place, token in enumerate(token_ids)]
        return self._open().decode(ids, special=not skip_special_tokens)

    # What it is and does

    @property
    def info(self) -> dict[str, Any]:
        """Facts: name, architecture, num_layers, vocab_size, context_tokens, threads, isa, kv_bytes_per_token, ..."""
        return self._open().facts()

    def counters(self) -> dict[str, int]:
        """What it has done since it was loaded: steps, plans_made, generated_tokens, cached_prompt_tokens, ..."""
        return self._open().counters()

    def load_now(self) -> dict[str, int]:
        """What it is doing: waiting_requests, running_completions, pages of the KV cache."""
        return self._open().load_now()

    def close(self) -> None:
        """Ends all requests (their replies end with "abort") and the thread, and gives the memory back; streams that
        have not ended keep it until they do. Further calls do nothing."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inner parts

    def _open(self) -> Any:
        session = self._session
        if session is None:
            raise UnavailableError("this model was closed; load it again")
        return session

    def _run(self, requests: list[tuple[str | None, list[int], dict[str, Any]]],
             use_tqdm: bool | None) -> list[RequestOutput]:
        replies = Replies(self._open(), requests)
        with _progress(len(requests), use_tqdm) as bar:
            tokens = 0
            for chunk in replies.chunks():
                tokens += len(chunk.token_ids)
                if chunk.finish_reason is not None and replies.results[chunk.prompt_index].finished:
                    bar.update()
                    bar.set_postfix_str(f"{tokens} tokens", refresh=False)
        return replies.results

    def _requests(self, prompts: Any, params: Params,
                  parse_special: bool) -> list[tuple[str | None, list[int], dict[str, Any]]]:
        self._open()
        several = [prompts] if _is_one_prompt(prompts) else list(prompts)
        requests = []
        for place, (prompt, given) in enumerate(zip(several, _params_for(len(several), params))):
            text, ids = self._encode(prompt, f"prompts[{place}]", parse_special)
            arguments = given.as_request() | {"text_continues": True}
            requests.append((text, ids, arguments))
        return requests

    def _chat_requests(self, messages: Any, params: Params, add_generation_prompt: bool,
                       extra: Mapping[str, Any] | None) -> list[tuple[str | None, list[int], dict[str, Any]]]:
        session = self._open()
        if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
            raise WrongTypeError(f"messages is a {type(messages).__name__}; it must be a list of dicts with role and "
                                 "content")
        several = messages if messages and not isinstance(messages[0], Mapping) else [messages]
        extra_json = "" if not extra else json.dumps(dict(extra))
        requests = []
        for conversation, given in zip(several, _params_for(len(several), params)):
            ids = session.encode_chat([_message(message) for message in conversation],
                                      add_generation_prompt=bool(add_generation_prompt), extra_json=extra_json)
            arguments = given.as_request() | {"text_continues": False}
            requests.append((session.decode(ids, special=True), ids, arguments))
        return requests

    def _encode(self, prompt: Any, name: str, parse_special: bool) -> tuple[str | None, list[int]]:
        if isinstance(prompt, Mapping):
            known = [key for key in ("prompt", "prompt_token_ids") if prompt.get(key) is not None]
            others = [key for key in prompt if key not in ("prompt", "prompt_token_ids") and prompt[key] is not None]
            if others:
                raise UnsupportedError(f"{name} has {others[0]}, which is not supported; it may have prompt or "
                                       "prompt_token_ids")
            if not known:
                raise InvalidArgumentError(f"{name} has neither prompt nor prompt_token_ids")
            if "prompt_token_ids" in known:
                return prompt.get("prompt"), _token_ids(name, prompt["prompt_token_ids"])
            prompt = prompt["prompt"]
        if isinstance(prompt, str):
            if not prompt:
                raise InvalidArgumentError(f"{name} is empty; it needs at least one character")
            return prompt, self._open().encode(prompt, special=bool(parse_special), begin=True)
        return None, _token_ids(name, prompt)


class _NoBar:
    """A progress bar that shows nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self) -> None:
        pass

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        pass


def _progress(total: int, wanted: bool | None) -> Any:
    if wanted is False or wanted is None and (total < _LONG_BATCH or not sys.stderr.isatty()):
        return _NoBar()
    try:
        import tqdm
    except ImportError as error:
        if wanted is None:
            return _NoBar()
        raise UnavailableError("use_tqdm=True needs the package tqdm, which is not installed") from error
    return tqdm.tqdm(total=total, desc="prompts", dynamic_ncols=True)


def _is_one_prompt(prompts: Any) -> bool:
    if isinstance(prompts, (str, Mapping)):
        return True
    if not hasattr(prompts, "__iter__"):
        raise WrongTypeError(f"prompts is {prompts!r}; it must be a text, token ids, or a list of them")
    if getattr(prompts, "ndim", None) is not None:
        return prompts.ndim == 1  # An array of ids; one with two dimensions is several prompts.
    first = next(iter(prompts), None)
    return first is not None and hasattr(first, "__index__")


def _token_ids(name: str, ids: Any) -> list[int]:
    if isinstance(ids, (bytes, Mapping)) or not hasattr(ids, "__iter__"):
        raise WrongTypeError(f"{name} is a {type(ids).__name__}; it must be a text or a list of token ids")
    return [integer(f"{name}[{place}]", token) for place, token in enumerate(ids)]


def _params_for(count: int, params: Params) -> list[SamplingParams]:
    def one(given: Any) -> SamplingParams:
        if given is None:
            return SamplingParams()
        if isinstance(given, SamplingParams):
            return given
        if isinstance(given, Mapping):
            return SamplingParams(**given)
        raise WrongTypeError(f"sampling_params is a {type(given).__name__}; it must be SamplingParams or a dict")

    if isinstance(params, Sequence) and not isinstance(params, str):
        if len(params) != count:
            raise InvalidArgumentError(f"sampling_params has {len(params)} entries for {count} prompts")
        return [one(given) for given in params]
    return [one(params)] * count


def _message(message: Any) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise WrongTypeError(f"a message is a {type(message).__name__}; it must be a dict with role and content")
    for key, value in message.items():
        if key not in ("role", "content") and value is not None:
            raise UnsupportedError(f"a message has {key}, which is not supported; it may have role and content")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise WrongTypeError(f"the role of a message is {role!r}; it must be a string")
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = []
        for part in content:
            if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise UnsupportedError("a message has a part that is no text; only "
                                       '{"type": "text", "text": ...} is supported')
            parts.append(part["text"])
        content = "".join(parts)
    if not isinstance(content, str):
        raise WrongTypeError(f"the content of a message is {content!r}; it must be a string")
    return role, content
