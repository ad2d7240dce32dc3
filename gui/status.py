"""The line at the bottom of the window: what is open, what could not be read, what is highlighted, what is being done."""

from __future__ import annotations

import time

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QLabel, QProgressBar, QStatusBar, QToolButton, QWidget

from ..models.selection import EVERYTHING
from .feed import Feed
from .tasks import TaskRunner
from .workspace import Workspace

_SHOWN_AFTER_MS = 400
_FACTS_MS = 500
"""Milliseconds between two counts of what is open while it grows."""

_LONGEST = 60


class StatusBar(QStatusBar):
    """Facts about the session and the tasks.

    Signals
    -------
    problems_wanted()
        The user asks what could not be read.
    """

    problems_wanted = Signal()

    def __init__(self, workspace: Workspace, tasks: TaskRunner, feed: Feed, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = tasks
        self._feed = feed
        self.setSizeGripEnabled(False)
        self._facts = self._label()
        self._facts.setContentsMargins(12, 0, 8, 0)
        self.problems = QToolButton(self)
        self.problems.setAutoRaise(True)
        self.problems.clicked.connect(self.problems_wanted)
        self.problems.hide()
        self._highlight = self._label()
        self._task = self._label()
        self._bar = QProgressBar(self)
        self._bar.setFixedWidth(120)
        self._bar.setTextVisible(False)
        self._cancel = QToolButton(self)
        self._cancel.setText("cancel")
        self._cancel.setAutoRaise(True)
        self._cancel.clicked.connect(self._on_cancel_clicked)
        self.addWidget(self._facts)
        self.addWidget(self.problems)
        for widget in (self._highlight, self._task, self._bar, self._cancel):
            self.addPermanentWidget(widget)
            widget.hide()
        self._counting = QTimer(self)
        self._counting.setSingleShot(True)
        self._counting.setInterval(_FACTS_MS)
        self._counting.timeout.connect(self._on_counting_timeout)
        self._is_stale = False
        self._since: dict[str, float] = {}
        # A task that ends at once would only flicker.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_SHOWN_AFTER_MS)
        self._later.timeout.connect(self._show_task)
        workspace.changed.connect(self._on_workspace_changed)
        workspace.data_changed.connect(self._on_workspace_data_changed)
        tasks.changed.connect(self._on_tasks_changed)
        feed.loaded.connect(self.show_facts)
        self.show_facts()
        self._show_highlight()

    def show_problem_count(self, count: int) -> None:
        """Say how many problems there are; nothing where there are none."""
        self.problems.setVisible(count > 0)
        self.problems.setText(f"⚠ {count} problem{'s' * (count != 1)}")

    def show_facts(self) -> None:
        """Say what is open."""
        now = self._workspace.now
        if not now.session.roots:
            self._facts.setText("")
            return
        runs, points = len(now.all.runs), now.all.points
        said = [f"{runs:,} run{'s' * (runs != 1)}"]
        if now.session.filter != EVERYTHING:
            said.append(f"{len(now.kept.kept_runs):,} pass the filter")
        said.append(f"{points / 1e6:.1f} M points" if points >= 1_000_000 else f"{points:,} points")
        rows = sum(len(rows) for rows in now.all.sources.values())
        if rows:
            said.append(f"{rows:,} table rows")
        if self._feed.seconds:
            said.append(f"read in {self._feed.seconds:.1f} s")
        self._facts.setText("  ·  ".join(said))

    def _on_workspace_data_changed(self) -> None:
        if self._counting.isActive():
            self._is_stale = True
        else:
            self.show_facts()
            self._counting.start()

    def _on_counting_timeout(self) -> None:
        if self._is_stale:
            self._is_stale = False
            self.show_facts()
            self._counting.start()

    def _label(self) -> QLabel:
        label = QLabel(self)
        label.setTextFormat(Qt.TextFormat.PlainText)
        label.setProperty("role", "muted")
        return label

    def _show_highlight(self) -> None:
        highlight = self._workspace.session.highlight
        self._highlight.setVisible(highlight is not None)
        text = str(highlight)
        self._highlight.setText("highlighted: " + (text if len(text) < _LONGEST else f"{text[: _LONGEST - 1]}…"))

    def _show_task(self) -> None:
        due = time.monotonic() - _SHOWN_AFTER_MS / 1000
        running = [state for state in self._tasks.running if self._since.get(state.slot, due) <= due]
        if not running:
            self._hide_task()
            return
        state = max(running, key=lambda state: state.total)
        more = f"  (+{len(running) - 1})" if len(running) > 1 else ""
        counted = f" {state.done:,} of {state.total:,}" if state.total else ""
        self._task.setText(f"{state.title}{counted}{more}")
        self._bar.setRange(0, state.total)
        self._bar.setValue(state.done)
        for widget in (self._task, self._bar, self._cancel):
            widget.show()

    def _on_workspace_changed(self, fields: frozenset[str], _origin: object) -> None:
        if fields & {"roots", "filter"}:
            self.show_facts()
        if "highlight" in fields:
            self._show_highlight()

    def _on_tasks_changed(self) -> None:
        # While runs are followed there is always some task, but none for long.
        now, slots = time.monotonic(), {state.slot for state in self._tasks.running}
        self._since = {slot: self._since.get(slot, now) for slot in slots}
        if self._task.isVisible():
            self._show_task()
        if not slots:
            self._later.stop()
        elif not self._later.isActive():
            oldest = min(self._since.values())
            self._later.start(max(0, round(1000 * (oldest - now)) + _SHOWN_AFTER_MS + 1))

    def _hide_task(self) -> None:
        for widget in (self._task, self._bar, self._cancel):
            widget.hide()

    def _on_cancel_clicked(self) -> None:
        for state in self._tasks.running:
            self._tasks.cancel(state.slot)
