"""Work off the main thread: one slot per asker, the newest request wins, a late answer is dropped.

The cycle of a request:

1. `TaskRunner.start` cancels what the slot still runs, takes the next generation number and queues the work;
2. a worker thread runs it with a progress that raises `Cancelled` once it is no longer wanted;
3. the worker posts what happened, with its generation, to the GUI thread (a queued signal);
4. there it is compared with the slot's newest generation: an older one is dropped, the newest is given to the asker.

Askers draw what they are given. Of several answers that come together each gets a turn of the event loop of its own, so that
the window hears the user in between.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from ..models.engine import LOCAL, Engine
from ..models.errors import Cancelled
from ..models.progress import CancellableProgress

_log = logging.getLogger(__name__)

FEED = "feed"
"""The slot in which files are read."""

TAIL = "tail"
"""The slot in which what grew a moment ago is read on."""

_READING = frozenset({FEED, TAIL})
_MOST_READERS = 16
"""Threads for those slots, so that disks that do not answer keep no thread from computing."""

_END_SECONDS = 4.0
"""How long the end of what runs is waited for once it is no longer wanted: a disk that does not answer never lets go."""

_PROGRESS_SECONDS = 0.05

_HELD_SECONDS = 0.001
"""Seconds for which a thread that computes keeps the interpreter from another one (Python's own: 0.005). Painting lets go of it
with many calls into Qt, and would wait so long each time: five milliseconds are a frame after a few of them.
"""

Work = Callable[[CancellableProgress], Any]


@dataclass(frozen=True, slots=True)
class TaskState:
    """How far the newest request of a slot is.

    Attributes
    ----------
    slot : str
        Who asked.
    title : str
        What is shown to the user.
    done, total : int
        Steps; total 0 means unknown.
    """

    slot: str
    title: str
    done: int = 0
    total: int = 0
    what: str = ""


@dataclass(slots=True)
class _Request:
    generation: int
    state: TaskState
    progress: CancellableProgress
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]


class TaskRunner(QObject):
    """Runs functions in worker threads and hands their answers to the GUI thread.

    Signals
    -------
    changed()
        A task was started, went on or ended; `running` tells which there are.
    engine_changed()
        Heavy work runs elsewhere from now on.
    let_go(slot)
        A running task was cancelled: its asker gets neither an answer nor an error.
    """

    changed = Signal()
    engine_changed = Signal()
    let_go = Signal(str)
    _posted = Signal(str, int, str, object)

    def __init__(self, parent: QObject | None = None, *, workers: int = max(2, (os.cpu_count() or 2) - 1)) -> None:
        super().__init__(parent)
        sys.setswitchinterval(_HELD_SECONDS)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="task")
        self._readers = ThreadPoolExecutor(_MOST_READERS, thread_name_prefix="task-reader")
        self._reading: set[Future[None]] = set()
        self._requests: dict[str, _Request] = {}
        self._generation = 0
        self._stopped = False
        self._engine: Engine = LOCAL
        self._answers: deque[tuple[str, int, str, Any]] = deque()
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._on_turn_timeout)
        self._posted.connect(self._on_posted, Qt.ConnectionType.QueuedConnection)

    @property
    def engine(self) -> Engine:
        """Where heavy work of the tasks runs."""
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = engine
        self.engine_changed.emit()

    @property
    def running(self) -> tuple[TaskState, ...]:
        """Tasks that are wanted and not done."""
        return tuple(request.state for request in self._requests.values())

    def start(
        self,
        slot: str,
        title: str,
        work: Work,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run ``work(progress)`` in a worker thread; what the slot still runs is no longer wanted.

        Parameters
        ----------
        slot : str
            Who asks.
        title : str
            What is shown to the user.
        work : callable
            Called in a worker thread; must touch no widget.
        done, failed : callable
            Called in the GUI thread with the value or the error; neither is called after a cancel.
        """
        if self._stopped:
            return  # a timer went off while the window was closing
        if slot in self._requests:
            self._requests[slot].progress.cancel()
        self._generation += 1
        generation = self._generation

        said = 0.0

        def report(step: int, total: int, what: str) -> None:
            nonlocal said
            now = time.monotonic()
            if now - said >= _PROGRESS_SECONDS:  # more often than the eye can see would only keep the GUI thread busy
                said = now
                self._posted.emit(slot, generation, "progress", (step, total, what))

        progress = CancellableProgress(report)
        self._requests[slot] = _Request(generation, TaskState(slot, title), progress, done, failed)
        if slot in _READING:
            self._reading = {future for future in self._reading if not future.done()}
            self._reading.add(self._readers.submit(self._run, slot, generation, work, progress))
        else:
            self._pool.submit(self._run, slot, generation, work, progress)
        self.changed.emit()

    def cancel(self, slot: str) -> None:
        """Let go of what a slot runs, if anything."""
        request = self._requests.pop(slot, None)
        if request is not None:
            request.progress.cancel()
            self.let_go.emit(slot)
            self.changed.emit()

    def stop(self) -> bool:
        """Cancel everything and wait for the worker threads to end; what is started after that is not done.

        Returns
        -------
        bool
            Whether all have ended: what reads from a disk that does not answer is not waited for.
        """
        self._stopped = True
        for request in self._requests.values():
            request.progress.cancel()
        self._requests.clear()
        self.changed.emit()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)
        has_ended = not wait(self._reading, _END_SECONDS).not_done
        if has_ended:
            self._readers.shutdown(wait=True)
        return has_ended

    def _run(self, slot: str, generation: int, work: Work, progress: CancellableProgress) -> None:
        try:
            progress(0, 0)
            value = work(progress)
        except Cancelled:
            return
        except Exception as error:  # whatever it is, the asker shows it in place of its plot
            _log.debug("Task %s failed", slot, exc_info=True)
            self._post(slot, generation, "failed", error)
        else:
            self._post(slot, generation, "done", value)

    def _post(self, slot: str, generation: int, kind: str, value: object) -> None:
        try:
            self._posted.emit(slot, generation, kind, value)
        except RuntimeError:  # the window was closed while the work ran
            _log.debug("The answer of %s came after the end", slot)

    def _on_posted(self, slot: str, generation: int, kind: str, value: Any) -> None:
        if kind == "progress":
            request = self._wanted(slot, generation)
            if request is not None:
                step, total, what = value
                request.state = TaskState(slot, request.state.title, step, total, what)
                self.changed.emit()
        elif self._turn.isActive():
            self._answers.append((slot, generation, kind, value))
        else:
            self._give(slot, generation, kind, value)

    def _on_turn_timeout(self) -> None:
        if self._answers:
            self._give(*self._answers.popleft())

    def _give(self, slot: str, generation: int, kind: str, value: Any) -> None:
        """Give an answer to its asker, or drop it where it comes too late; the next one waits for the next turn."""
        self._turn.start(0)
        request = self._wanted(slot, generation)
        if request is not None:
            del self._requests[slot]
            (request.done if kind == "done" else request.failed)(value)
            self.changed.emit()

    def _wanted(self, slot: str, generation: int) -> _Request | None:
        request = self._requests.get(slot)
        return request if request is not None and request.generation == generation else None
