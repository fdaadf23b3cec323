# SPDX-License-Identifier: Apache-2.0
"""StepPlanner: makes the plans of decode steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np

from . import _onebeat
from ._onebeat import AttentionGeometry, DecodePlan
from .arrays import Array


class StepPlanner:
    """Makes the plans of decode steps for one or several attention geometries on one device.

    :param geometries: one geometry, or one for each class of layers (a model that mixes windows and full attention
        has two); all with the same ``page_tokens``.
    :param max_requests: largest B; what exceeds it is refused.
    :param max_context_tokens: longest request.
    :param device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``: where plans are made and used.
    :raises ValueError: naming the geometry's field or the limit.
    :raises RuntimeError: if the device is not there, or this build has no CUDA code.

    >>> geometry = AttentionGeometry(num_heads=32, num_kv_heads=8, head_dim=128, workers=132)
    >>> planner = StepPlanner(geometry, max_requests=256, max_context_tokens=131072)
    >>> plan = planner.plan([131072] + [512] * 31)
    >>> plan.check()
    >>> plan.num_requests
    32
    """

    def __init__(
        self,
        geometries: Union[AttentionGeometry, Sequence[AttentionGeometry]],
        *,
        max_requests: int,
        max_context_tokens: int,
        device: Any = "cpu",
    ) -> None:
        self._single = isinstance(geometries, AttentionGeometry)
        self.geometries: tuple[AttentionGeometry, ...] = (
            (geometries,) if isinstance(geometries, AttentionGeometry) else tuple(geometries)
        )
        self.max_requests = max_requests
        self.max_context_tokens = max_context_tokens
        self._maker = _onebeat.StepMaker(list(self.geometries), max_requests, max_context_tokens, device)

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda:N"``."""
        return self._maker.device

    def plan(
        self,
        lens: Union[Array, Sequence[int]],
        query_tokens: Union[Array, Sequence[int], None] = None,
        *,
        out: Union[DecodePlan, Sequence[DecodePlan], None] = None,
        stream: Any = None,
    ) -> Union[DecodePlan, tuple[DecodePlan, ...]]:
        """The plan of one step; a tuple of them if the planner was given a list of geometries.

        :param lens: int32 or int64 [B] on the planner's device: KV tokens of each request, the step's own included.
            A list of numbers on the CPU.
        :param query_tokens: int32 or int64 [B]: query tokens of each request, 0 for one that takes no part;
            ``None``: each has the geometry's ``max_query_tokens`` (the least of several geometries).
        :param out: plans that an earlier call returned, to be written again: same addresses, no allocation, as the
            capture of a CUDA graph needs.
        :param stream: CUDA stream; ``None``: the current one of the framework of ``lens``.
        :raises ValueError: naming the request, its value and the limit. On a GPU lengths cannot be seen by the host:
            they are forced into their range there, and a later call raises.
        """
        plans = self._maker.new_plans() if out is None else [out] if isinstance(out, DecodePlan) else list(out)
        self._maker.prepare(_numbers(lens), _numbers(query_tokens), plans, stream)
        return plans[0] if self._single else tuple(plans)


def _numbers(values: Any) -> Any:
    return np.asarray(values, dtype=np.int64) if isinstance(values, (list, tuple, range)) else values
