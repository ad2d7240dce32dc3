"""What was computed of a store, kept while the store is, so that a moved slider computes the last step only.

An analysis cuts its answer in two: what is dear and does not depend on, say, the coverage of intervals is `made` under a key
without that option; the rest is cheap. A store is frozen, so what was made of it never grows stale.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from ..models.store import RunStore

Made = TypeVar("Made")


class Remembered(Generic[Made]):
    """Values made of stores, the latest few of each store.

    Parameters
    ----------
    most : int
        Values kept a store: as many as panes may ask at once, rather than as many as were ever asked for.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._made: WeakKeyDictionary[RunStore, dict[Hashable, Made]] = WeakKeyDictionary()
        self._lock = Lock()

    def of(self, store: RunStore, key: Hashable, make: Callable[[], Made]) -> Made:
        """Give what was made of a store under a key; `make` is called where it is not there.

        Two threads that ask for the same at once may both make it; nobody waits.
        """
        with self._lock:
            made = self._made.setdefault(store, {})
            if key in made:
                made[key] = made.pop(key)  # the latest stand last
                return made[key]
        value = make()
        with self._lock:
            made[key] = value
            while len(made) > self._most:
                made.pop(next(iter(made)))
        return value
