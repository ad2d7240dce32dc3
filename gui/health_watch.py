"""What happened to the runs that are open: looked for by itself, off the main thread, kept in one place for who shows it.

A run is judged once, and again when its curves have changed, those judged longest ago first. The work comes in short portions
with rests between them: of the same length, so that figures that are waited for get their turn, and much longer ones while
runs only grow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from PySide6.QtCore import QObject, QTimer, Signal

from ..analysis.health import HealthMark, marks_of
from ..models.progress import CancellableProgress
from ..models.tables import Curve, Run
from .tasks import TaskRunner
from .workspace import Workspace

_SLOT = "health"
_PORTION_SECONDS = 0.1
"""Short enough for the status bar not to mention it."""

_SHORT_PORTION_SECONDS = 0.01
"""While runs only grow: a frame must not wait for it."""

_REST_WHILE_GROWING = 99.0
"""Seconds of rest for one of work while runs only grow: they may do so for days."""

_WAKE_MS = 30
_MOST_SENTENCES = 3
"""Sentences about events of one kind in a tooltip."""

WORDS: Mapping[str, tuple[str, str]] = {
    "divergence": ("divergence", "divergences"),
    "spike": ("spike", "spikes"),
    "restart": ("restart", "restarts"),
    "non-finite": ("gap of NaN or infinities", "gaps of NaN or infinities"),
    "plateau": ("plateau", "plateaus"),
}
"""What kinds of events are called, the gravest first."""

Judged = list[tuple[str, Mapping[str, Curve], tuple[HealthMark, ...]]]


class HealthWatch(QObject):
    """Keeps what happened to every open run.

    Signals
    -------
    changed()
        Something is known that was not before, or the watch was switched.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace, tasks: TaskRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = tasks
        self._known: dict[str, tuple[Mapping[str, Curve], tuple[HealthMark, ...]]] = {}
        # Many batches a second come in while files are read.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_timer_timeout)
        workspace.data_changed.connect(self._wake)
        workspace.changed.connect(self._on_workspace_changed)
        self._wake()

    @property
    def is_on(self) -> bool:
        """Whether runs are watched."""
        return self._workspace.session.health

    def marks(self, run: str) -> tuple[HealthMark, ...]:
        """Give what is known to have happened to a run, in the order of its steps; nothing while switched off."""
        known = self._known.get(run) if self.is_on else None
        return known[1] if known is not None else ()

    def stop(self) -> None:
        """Stop looking for good."""
        self._timer.stop()
        self._tasks.cancel(_SLOT)

    def _wake(self, seconds: float = 0.0) -> None:
        if self.is_on and not self._timer.isActive():
            self._timer.start(max(_WAKE_MS, int(1000 * seconds)))

    def _due(self) -> list[Run]:
        """Give the runs whose curves nobody has judged; those that only grew come last, by when they were judged."""
        runs = self._workspace.now.all.runs
        for key in self._known.keys() - runs.keys():
            del self._known[key]
        # Often a run is known before its curves are.
        new = [run for key, run in runs.items() if key not in self._known and run.curves]
        return new + [runs[key] for key, (curves, _) in self._known.items() if curves is not runs[key].curves]

    def _on_timer_timeout(self) -> None:
        if any(state.slot == _SLOT for state in self._tasks.running):
            return  # its answer wakes us again
        due = self._due()
        if not due:
            return

        only_grew = all(run.key in self._known for run in due)
        portion = _SHORT_PORTION_SECONDS if only_grew else _PORTION_SECONDS

        def work(progress: CancellableProgress) -> tuple[Judged, float, bool]:
            started = time.monotonic()
            judged: Judged = []
            for run in due:
                judged.append((run.key, run.curves, marks_of(run)))
                progress(len(judged), len(due))
                if time.monotonic() - started > portion:
                    break
            return judged, time.monotonic() - started, only_grew

        self._tasks.start(_SLOT, "Looking for spikes and restarts", work, self._on_task_done, self._on_task_failed)

    def _on_task_done(self, answer: tuple[Judged, float, bool]) -> None:
        judged, seconds, grew = answer
        differs = False
        for key, curves, marks in judged:
            differs = differs or marks != self.marks(key)
            self._known.pop(key, None)  # the last judged is the last in order
            self._known[key] = (curves, marks)
        if differs:
            self.changed.emit()
        self._wake(seconds * (_REST_WHILE_GROWING if grew else 1.0))

    def _on_task_failed(self, error: Exception) -> None:
        raise error

    def _on_workspace_changed(self, fields: frozenset[str], _origin: object) -> None:
        if "health" in fields:
            self._wake()
            self.changed.emit()


def kinds(marks: tuple[HealthMark, ...]) -> list[str]:
    """Give the kinds of events there are, the gravest first."""
    there = {mark.kind for mark in marks}
    return [kind for kind in WORDS if kind in there]


def sentences(marks: tuple[HealthMark, ...]) -> list[str]:
    """Give what a tooltip says of events: the first few of each kind, and how many more there are."""
    said = []
    for kind in kinds(marks):
        alike = [mark for mark in marks if mark.kind == kind]
        said += [mark.what for mark in alike[:_MOST_SENTENCES]]
        more = len(alike) - _MOST_SENTENCES
        if more > 0:
            said.append(f"… and {more} more {WORDS[kind][more > 1]}.")
    return said
