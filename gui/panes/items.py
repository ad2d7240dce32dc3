"""The rows behind what is highlighted: the questions a model lost, the scores of a point, the runs of a group.

Looking them up, filtering and sorting are work for other threads: a million rows stay fluent.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...analysis import registry
from ...analysis.behind import RowsBehind, rows_behind
from ...models.errors import RunglassError
from ...models.progress import CancellableProgress
from ...models.selection import Clause
from ...models.session import Pane
from ...models.store import RunStore
from ...models.table_look import found_rows, row_order, write_csv
from ..tasks import TaskRunner
from ..theme import appearance, icon
from ..widgets.elided_label import ElidedLabel
from ..widgets.empty_state import EmptyState
from ..widgets.frame_table import FrameTable
from ..widgets.regex_edit import RegexEdit
from ..workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

_ROWS, _ORDER, _EXPORT = "items", "items-order", "items-export"
_PAUSE_MS = 40
_DATA_PAUSE_MS = 400
_BAR_AFTER_MS = 150


def looked_up(
    store: RunStore, highlight: Clause | None, panes: tuple[Pane, ...], progress: CancellableProgress
) -> RowsBehind | None:
    """Give the rows behind a highlight; runs in a worker thread.

    Parameters
    ----------
    panes : tuple of Pane
        Panes whose question may compare two versions, the most likely one first.
    """
    progress(0, 0, "items")
    return rows_behind(store, highlight, next(filter(None, (_compared(pane, store) for pane in panes)), None))


def _compared(pane: Pane, store: RunStore) -> tuple[str, str, str] | None:
    """Give the column and its two values that the question of a pane compares, where it compares two."""
    if pane.kind != "analysis":
        return None
    try:
        kind = registry.analysis(pane.analysis).question
        if not {"by", "old", "new"} <= {option.name for option in kind.options()}:
            return None
        asked = kind.from_json(pane.question).resolved(store)
    except RunglassError:
        return None
    by, old, new = (str(getattr(asked, name)) for name in ("by", "old", "new"))
    return (by, old, new) if by and old and new else None


def ordered(
    frame: pd.DataFrame, pattern: str, column: str, descending: bool, progress: CancellableProgress
) -> np.ndarray | None:
    """Give the positions of the rows to show, None for all as they are; runs in a worker thread."""
    progress(0, 0, "sorting")
    if not pattern and not column:
        return None
    order = row_order(frame[column], descending=descending) if column else np.arange(len(frame))
    return order[found_rows(frame, pattern)[order]] if pattern else order


class ItemsPane(QWidget):
    """Shows the rows behind the highlight.

    Signals
    -------
    said(message)
        Something was done, or could not be.
    """

    said = Signal(str)

    def __init__(self, workspace: Workspace, tasks: TaskRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = tasks
        self._asked: tuple[object, ...] = ()
        self._held: tuple[object, ...] = ()
        self._everything = False
        self._sorting = ("", False)
        self.rows: RowsBehind | None = None

        title = QLabel("Items behind the selection", self)
        title.setProperty("role", "title")
        self._what = ElidedLabel("", self, mode=Qt.TextElideMode.ElideRight)
        self._what.setProperty("role", "muted")
        self._find = RegexEdit("find in items", self)
        self._find.setMaximumWidth(240)
        self._find.pattern_changed.connect(self._reorder)
        self._copy = self._button("Copy the selected rows, or all", self._on_copy_clicked)
        self._export = self._button("Export as CSV…", self._on_export_clicked)
        self._bar = QProgressBar(self)
        self._bar.setTextVisible(False)
        self._bar.setRange(0, 0)
        self._bar.setFixedHeight(2)
        keep = self._bar.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self._bar.setSizePolicy(keep)
        self._bar.hide()
        self.table = FrameTable(self, sorts_itself=False)
        self.table.setAccessibleName("Items")
        self.table.sort_wanted.connect(self._on_table_sort_wanted)
        self._empty = EmptyState("", parent=self)
        self._empty.button_clicked.connect(self._on_empty_button_clicked)

        top = QHBoxLayout()
        top.setContentsMargins(8, 4, 8, 4)
        top.setSpacing(8)
        top.addWidget(title)
        top.addWidget(self._what, 1)
        top.addWidget(self._find)
        top.addWidget(self._copy)
        top.addWidget(self._export)
        below = QWidget(self)
        self._stack = QStackedLayout(below)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self.table)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(top)
        layout.addWidget(self._bar)
        layout.addWidget(below, 1)

        # A brush that is being dragged makes many highlights a second.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.refresh)
        self._spinner = QTimer(self)
        self._spinner.setSingleShot(True)
        self._spinner.setInterval(_BAR_AFTER_MS)
        self._spinner.timeout.connect(self._bar.show)
        tasks.let_go.connect(self._on_tasks_let_go)
        workspace.changed.connect(self._on_workspace_changed)
        workspace.data_changed.connect(self._on_workspace_data_changed)
        appearance().changed.connect(self._on_appearance_changed)
        self._on_appearance_changed()
        self._show_rows(None)

    @property
    def what(self) -> str:
        """The line that says what is shown."""
        return self._what.text()

    def focus_filter(self) -> None:
        """Put the cursor into the filter."""
        self._find.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._find.selectAll()

    def refresh(self) -> None:
        """Look up the rows behind the highlight of now, unless they are shown already or nobody sees them."""
        self._later.stop()
        if not self.isVisible():
            return
        now = self._workspace.now
        highlight = now.session.highlight
        if highlight is None and not self._everything:
            self._tasks.cancel(_ROWS)
            self._asked, self._held = (), ()
            self._settle()
            self._show_rows(None)
            return
        panes = _comparing(now.session.panes, now.session.focus)
        store = now.kept
        # Rows of runs change with every point that is read; rows of tables do not.
        by_run = not any(store.has_rows(name) for name in ("predictions", "scores", "comparisons"))
        held = (tuple(store.sources.values()), tuple(store.runs.values()) if by_run else ())
        asked = (highlight, store.filter, store.maps, repr(panes), tuple(tuple(map(id, part)) for part in held))
        if asked == self._asked:
            return
        self._asked, self._held = asked, held  # held, so that the identities stay those of living objects
        self._spinner.start()
        self._tasks.start(
            _ROWS,
            "Looking up items",
            functools.partial(looked_up, store, highlight, panes),
            self._on_rows_found,
            self._on_failure,
        )

    def export(self, path: Path) -> None:
        """Write the rows as they are shown to a CSV file, in another thread."""
        frame = self.table.frame_model.shown.rename(columns=dict(self.rows.titles) if self.rows else {})

        def work(progress: CancellableProgress) -> str:
            progress(0, 0, path.name)
            write_csv(frame, path)
            return f"Wrote {len(frame):,} rows to {path.name}."

        self._tasks.start(_EXPORT, f"Writing {path.name}", work, self.said.emit, self._on_export_failure)

    def showEvent(self, event: QShowEvent) -> None:
        """Catch up with the highlight."""
        super().showEvent(event)
        self.refresh()

    def _show_rows(self, rows: RowsBehind | None) -> None:
        self.rows = rows
        self._what.setText("" if rows is None else rows.what)
        has_rows = rows is not None and len(rows.frame) > 0
        for widget in (self._find, self._copy, self._export):
            widget.setEnabled(has_rows)
        if rows is not None and has_rows:
            columns = list(map(str, rows.frame.columns))
            if columns != list(map(str, self.table.frame_model.frame.columns)):
                self._sorting = ("", False)
            self.table.set_frame(rows.frame, titles=rows.titles, helps=rows.helps, tones=rows.tones)
            self._stack.setCurrentWidget(self.table)
            if self._find.pattern or self._sorting[0]:
                self._reorder()
            return
        self._stack.setCurrentWidget(self._empty)
        if self._workspace.session.highlight is not None:
            self._empty.set_content("No rows are behind what is highlighted.", "Clear it with Esc.")
        elif not self._workspace.now.all.runs and not self._workspace.now.all.sources:
            self._empty.set_content("Nothing is open.", "Drop a folder on the window.")
        else:
            self._empty.set_content(
                "Nothing is highlighted.",
                "Click on a run, a point or a bar, or brush over some, to see the rows behind them.",
                button="Show all rows",
            )

    def _reorder(self) -> None:
        frame = self.table.frame_model.frame
        column, descending = self._sorting
        pattern = self._find.pattern
        self._spinner.start()
        self._tasks.start(
            _ORDER,
            "Sorting items",
            functools.partial(ordered, frame, pattern, column, descending),
            functools.partial(self._on_order_found, frame, pattern),
            self._on_failure,
        )

    def _on_tasks_let_go(self, slot: str) -> None:
        if slot in (_ROWS, _ORDER):
            self._settle()
        if slot == _ROWS:
            self._asked = ()  # looked up anew the next time

    def _settle(self) -> None:
        self._spinner.stop()
        self._bar.hide()

    def _on_rows_found(self, rows: RowsBehind | None) -> None:
        self._settle()
        self._tasks.cancel(_ORDER)
        self._show_rows(rows)

    def _on_order_found(self, frame: pd.DataFrame, pattern: str, order: np.ndarray | None) -> None:
        self._settle()
        if frame is self.table.frame_model.frame:
            self.table.set_order(order)
            if self.rows is not None:
                found = f" · {len(order):,} match" if order is not None and pattern else ""
                self._what.setText(self.rows.what + found)

    def _on_failure(self, error: Exception) -> None:
        self._settle()
        self._show_rows(None)
        what, remedy = (error.what, error.remedy) if isinstance(error, RunglassError) else (str(error), "")
        self._empty.set_content(what, remedy)

    def _on_export_failure(self, error: Exception) -> None:
        self.said.emit(str(error))

    def _on_table_sort_wanted(self, column: str, descending: bool) -> None:
        self._sorting = (column, descending)
        self._reorder()

    def _on_copy_clicked(self) -> None:
        self.table.copy()
        self.said.emit("Copied the rows.")

    def _on_export_clicked(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export items", "items.csv", "CSV (*.csv)")
        if name:
            self.export(Path(name))

    def _on_empty_button_clicked(self) -> None:
        self._everything = True
        self.refresh()

    def _on_workspace_changed(self, fields: frozenset[str]) -> None:
        if "highlight" in fields and self._workspace.session.highlight is not None:
            self._everything = False
        if fields & {"highlight", "filter", "maps", "panes", "focus"} and not self._later.isActive():
            self._later.start(_PAUSE_MS)

    def _on_workspace_data_changed(self) -> None:
        if not self._later.isActive():
            self._later.start(_DATA_PAUSE_MS)

    def _on_appearance_changed(self) -> None:
        self._copy.setIcon(icon("mdi6.content-copy"))
        self._export.setIcon(icon("mdi6.tray-arrow-down"))

    def _button(self, name: str, clicked: object) -> QToolButton:
        button = QToolButton(self)
        button.setAutoRaise(True)
        button.setToolTip(name)
        button.setAccessibleName(name)
        button.clicked.connect(clicked)
        return button


def _comparing(panes: tuple[Pane, ...], focus: str) -> tuple[Pane, ...]:
    """Give the panes of analyses, the focused one first."""
    analyses = [pane for pane in panes if pane.kind == "analysis"]
    return tuple(sorted(analyses, key=lambda pane: pane.key != focus))
