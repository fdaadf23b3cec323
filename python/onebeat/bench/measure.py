# SPDX-License-Identifier: Apache-2.0
"""Candidates measured in turns, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Candidate:
    """One way to do the work."""

    name: str
    run: Callable[[], Any]
    result: Callable[[], Any] | None = None  #: What it computed, comparable with the first candidate's.
    tolerance: float = 0.0
    calls: int = 1  #: Of the work in one run.


def measure(arrays: Any, candidates: list[Candidate], repeats: int) -> list[dict[str, Any]]:
    """A row for each: microseconds of one call (median, least, most), of the host alone, and whether the result is
    that of the first candidate. One that fails has the error in place of times."""
    rows: list[dict[str, Any]] = []
    prepared = []
    wanted = None
    for candidate in candidates:
        row: dict[str, Any] = {"name": candidate.name}
        rows.append(row)
        try:
            timed = arrays.prepare(candidate.run)
            timed()
            if candidate.result is not None:
                found = [arrays.host(part) for part in candidate.result()]
                wanted = found if wanted is None else wanted
                row["largest_difference"] = _difference(found, wanted)
                row["agrees"] = row["largest_difference"] <= candidate.tolerance
        except Exception as error:  # A peer may refuse a shape in any way; the others are measured all the same.
            if candidate is candidates[0]:
                raise
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        prepared.append((candidate, row, timed, []))
    for _ in range(repeats):
        for _, _, timed, times in prepared:
            times.append(timed())
    for candidate, row, _, times in prepared:
        each = [value / candidate.calls for value in times]
        row.update(us=statistics.median(each), us_least=min(each), us_most=max(each))
        host = arrays.host_microseconds(candidate.run)
        if host is not None:
            row["host_us"] = host / candidate.calls
    return rows


def _difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Largest absolute difference; infinite for other shapes and for NaN."""
    if [part.shape for part in found] != [part.shape for part in wanted]:
        return float("inf")
    worst = 0.0
    for one, other in zip(found, wanted):
        if one.size:
            difference = float(np.max(np.abs(one.astype(np.float64) - other.astype(np.float64))))
            worst = max(worst, difference) if difference == difference else float("inf")
    return worst
