# SPDX-License-Identifier: Apache-2.0
"""Arrays of the caller's framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import WrongTypeError

#: An array of any framework with DLPack: torch, CuPy, JAX, NumPy. NumPy holds bf16 as ``ml_dtypes.bfloat16`` or as
#: ``uint16``, the bits.
Array = Any


def framework_of(array: Any) -> str:
    """``"torch"``, ``"numpy"``, ``"cupy"``, ...: where the type of the array is from; of subclasses, the base's."""
    for base in type(array).__mro__:
        name = base.__module__.partition(".")[0]
        if name in ("torch", "numpy", "cupy", "jax", "jaxlib"):
            return name
    return type(array).__module__.partition(".")[0]


def empty(shape: Sequence[int], like: Any, dtype: str = "", argument: str = "out") -> Any:
    """An uninitialised array on the device of ``like``; ``dtype`` is ``"float32"``, ``"int32"`` or that of ``like``."""
    framework = framework_of(like)
    if framework == "torch":
        if not dtype:
            return like.new_empty(shape)
        import torch

        return like.new_empty(shape, dtype=getattr(torch, dtype))
    if framework == "numpy":
        return np.empty(shape, dtype or like.dtype)
    if framework == "cupy":
        import cupy

        return cupy.empty(shape, dtype or like.dtype)
    raise WrongTypeError(
        f"{argument} is None, and arrays of {framework or type(like).__name__} cannot be written; "
        "give an array of torch, CuPy or NumPy"
    )
