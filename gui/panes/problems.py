"""What could not be read, or was read and not understood, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QStackedLayout, QVBoxLayout, QWidget

from ...models.deferred import deferred
from ...models.store import RunStore
from ...models.table_look import found_rows
from ..theme import appearance
from ..widgets.elided_label import ElidedLabel
from ..widgets.empty_state import EmptyState
from ..widgets.frame_table import FrameTable
from ..widgets.literal_tip import literal_tip
from ..widgets.regex_edit import RegexEdit
from ..workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_REFRESH_MS = 150
_MOST_WRAPPED = 400
_MOST_NAMED = 8
_PADDING = 26
"""What a cell keeps free beside its text, in pixels."""


def problem_rows(store: RunStore) -> tuple[pd.DataFrame, list[bool]]:
    """Give the problems of a store as a table, and for every row whether mapping columns may mend it."""
    rows: list[tuple[str, str, str]] = []
    mappable: list[bool] = []
    for table in store.untyped:
        names = [str(name) for name in table.frame.columns]
        listed = ", ".join(names[:_MOST_NAMED]) + (" …" if len(names) > _MOST_NAMED else "")
        rows.append((table.source, table.reader, f"The columns of this table are not known ({listed}): map them."))
        mappable.append(True)
    for problem in store.table_problems:
        rows.append((problem.source, problem.reader, problem.what))
        mappable.append(True)
    for problem in store.problems:
        rows.append((problem.source, problem.reader, problem.what))
        mappable.append(False)
    return pd.DataFrame(rows, columns=["source", "reader", "what"], dtype="object"), mappable


class ProblemsPane(QWidget):
    """Lists problems; those of tables come with the means to map their columns.

    Signals
    -------
    counted(number)
        There are so many problems now.
    map_wanted(source)
        The user wants to say what the columns of this source mean.
    """

    counted = Signal(int)
    map_wanted = Signal(str)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._rows: pd.DataFrame | None = None
        self._mappable: list[bool] = []
        self._shown_of: tuple[object, ...] = ()
        self._count = 0
        self._summary = ElidedLabel("", self, mode=Qt.TextElideMode.ElideRight)
        self._summary.setProperty("role", "muted")
        self._find = RegexEdit("find in problems", self)
        self._find.setMaximumWidth(240)
        self._find.pattern_changed.connect(self._on_find_pattern_changed)
        self._map = QPushButton("Map columns…", self)
        self._map.clicked.connect(self._on_map_clicked)
        self.table = FrameTable(self)
        self.table.setAccessibleName("Problems")
        self.table.setWordWrap(True)
        self.table.picked.connect(self._on_table_picked)
        self.table.activated_row.connect(self._on_table_activated_row)
        self.table.sort_wanted.connect(self._wrap)
        self._empty = EmptyState("Everything was read.", parent=self)
        top = QHBoxLayout()
        top.setContentsMargins(8, 4, 8, 4)
        top.setSpacing(8)
        top.addWidget(self._summary, 1)
        top.addWidget(self._map)
        top.addWidget(self._find)
        full = QWidget(self)
        inside = QVBoxLayout(full)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(0)
        inside.addLayout(top)
        inside.addWidget(self.table, 1)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._empty)
        self._stack.addWidget(full)
        self._full = full

        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_REFRESH_MS)
        self._later.timeout.connect(self.refresh)
        workspace.data_changed.connect(self._on_workspace_data_changed)
        workspace.changed.connect(self._on_workspace_changed)
        appearance().changed.connect(self._wrap_soon)
        self.refresh()

    @property
    def count(self) -> int:
        """Number of problems."""
        return self._count

    def refresh(self) -> None:
        """Show the problems there are now."""
        self._later.stop()
        store = self._workspace.now.kept
        shown_of = (store.problems, store.maps, tuple(map(id, store.sources.values())))
        if shown_of == self._shown_of:
            return
        self._shown_of = shown_of
        if store.untyped or store.table_problems or store.problems:
            self._show(*problem_rows(store))
        else:
            self._rows, self._mappable = None, []
            self._stack.setCurrentWidget(self._empty)
        count = len(self._mappable)
        if count != self._count:
            self._count = count
            self.counted.emit(count)

    def _show(self, rows: pd.DataFrame, mappable: list[bool]) -> None:
        self._rows, self._mappable = rows, mappable
        sources = rows["source"].nunique()
        plural = "" if len(rows) == 1 else "s"
        self._summary.setText(f"{len(rows):,} problem{plural} in {sources:,} source{'' if sources == 1 else 's'}")
        self._map.setVisible(any(mappable))
        self.table.set_frame(rows, order=self._order())
        self._wrap()
        self._stack.setCurrentWidget(self._full)
        self._on_table_picked()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Wrap anew."""
        super().resizeEvent(event)
        self._wrap_soon()

    def _order(self) -> np.ndarray | None:
        pattern = self._find.pattern
        return np.flatnonzero(found_rows(self._rows, pattern)) if pattern and self._rows is not None else None

    def _wrap_soon(self) -> None:
        # Columns get their widths first.
        QTimer.singleShot(0, self, self._wrap)

    def _wrap(self) -> None:
        """Give every row the height its sentence needs; Qt's own measure forgets the padding of the style sheet."""
        model = self.table.frame_model
        usual = self.table.verticalHeader().defaultSectionSize()
        widths = [max(self.table.columnWidth(column) - _PADDING, 40) for column in range(model.columnCount())]
        metrics = self.table.fontMetrics()
        for row in range(min(model.rowCount(), _MOST_WRAPPED)):
            texts = [str(model.data(model.index(row, column))) for column in range(len(widths))]
            heights = [
                metrics.boundingRect(0, 0, width, 10_000, int(Qt.TextFlag.TextWordWrap), text).height()
                for width, text in zip(widths, texts, strict=True)
            ]
            self.table.setRowHeight(row, max(usual, max(heights) + 9))

    def _mapped_source(self) -> str:
        """Give the source whose columns the button maps: that of the selected row, else the first that can be mapped."""
        if self._rows is None:
            return ""
        chosen = [int(place) for place in self.table.selected_positions]
        can = [place for place in (chosen or range(len(self._mappable))) if self._mappable[place]]
        return str(self._rows["source"].iloc[can[0]]) if can else ""

    def _on_table_picked(self) -> None:
        source = self._mapped_source()
        self._map.setEnabled(bool(source))
        self._map.setToolTip(literal_tip(f"Say what the columns of {source} mean" if source else ""))

    def _on_map_clicked(self) -> None:
        if source := self._mapped_source():
            self.map_wanted.emit(source)

    def _on_table_activated_row(self, position: int) -> None:
        if self._rows is not None and self._mappable[position]:
            self.map_wanted.emit(str(self._rows["source"].iloc[position]))

    def _on_find_pattern_changed(self) -> None:
        self.table.set_order(self._order())
        self._wrap()

    def _on_workspace_data_changed(self) -> None:
        if not self._later.isActive():
            self._later.start()

    def _on_workspace_changed(self, fields: frozenset[str]) -> None:
        if "maps" in fields:
            self.refresh()
