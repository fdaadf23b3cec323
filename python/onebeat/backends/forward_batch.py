# SPDX-License-Identifier: Apache-2.0
"""What a backend reads of a batch. Engines with objects of these names pass their own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["ForwardBatch", "ForwardMode"]


class ForwardMode(Enum):
    EXTEND = "extend"  #: Prompts or parts of them, whatever came before.
    DECODE = "decode"  #: One token for each request.
    IDLE = "idle"  #: No request: another rank has work.
    TARGET_VERIFY = "target_verify"  #: As many drafted tokens for each request.

    def is_decode_or_idle(self) -> bool:
        return self in (ForwardMode.DECODE, ForwardMode.IDLE)

    def is_target_verify(self) -> bool:
        return self is ForwardMode.TARGET_VERIFY


@dataclass
class ForwardBatch:
    """One forward pass.

    Lengths and indices are integer arrays [B] on the backend's device; ``out_cache_loc`` [tokens] has the slot of
    each new token in the KV pool.
    """

    forward_mode: Any
    batch_size: int
    req_pool_indices: Any
    #: Tokens of each request in the cache, its new ones included; without the drafted ones in TARGET_VERIFY.
    seq_lens: Any
    out_cache_loc: Any
    extend_seq_lens: Any = None  #: New tokens of each request; EXTEND only.
    seq_lens_cpu: Any = None  #: The same as seq_lens in host memory, where the engine has it.
    extend_seq_lens_cpu: Any = None
    encoder_lens: Any = None
    spec_info: Any = None
