"""Whether folders answer at all: a network disk whose server has gone keeps whoever looks at it waiting for ever.

A call to such a disk cannot be taken back. So each path is looked at in a thread of its own, that is waited for only so long;
while it has not come back the path is silent, and nobody else needs to go there.
"""

from __future__ import annotations

import glob
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

PATIENCE = 2.0
"""Seconds after which a window goes on without a path; a disk that has to spin up first is read a moment later."""


class Answering:
    """Asks paths for a sign of life.

    Parameters
    ----------
    seconds : float
        How long an answer is waited for, for all paths together.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._asked: dict[str, threading.Thread] = {}

    def silent(self, paths: Iterable[str]) -> frozenset[str]:
        """Give those of some paths or patterns that do not answer; one that is missing, or refuses, does."""
        paths = tuple(dict.fromkeys(paths))
        deadline = time.monotonic() + self._seconds
        new = [path for path in paths if path not in self._asked]
        for path in new:
            # A thread that never comes back must not keep the program from ending.
            thread = threading.Thread(target=_look, args=(path,), name="answering", daemon=True)
            self._asked[path] = thread
            thread.start()
        for path in new:
            self._asked[path].join(max(0.0, deadline - time.monotonic()))
        # A path that was silent before has had its time.
        silent = frozenset(path for path in paths if self._asked[path].is_alive())
        self._asked = {path: thread for path, thread in self._asked.items() if thread.is_alive()}
        return silent


def _look(path: str) -> None:
    while glob.has_magic(path) and not os.path.lexists(path):
        path = os.path.dirname(path) or os.curdir
    with suppress(OSError, ValueError):
        if os.path.isdir(path):
            with os.scandir(path) as inside:
                next(inside, None)
        else:
            os.stat(path)
