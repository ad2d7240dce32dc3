"""Reading that begins before there is a window: a thread reads what was opened while Qt is still being imported.

What it found waits until someone asks, and is handed on in the batches and the order in which it was read.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .answering import PATIENCE
from .errors import Cancelled
from .progress import CancellableProgress, Progress

if TYPE_CHECKING:
    from .loader import Loader
    from .tables import Event


class EarlyReading:
    """Reads everything below some paths in a thread of its own.

    Parameters
    ----------
    paths : sequence of str
        Folders, files, glob patterns or addresses.
    patience : float, optional
        Seconds after which a path that does not answer is passed over; see `Loader`.

    Attributes
    ----------
    started : float
        When it began, on the clock of `time.monotonic`.
    """

    def __init__(self, paths: Sequence[str], patience: float | None = PATIENCE) -> None:
        self.paths = tuple(paths)
        self.started = time.monotonic()
        self._patience = patience
        self._told = (0, 0, "")
        self._progress = CancellableProgress(self._tell)
        self._batches: queue.SimpleQueue[list[Event] | BaseException | None] = queue.SimpleQueue()
        self._is_ready = threading.Event()
        self._loader: Loader | None = None
        # A window that is closed at once does not wait for what nobody will look at.
        self._thread = threading.Thread(target=self._read, name="early-reader", daemon=True)
        self._thread.start()

    @property
    def loader(self) -> Loader:
        """Who reads, and reads on once all `batches` were taken."""
        self._is_ready.wait()
        if self._loader is None:
            raise self._failure()
        return self._loader

    def batches(self, progress: Progress) -> Iterator[list[Event]]:
        """Give what was read, and what is being read as it comes.

        Raises
        ------
        Cancelled
            When `progress` says so, after all that was read so far was given; the loader gives the rest when asked again.
        """
        wanted = True
        while True:
            try:
                found = self._batches.get(timeout=0.05)
            except queue.Empty:
                found = []
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            if found:
                yield found
            if wanted:
                try:
                    progress(*self._told)
                except Cancelled:
                    wanted = False
                    self._progress.cancel()

    def _read(self) -> None:
        try:
            from .loader import Loader

            self._loader = Loader(self.paths, patience=self._patience)
            self._is_ready.set()
            for events in self._loader.new_events(self._progress):
                self._batches.put(events)
        except BaseException as error:  # raised again where it can be said
            self._batches.put(error)
        else:
            self._batches.put(None)
        finally:
            self._is_ready.set()

    def _failure(self) -> BaseException:
        failure = self._batches.get()
        assert isinstance(failure, BaseException)
        return failure

    def _tell(self, done: int, total: int, what: str) -> None:
        self._told = (done, total, what)
