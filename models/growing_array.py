"""Arrays that grow while older, shorter ones are still in use, and what is worked out on them going on where it stopped.

A longer array is written behind the shorter one in the same memory, which has room to spare. All arrays that came of one
another so are of one *lineage*: of any two, the shorter is the beginning of the longer one. What is a fold over an array (its
extremes, a moving average) can therefore be remembered by lineage, and the longer array costs only what is new of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np

S = TypeVar("S")

_FEW = 16
"""New values up to which Python's own numbers are quicker than arrays."""


class Lineage:
    """What arrays have in common of which each is the beginning of the next."""

    __slots__ = ("__weakref__", "known")

    def __init__(self) -> None:
        self.known: dict[Hashable, tuple[int, Any]] = {}
        """What was worked out last, by function and arguments: of how many values, and what."""


class _Buffer(np.ndarray):
    """Room for a growing array, which knows how much of it is used, and by whom."""

    used: int = 0
    lineage: Lineage


class _Prefix(np.ndarray):
    """The used part of a `_Buffer`; constructed on it directly, so that its base stays the buffer."""


def lineage(array: np.ndarray) -> Lineage | None:
    """Give the lineage of an array; None of one that never grew, and of parts and copies."""
    # The base of a part of such an array is that array, not its buffer.
    base = array.base
    return base.lineage if type(base) is _Buffer else None


def continues(longer: np.ndarray, shorter: np.ndarray) -> bool:
    """Whether an array is another one, or came of it by growing, as far as their lineage tells."""
    if longer is shorter:
        return True
    line = lineage(longer)
    return line is not None and line is lineage(shorter) and len(longer) >= len(shorter)


def grown(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Append `new` to `old`, shapes (n,) and (m,), in amortised constant time a point.

    The result is a view on a buffer with room to spare. Where `old` already is the whole used part of such a buffer, the
    new points are written behind it: older views never see them, so that an array someone still holds does not change.
    """
    total = len(old) + len(new)
    base = old.base if type(old) is _Prefix else None
    if type(base) is _Buffer and base.used == len(old) and total <= len(base) and base.dtype == new.dtype:
        return _longer(base, new, total)
    dtype = old.dtype if old.dtype == new.dtype else np.result_type(old.dtype, new.dtype)
    goes_on = isinstance(base, _Buffer) and base.used == len(old) and base.dtype == dtype
    if goes_on and isinstance(base, _Buffer) and total <= len(base):
        buffer = base
    else:
        buffer = np.empty(total + total // 2 + 64, dtype).view(_Buffer)
        buffer.lineage = base.lineage if goes_on and isinstance(base, _Buffer) else Lineage()
        buffer[: len(old)] = old
    buffer.used = len(old)
    return _longer(buffer, new, total)


def _longer(buffer: _Buffer, new: np.ndarray, total: int) -> _Prefix:
    """Write new values behind those that are used of a buffer, and give all."""
    buffer[buffer.used : total] = new
    buffer.used = total
    made = _Prefix(total, buffer.dtype, buffer)
    made.setflags(write=False)
    return made


_NOTHING: tuple[int, Any] = (0, None)
"""What is known before anything is."""


class Growing(Generic[S]):
    """A function of arrays that goes on where it stopped when an array has grown.

    Parameters
    ----------
    extend : callable
        ``extend(state, array, start, *key)`` gives the state of `array` from that of its first `start` values; the state
        is None where `start` is 0. A state is a value: it is never changed, as older arrays may be asked about again.
    """

    def __init__(self, extend: Callable[..., S]) -> None:
        self._extend = extend
        self.__doc__ = extend.__doc__

    def __call__(self, array: np.ndarray, *key: Hashable) -> S:
        """Give the state of an array; what is remembered of its lineage is not computed again."""
        base = array.base
        if type(base) is not _Buffer:  # as `lineage` tells; here it is asked thousands of times a second
            return self._extend(None, array, 0, *key)
        known, place, length = base.lineage.known, (self, key) if key else self, len(array)
        start, state = known.get(place, _NOTHING)
        if start == length and start:
            found: S = state
            return found
        if start > length:  # an older array is asked about again
            return self._extend(None, array, 0, *key)
        made = self._extend(state, array, start, *key)
        known[place] = (length, made)
        return made


@Growing
def as_floats(state: np.ndarray | None, array: np.ndarray, start: int) -> np.ndarray:
    """Give an array as float64; one that has this type is given itself."""
    return array if array.dtype == np.float64 else _written(state, array, array[start:])


@Growing
def shifted(state: np.ndarray | None, array: np.ndarray, start: int, by: float) -> np.ndarray:
    """Give an array less a number, as float64."""
    return _written(state, array, array[start:] - by)


@Growing
def divided(state: np.ndarray | None, array: np.ndarray, start: int, by: float) -> np.ndarray:
    """Give an array divided by a number, as float64; by 1, itself."""
    return array if by == 1 and array.dtype == np.float64 else _written(state, array, array[start:] / by)


def _written(state: np.ndarray | None, array: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Give what is known of an array with what is new of it behind; it grows as the array does."""
    if state is None and lineage(array) is None:
        return np.asarray(new, np.float64)
    return grown(np.empty(0) if state is None else state, np.asarray(new, np.float64))


@Growing
def span(state: tuple[float, float, int] | None, array: np.ndarray, start: int) -> tuple[float, float, int]:
    """Give the smallest and the largest finite value of an array, infinite the wrong way round if none is, and their number."""
    low, high, finite = state if state is not None else (math.inf, -math.inf, 0)
    if len(array) - start <= _FEW:
        for value in array[start:].tolist():
            if math.isfinite(value):
                finite += 1
                if not low <= value <= high:
                    low, high = min(low, value), max(high, value)
        return low, high, finite
    new = array[start:]
    if not np.isfinite(new).all():
        new = new[np.isfinite(new)]
    if len(new):
        low, high = min(low, float(new.min())), max(high, float(new.max()))
    return low, high, finite + len(new)


def finite_values(array: np.ndarray) -> int:
    """Give how many values of an array are finite."""
    return span(array)[2]


def extremes(array: np.ndarray) -> tuple[float, float]:
    """Give the smallest and the largest finite value of an array; infinite the wrong way round where none is finite."""
    return span(array)[:2]


@Growing
def falls(state: tuple[int, ...] | None, array: np.ndarray, start: int) -> tuple[int, ...]:
    """Give the indices of values that are smaller than the one before."""
    before = max(start - 1, 0)
    if len(array) - start <= _FEW:
        values = array[before:].tolist()
        places = (at for at in range(1, len(values)) if values[at] < values[at - 1])
        return (state or ()) + tuple(before + at for at in places)
    new = array[before:]
    found = np.flatnonzero(new[1:] < new[:-1])
    return (state or ()) + tuple((found + before + 1).tolist()) if len(found) else (state or ())


@Growing
def rises(state: bool | None, array: np.ndarray, start: int) -> bool:
    """Whether an array never falls and has no NaN."""
    if state is False:
        return False
    new = array[max(start - 1, 0) :]
    return bool((new[1:] >= new[:-1]).all()) and not (len(array) == 1 and bool(np.isnan(array[0])))
