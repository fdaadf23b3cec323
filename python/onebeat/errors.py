# SPDX-License-Identifier: Apache-2.0
"""What Onebeat raises. Every exception is an :class:`OnebeatError` and also of the built-in type that fits."""

__all__ = [
    "OnebeatError",
    "InvalidArgumentError",
    "WrongTypeError",
    "OutOfRangeError",
    "NotFoundError",
    "UnsupportedError",
    "ResourceExhaustedError",
    "PlanMismatchError",
    "DataLossError",
    "UnavailableError",
    "DeviceLostError",
    "CancelledError",
    "InternalError",
]


class OnebeatError(Exception):
    """Base of all. The message names the argument or value, its limit and the remedy."""


class InvalidArgumentError(OnebeatError, ValueError):
    """The caller passed something that can never work."""


class WrongTypeError(OnebeatError, TypeError):
    """An argument is of a type, a data type or on a device that the call does not take."""


class OutOfRangeError(OnebeatError, ValueError, IndexError):
    """A length, index or count is beyond a stated limit."""


class NotFoundError(OnebeatError, FileNotFoundError):
    """A file, a model or an entry does not exist."""


class UnsupportedError(OnebeatError, NotImplementedError):
    """Valid, but nothing here implements it."""


class ResourceExhaustedError(OnebeatError, MemoryError):
    """Memory, pages or queue places ran out; trying later may work."""


class PlanMismatchError(OnebeatError, ValueError):
    """A plan was made for another geometry, or for inputs that have moved on."""


class DataLossError(OnebeatError, ValueError):
    """A file is truncated, damaged or hostile."""


class UnavailableError(OnebeatError, RuntimeError):
    """A device, a network or a permission is missing."""


class DeviceLostError(OnebeatError, RuntimeError):
    """The device failed for good; nothing more can run on it."""


class CancelledError(OnebeatError, RuntimeError):
    """The caller or the user asked to stop."""


class InternalError(OnebeatError, RuntimeError):
    """A fault of Onebeat."""


#: The exception of each status code of the C++ side.
OF_CODE = {
    "invalid_argument": InvalidArgumentError,
    "out_of_range": OutOfRangeError,
    "not_found": NotFoundError,
    "unsupported": UnsupportedError,
    "resource_exhausted": ResourceExhaustedError,
    "plan_mismatch": PlanMismatchError,
    "data_loss": DataLossError,
    "unavailable": UnavailableError,
    "device_lost": DeviceLostError,
    "cancelled": CancelledError,
    "internal": InternalError,
}
