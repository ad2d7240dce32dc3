"""The data that comes in: a loader in a worker thread whose batches become snapshots, and a timer that asks for what is new."""

from __future__ import annotations

import time
from collections.abc import Sequence

from PySide6.QtCore import QObject, QTimer, Signal

from ..models.loader import Loader
from ..models.progress import CancellableProgress
from ..models.store import RunStore
from .tasks import TaskRunner
from .workspace import Workspace

_FOLLOW_MS = 1_000
_LIVE_SECONDS = 60.0


class Feed(QObject):
    """Keeps the workspace's data up to date with what is on disk.

    Signals
    -------
    loaded()
        Everything that was opened has been read once.
    failed(message)
        Reading stopped; the sentence says why.
    live_changed(count)
        So many runs grew within the last minute.
    _batch(store)
        A worker thread made a new snapshot.
    """

    loaded = Signal()
    failed = Signal(str)
    live_changed = Signal(int)
    _batch = Signal(int, object)

    def __init__(self, workspace: Workspace, tasks: TaskRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = tasks
        self._loader: Loader | None = None
        self._opening = 0
        self._reading = False
        self._grew: dict[str, float] = {}
        self._live = 0
        self._timer = QTimer(self)
        self._timer.setInterval(_FOLLOW_MS)
        self._timer.timeout.connect(self._on_timer_timeout)
        self._batch.connect(self._on_self_batch)
        self.seconds = 0.0
        """How long the last whole reading took."""

    def open(self, roots: Sequence[str]) -> None:
        """Read everything below `roots`, in place of what was open."""
        self._opening += 1
        self._loader = Loader(roots, patterns=self._workspace.session.text_patterns)
        self._grew.clear()
        self._workspace.set_store(RunStore())
        self._read("Reading " + ", ".join(root.rstrip("/").rpartition("/")[2] for root in roots), first=True)

    def refresh(self) -> None:
        """Look once for what is new, whether following or not."""
        if self._loader is not None and not self._reading:
            self._read("Looking for what is new", first=False)

    def follow(self, on: bool) -> None:
        """Look every second for what is new, or stop doing so."""
        if on:
            self._timer.start()
        else:
            self._timer.stop()

    def stop(self) -> None:
        """Stop reading for good."""
        self._timer.stop()
        self._opening += 1
        self._tasks.cancel("feed")

    def _read(self, title: str, *, first: bool) -> None:
        loader, opening, store = self._loader, self._opening, self._workspace.now.all
        assert loader is not None
        started = time.monotonic()
        self._reading = True

        def work(progress: CancellableProgress) -> None:
            growing = store
            for events in loader.new_events(progress):
                growing = growing.adding(events)
                self._batch.emit(opening, growing)
            growing.rows("runs")  # made here, it is there when the GUI thread asks

        def done(_: object) -> None:
            self._reading = False
            if first:
                self.seconds = time.monotonic() - started
                self.loaded.emit()

        def failed(error: Exception) -> None:
            self._reading = False
            self.failed.emit(f"Reading stopped: {error}")

        self._tasks.start("feed", title, work, done, failed)

    def _on_self_batch(self, opening: int, store: RunStore) -> None:
        if opening != self._opening:
            return
        before = self._workspace.now.all.runs
        now = time.monotonic()
        for key, run in store.runs.items():
            if key in before and before[key].curves is not run.curves and before[key].curves:
                self._grew[key] = now
        self._workspace.set_store(store)
        self._count_live()

    def _on_timer_timeout(self) -> None:
        self._count_live()
        self.refresh()

    def _count_live(self) -> None:
        now = time.monotonic()
        live = sum(now - then < _LIVE_SECONDS for then in self._grew.values())
        if live != self._live:
            self._live = live
            self.live_changed.emit(live)
