"""The data that comes in: a loader in a worker thread whose batches become snapshots, and two timers that ask for what is new.

One has everything looked at, about every second; the other, several times a second, only what grew a moment ago.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from ..models.answering import PATIENCE
from ..models.early_reading import EarlyReading
from ..models.loader import Loader
from ..models.pace import SHORTEST, LivePace, rest
from ..models.progress import CancellableProgress
from ..models.store import RunStore
from ..models.tables import CurvePiece, Event
from .tasks import FEED, TAIL, TaskRunner
from .workspace import Workspace

_LIVE_SECONDS = 60.0

_WATCH_SECONDS = 1.0
_SILENT_SECONDS = 6.0
"""After so long without a sign of life, and without computing, a reading waits for a disk."""

_AT_ONCE = 0.005
"""Seconds that are not worth waiting for."""


@dataclass(eq=False)
class _Opening:
    """What was opened at once, and all that was read of it so far; only who holds the lock reads on.

    Who reads what grew a moment ago also holds `urgent`, from before it waits for the lock: a look at everything gives way.
    """

    loader: Loader
    begun: EarlyReading | None = None
    store: RunStore = field(default_factory=RunStore)
    lock: threading.Lock = field(default_factory=threading.Lock)
    urgent: threading.Lock = field(default_factory=threading.Lock)

    def give_way(self) -> None:
        """Lend the lock, which the caller holds, to who reads what grew a moment ago."""
        if self.urgent.locked():
            self.lock.release()
            try:
                with self.urgent:
                    pass
            finally:
                self.lock.acquire()


def _grown(events: list[Event]) -> frozenset[str]:
    """Give the runs that get points by some events."""
    return frozenset(event.run for event in events if isinstance(event, CurvePiece))


class Feed(QObject):
    """Keeps the workspace's data up to date with what is on disk.

    Signals
    -------
    loaded()
        Everything that was opened has been read once.
    failed(message)
        Reading stopped, or waits; the sentence says why.
    over(message)
        What was said with `failed` is no longer so.
    live_changed(count)
        So many runs grew within the last minute.
    _batch(opening, store, grown)
        A worker thread made a new snapshot of what was opened; in it the curves of some runs, by key, are new or longer.
    """

    loaded = Signal()
    failed = Signal(str)
    over = Signal(str)
    live_changed = Signal(int)
    _batch = Signal(object, object, object)

    def __init__(self, workspace: Workspace, tasks: TaskRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = tasks
        self._opening: _Opening | None = None
        self._reading = False
        self._is_paused = False
        self._grew: dict[str, float] = {}
        self._live = 0
        self._timer = QTimer(self)
        self._timer.setInterval(round(1000 * SHORTEST))
        self._timer.timeout.connect(self._on_timer_timeout)
        self._tail_timer = QTimer(self)
        self._tail_timer.setSingleShot(True)
        self._tail_timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._tail_timer.timeout.connect(self._on_tail_timer_timeout)
        self._pace = LivePace()
        self._is_tailing = False
        self._watch = QTimer(self)
        self._watch.setInterval(round(1000 * _WATCH_SECONDS))
        self._watch.timeout.connect(self._on_watch_timeout)
        self._begun = 0
        self._sign: tuple[object, ...] = ()
        self._lively = (0.0, 0.0)
        self._silent: frozenset[str] = frozenset()
        self._said = {"reading": "", "paths": ""}
        self._batch.connect(self._on_self_batch)
        tasks.let_go.connect(self._on_tasks_let_go)
        self.seconds = 0.0
        """How long the last whole reading took."""

    def open(self, roots: Sequence[str], begun: EarlyReading | None = None) -> None:
        """Read everything below `roots`, in place of what was open.

        Parameters
        ----------
        roots : sequence of str
            Folders, files, patterns or addresses.
        begun : EarlyReading, optional
            Who reads them already.
        """
        patterns = self._workspace.session.text_patterns
        if begun is not None and begun.paths == tuple(roots) and not patterns:
            self._opening = _Opening(begun.loader, begun)
        else:
            self._opening = _Opening(Loader(roots, patterns=patterns, patience=PATIENCE))
        self._grew.clear()
        self._silent = frozenset()
        self._workspace.set_store(RunStore())
        self._read("Reading " + ", ".join(root.rstrip("/").rpartition("/")[2] for root in roots), first=True)

    def files(self) -> tuple[tuple[str, int, float], ...]:
        """Give every file read so far: path, bytes, time of its last change; waits a moment for a reading to end."""
        opening = self._opening
        if opening is None:
            return ()
        # A reading that waits for a disk which does not answer changes nothing while it waits.
        has_ended = opening.lock.acquire(timeout=_WATCH_SECONDS)
        try:
            return tuple(opening.loader.files())
        finally:
            if has_ended:
                opening.lock.release()

    def refresh(self) -> None:
        """Look once for what is new, whether following or not."""
        if self._opening is not None and not self._reading:
            self._read("Looking for what is new", first=False)

    def follow(self, on: bool) -> None:
        """Look again and again for what is new, every second where looking costs little, or stop doing so."""
        if on:
            self._timer.start()
        else:
            self._timer.stop()
            self._tail_timer.stop()

    def stop(self) -> None:
        """Stop reading for good."""
        self._timer.stop()
        self._tail_timer.stop()
        self._watch.stop()
        self._opening = None
        self._tasks.cancel(FEED)
        self._tasks.cancel(TAIL)

    def _read(self, title: str, *, first: bool, gives_way: bool = False) -> None:
        opening = self._opening
        assert opening is not None
        started = opening.begun.started if opening.begun is not None else time.monotonic()
        self._reading, self._is_paused = True, False
        self._begun += 1
        self._watch.start()

        def work(progress: CancellableProgress) -> float:
            with opening.lock:  # a reading that was cancelled may still be on its way out
                before = opening.store
                begun, begun_here = time.perf_counter(), time.thread_time()
                begun_early, opening.begun = opening.begun, None
                if begun_early is not None:
                    coming = begun_early.batches(progress)
                else:
                    coming = opening.loader.new_events(progress, opening.give_way if gives_way else None)
                for events in coming:
                    opening.store = opening.store.adding(events)
                    self._batch.emit(opening, opening.store, _grown(events))
                found, store = opening.store is not before, opening.store
                # What grows is looked at in between; then this look is only for what else there may be.
                goes_on = found and not opening.loader.has_recent
                seconds = rest(time.thread_time() - begun_here, time.perf_counter() - begun, found=goes_on)
            if found and not first:  # at first, curves are waited for more
                store.rows("runs")  # made here, it is there when the GUI thread asks
            return seconds

        def done(seconds: float) -> None:
            self._reading = False
            self._timer.setInterval(round(1000 * (SHORTEST if first else seconds)))
            if first:
                self.seconds = time.monotonic() - started
                self.loaded.emit()
            self._say_silent(opening)
            if not self._is_tailing:
                self._tail()

        def failed(error: Exception) -> None:
            self._reading = False
            self.failed.emit(f"Reading stopped: {error}")

        self._tasks.start(FEED, title, work, done, failed)

    def _tail(self) -> None:
        """Have what grew a moment ago looked at in a while."""
        self._is_tailing = False
        if self._timer.isActive() and not self._tail_timer.isActive():
            wait = self._pace.rest(time.process_time(), time.monotonic())
            self._tail_timer.start(max(0, round(1000 * wait)))

    def _read_tail(self) -> None:
        opening = self._opening
        if opening is None or not opening.loader.has_recent:
            return
        self._pace.begin(time.process_time(), time.monotonic())
        self._is_tailing = True
        self._begun += 1
        self._watch.start()

        def work(progress: CancellableProgress) -> None:
            with opening.urgent, opening.lock:
                events = opening.loader.latest_events(progress)
                if events:
                    opening.store = opening.store.adding(events)
                    self._batch.emit(opening, opening.store, _grown(events))

        self._tasks.start(TAIL, "Following what grows", work, lambda _: self._tail(), self._on_tail_failed)

    def _say_silent(self, opening: _Opening) -> None:
        """Say once which folders do not answer, and look at them again."""
        silent = opening.loader.silent
        if silent - self._silent:
            names = ", ".join(sorted(os.path.basename(path.rstrip("/\\")) for path in silent))
            self._say("paths", f"{names} does not answer. It is read as soon as it does; all else goes on.")
        elif not silent:
            self._take_back("paths")
        self._silent = silent
        if silent and not self._timer.isActive():
            QTimer.singleShot(round(1000 * SHORTEST), self, self.refresh)

    def _on_watch_timeout(self) -> None:
        """Say that a reading waits for a disk: nothing is read, and nothing computed either."""
        state = next((state for state in self._tasks.running if state.slot in (FEED, TAIL)), None)
        if state is None:
            self._watch.stop()
            self._take_back("reading")
            return
        sign = (self._begun, state.slot, state.done, state.what)
        now, computed = time.monotonic(), time.process_time()
        if sign != self._sign[:4]:
            self._sign, self._lively = sign, (now, computed)
            self._take_back("reading")
        elif computed - self._lively[1] > 0.2 * (now - self._lively[0]):
            self._lively = (now, computed)
        elif now - self._lively[0] > _SILENT_SECONDS and len(self._sign) == 4:
            self._sign = (*sign, "said")
            self._say("reading", f"{state.title} waits for a disk that does not answer. What was read is shown.")

    def _say(self, about: str, sentence: str) -> None:
        """Say what keeps reading from going on, until `_take_back`."""
        self._said[about] = sentence
        self.failed.emit(sentence)

    def _take_back(self, about: str) -> None:
        said, self._said[about] = self._said[about], ""
        if said:
            self.over.emit(said)

    def _on_tail_failed(self, error: Exception) -> None:
        self._is_tailing = False
        self.failed.emit(f"Reading stopped: {error}")

    def _on_tail_timer_timeout(self) -> None:
        # What was drawn since the last look may have cost more than could be known then.
        wait = self._pace.rest(time.process_time(), time.monotonic())
        if wait > _AT_ONCE:
            self._tail_timer.start(round(1000 * wait))
        elif not self._is_paused:
            self._read_tail()

    def _on_tasks_let_go(self, slot: str) -> None:
        if slot == TAIL:
            self._is_tailing = False
        if slot == FEED and self._opening is not None:
            self._reading, self._is_paused = False, True
            self.failed.emit("Reading was stopped; F5 reads on.")

    def _on_self_batch(self, opening: _Opening, store: RunStore, grown: frozenset[str]) -> None:
        if opening is not self._opening:
            return
        before = self._workspace.now.all.runs
        now = time.monotonic()
        for key in grown:
            if key in before and before[key].curves:
                self._grew[key] = now
        self._workspace.set_store(store)
        self._count_live()

    def _on_timer_timeout(self) -> None:
        self._count_live()
        if not self._is_paused and self._opening is not None and not self._reading:
            self._read("Looking for what is new", first=False, gives_way=True)

    def _count_live(self) -> None:
        now = time.monotonic()
        live = sum(now - then < _LIVE_SECONDS for then in self._grew.values())
        if live != self._live:
            self._live = live
            self.live_changed.emit(live)
