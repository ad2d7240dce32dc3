"""How long work tells how far it is, and learns that it should stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from .errors import Cancelled


class Progress(Protocol):
    """What long work calls now and then.

    Raises
    ------
    Cancelled
        When the user has asked for the work to stop: let it pass through.
    """

    def __call__(self, done: int, total: int, what: str = "", /) -> None:
        """Say that `done` of `total` is done, and what comes now."""
        ...


def quiet(done: int, total: int, what: str = "", /) -> None:
    """Take progress and do nothing with it."""


class CancellableProgress:
    """A progress that another thread can cancel.

    Parameters
    ----------
    report : callable, optional
        Called with ``(done, total, what)`` for every step.
    """

    def __init__(self, report: Callable[[int, int, str], None] | None = None) -> None:
        self._report = report
        self._cancelled = threading.Event()

    def __call__(self, done: int, total: int, what: str = "", /) -> None:
        """Pass the progress on, or raise `Cancelled`."""
        if self._cancelled.is_set():
            raise Cancelled
        if self._report is not None:
            self._report(done, total, what)

    def cancel(self) -> None:
        """Make the next call raise `Cancelled`."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()
