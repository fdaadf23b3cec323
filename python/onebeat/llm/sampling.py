# SPDX-License-Identifier: Apache-2.0
"""How replies are drawn, with the argument names of vLLM and SGLang."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from onebeat.errors import InvalidArgumentError, UnsupportedError, WrongTypeError

__all__ = ["SamplingParams"]

_MOST_TOKENS = 2**31 - 1

#: Other names of arguments, as some engines have them.
_ALIASES = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "sampling_seed": "seed",
}

#: Arguments of other engines that mean something which this one does not do, with the values that ask for nothing.
_NOT_HERE = {
    "bad_words": (None, []),
    "beam_width": (None, 1),
    "best_of": (None, 1),
    "custom_params": (None,),
    "early_stopping": (None, False),
    "ebnf": (None,),
    "extra_args": (None,),
    "guided_decoding": (None,),
    "include_stop_str_in_output": (False,),
    "json_schema": (None,),
    "length_penalty": (None, 1.0),
    "logits_processors": (None, []),
    "no_stop_trim": (False,),
    "prompt_logprobs": (None,),
    "regex": (None,),
    "spaces_between_special_tokens": (True,),
    "stop_regex": (None, []),
    "stream_interval": (None, 1),
    "structural_tag": (None,),
    "structured_outputs": (None,),
    "truncate_prompt_tokens": (None,),
    "use_beam_search": (False,),
}


def refuse_others(function: str, given: Mapping[str, Any], not_here: Mapping[str, tuple]) -> None:
    """Raises for arguments that `function` does not have: by name where another engine has them, unless their value
    asks for nothing."""
    for name, value in given.items():
        if name not in not_here:
            raise WrongTypeError(f"{function} has no argument {name}")
        if not any(value is neutral or (type(value) is type(neutral) and value == neutral)
                   for neutral in not_here[name]):
            neutral = " or ".join(repr(value) for value in not_here[name])
            raise UnsupportedError(f"{function}: {name}={value!r} is not supported; leave it out, or at {neutral}")


def resolve_aliases(function: str, given: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """`given` under the names that `function` has."""
    resolved: dict[str, Any] = {}
    for name, value in given.items():
        target = aliases.get(name, name)
        if target in resolved:
            raise WrongTypeError(f"{function} was given {target} twice, under the names {target} and "
                                 f"{next(alias for alias, meant in aliases.items() if meant == target)}")
        resolved[target] = value
    return resolved


def integer(name: str, value: Any, least: int = -(2**31), most: int = 2**31 - 1) -> int:
    """`value` as an integer of a range; bool is none."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise WrongTypeError(f"{name} is {value!r}; it must be an integer")
    number = value.__index__()
    if not least <= number <= most:
        raise InvalidArgumentError(f"{name} is {number}; it must be from {least} to {most}")
    return number


def number(name: str, value: Any) -> float:
    """`value` as a number; bool is none."""
    if isinstance(value, bool) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise WrongTypeError(f"{name} is {value!r}; it must be a number")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongTypeError(f"{name} is {value!r}; it must be True or False")
    return value


def _strings(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence) or not all(isinstance(part, str) for part in value):
        raise WrongTypeError(f"{name} is {value!r}; it must be a string or a list of strings")
    return list(value)


def _ids(name: str, value: Any) -> list[int]:
    if value is None:
        return []
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise WrongTypeError(f"{name} is {value!r}; it must be a list of token ids")
    return [integer(f"{name}[{place}]", part) for place, part in enumerate(value)]


class SamplingParams:
    """How the tokens of a reply are drawn and when it ends.

    All arguments are keywords. What another engine has and this one lacks raises :class:`UnsupportedError` by its
    name, unless its value asks for nothing; a name that nobody knows raises :class:`WrongTypeError`. Values are
    checked when a request is made with them (:class:`InvalidArgumentError`, :class:`OutOfRangeError`).

    Args:
        n: Replies to each prompt, which is computed once; at most the engine's ``max_num_seqs``.
        max_tokens: Most tokens of a reply (also ``max_new_tokens``). None: as many as the context has room for.
        min_tokens: Tokens before which nothing of ``stop_token_ids`` and of the model's own ends may come (also
            ``min_new_tokens``). Not together with ``stop``.
        temperature: 0 takes the likeliest token always; up to 1000.
        top_p: Keeps the likeliest tokens that reach this probability together; above 0, at most 1.
        top_k: Keeps the likeliest k tokens; 0 or -1: all.
        min_p: Keeps tokens of at least this share of the likeliest's probability; 0 up to, not including, 1.
        presence_penalty: Taken from the logits of tokens that the reply holds; -100 to 100.
        frequency_penalty: The same, once for each time; -100 to 100.
        repetition_penalty: Divides positive logits of tokens that prompt or reply hold, multiplies others; 0.01 to
            100.
        stop: A string or several; a reply ends where its text comes to hold one, which is not part of it.
        stop_token_ids: Ids that end a reply and are not part of it.
        ignore_eos: Goes on where the model would end.
        seed: The same seed gives the same reply (also ``sampling_seed``). None: another each time.
        logprobs: None: no log-probabilities. 0: of each token drawn. k: also of the k likeliest, up to 128. They are
            the model's own, before temperature and penalties.
        logit_bias: Added to the logits of ids, each from -100 to 100.
        allowed_token_ids: Only these ids may come.
        skip_special_tokens: Texts lack those of control tokens.
        detokenize: False: replies have ids and no text.
    """

    def __init__(
        self,
        *,
        n: int = 1,
        max_tokens: int | None = 64,
        min_tokens: int = 0,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] | None = None,
        ignore_eos: bool = False,
        seed: int | None = None,
        logprobs: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        allowed_token_ids: Sequence[int] | None = None,
        skip_special_tokens: bool = True,
        detokenize: bool = True,
        **others: Any,
    ):
        self.n = n
        self.max_tokens = max_tokens
        self.min_tokens = min_tokens
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k
        self.min_p = min_p
        self.presence_penalty = presence_penalty
        self.frequency_penalty = frequency_penalty
        self.repetition_penalty = repetition_penalty
        self.stop = stop
        self.stop_token_ids = stop_token_ids
        self.ignore_eos = ignore_eos
        self.seed = seed
        self.logprobs = logprobs
        self.logit_bias = logit_bias
        self.allowed_token_ids = allowed_token_ids
        self.skip_special_tokens = skip_special_tokens
        self.detokenize = detokenize
        for alias, name in _ALIASES.items():
            if alias in others:
                if getattr(self, name) != _DEFAULTS[name]:
                    raise WrongTypeError(f"SamplingParams was given both {name} and {alias}, which mean the same")
                setattr(self, name, others.pop(alias))
        refuse_others("SamplingParams", others, _NOT_HERE)
        self.as_request()  # Says at once what is of a wrong type.

    def as_request(self) -> dict[str, Any]:
        """The arguments of the engine's own request."""
        stops = _strings("stop", self.stop)
        least = integer("min_tokens", self.min_tokens, 0)
        if least > 0 and stops:
            raise UnsupportedError(f"min_tokens={least} together with stop={stops!r} is not supported; use "
                                   "stop_token_ids, or leave one of them out")
        if stops and not self.detokenize:
            raise InvalidArgumentError(f"stop={stops!r} needs texts; leave detokenize at True")
        top_k = integer("top_k", self.top_k)
        most = _MOST_TOKENS if self.max_tokens is None else integer("max_tokens", self.max_tokens, 0)
        allowed = _ids("allowed_token_ids", self.allowed_token_ids)
        if self.allowed_token_ids is not None and not allowed:
            raise InvalidArgumentError("allowed_token_ids is empty: no token may come; None allows all")
        if self.logit_bias is not None and not isinstance(self.logit_bias, Mapping):
            raise WrongTypeError(f"logit_bias is {self.logit_bias!r}; it must be a dict of numbers by token ids")
        biases = {} if self.logit_bias is None else self.logit_bias
        return {
            "completions": integer("n", self.n),
            "max_tokens": most,
            "min_tokens": least,
            "temperature": number("temperature", self.temperature),
            "top_p": number("top_p", self.top_p),
            "top_k": 0 if top_k == -1 else top_k,
            "min_p": number("min_p", self.min_p),
            "presence_penalty": number("presence_penalty", self.presence_penalty),
            "frequency_penalty": number("frequency_penalty", self.frequency_penalty),
            "repetition_penalty": number("repetition_penalty", self.repetition_penalty),
            "stop_strings": stops,
            "stop_tokens": _ids("stop_token_ids", self.stop_token_ids),
            "ignore_end": _flag("ignore_eos", self.ignore_eos),
            "seed": (random.SystemRandom().getrandbits(63) if self.seed is None
                     else integer("seed", self.seed, 0, 2**64 - 1)),
            "log_probs": -1 if self.logprobs is None else integer("logprobs", self.logprobs, 0),
            # Some JSON clients have ids as strings.
            "logit_bias": [(integer("a key of logit_bias", int(key) if isinstance(key, str) else key),
                            number(f"logit_bias[{key!r}]", bias)) for key, bias in biases.items()],
            "allowed": allowed,
            "text_shows_special": not _flag("skip_special_tokens", self.skip_special_tokens),
            "wants_text": _flag("detokenize", self.detokenize),
        }

    def __repr__(self) -> str:
        changed = [f"{name}={value!r}" for name, value in vars(self).items() if value != _DEFAULTS[name]]
        return f"SamplingParams({', '.join(changed)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SamplingParams) and vars(self) == vars(other)


_DEFAULTS: dict[str, Any] = dict(SamplingParams.__init__.__kwdefaults__)
