"""Says what the columns of a table mean: which are canonical ones under another name, and which can be computed."""

from __future__ import annotations

import fnmatch
import glob
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...models import expression
from ...models.column_guess import guessed_columns, guessed_table
from ...models.column_map import ColumnMap
from ...models.deferred import deferred
from ...models.errors import ExpressionError, RunglassError
from ...models.schema import RUNS, SCHEMAS, Schema
from ...models.tables import TableRows
from ..theme import icon
from ..widgets.elided_label import ElidedLabel
from ..widgets.frame_table import FrameTable
from ..widgets.literal_tip import literal_tip
from ..widgets.style_property import set_property
from ..workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

PREVIEWED = 20
_CHECKED = 2_000
_PAUSE_MS = 120


_GIVEN = frozenset({("runs", "source"), ("runs", "reader")})
"""Columns that Runglass fills in itself."""


def _needs(schema: Schema) -> frozenset[str]:
    # Rows of runs that do not say which run they are get a key of their own.
    return frozenset(schema.needs) - ({"run"} if schema is RUNS else set())


def _identified(frame: pd.DataFrame, schema: Schema, source: str) -> pd.DataFrame:
    """Give rows of runs without a key the one they will have."""
    if schema is not RUNS or "run" in frame.columns:
        return frame
    return frame.assign(run=[f"{source}#{number}" for number in range(len(frame))])


class DerivedRow(QWidget):
    """A derived column: its name, the expression that gives it, and under it what is wrong with that.

    Signals
    -------
    edited()
        The name or the expression changed.
    removed()
        The row is no longer wanted.
    """

    edited = Signal()
    removed = Signal()

    def __init__(self, name: str = "", text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        fixed.setPointSizeF(self.font().pointSizeF())
        self.name = QLineEdit(name, self)
        self.name.setPlaceholderText("tokens")
        self.name.setAccessibleName("Name of the new column")
        self.name.setMaximumWidth(120)
        self.name.textEdited.connect(self.edited)
        self.text = QLineEdit(text, self)
        self.text.setPlaceholderText("flops / (6 * params)")
        self.text.setAccessibleName("Expression")
        self.text.setFont(fixed)
        self.text.textEdited.connect(self.edited)
        self._remove = QToolButton(self)
        self._remove.setAutoRaise(True)
        self._remove.setIcon(icon("mdi6.close"))
        self._remove.setToolTip("Remove this column")
        self._remove.setAccessibleName("Remove this column")
        self._remove.clicked.connect(self.removed)
        self._caret = QLabel(self)
        self._caret.setFont(fixed)
        self._caret.setProperty("role", "bad")
        self._caret.setContentsMargins(9, 0, 0, 0)
        self._caret.setTextFormat(Qt.TextFormat.PlainText)
        self._error = QLabel(self)
        self._error.setProperty("role", "bad")
        self._error.setWordWrap(True)
        self._error.setTextFormat(Qt.TextFormat.PlainText)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(6)
        layout.setVerticalSpacing(0)
        layout.addWidget(self.name, 0, 0)
        layout.addWidget(QLabel("=", self), 0, 1)
        layout.addWidget(self.text, 0, 2)
        layout.addWidget(self._remove, 0, 3)
        layout.addWidget(self._caret, 1, 2)
        layout.addWidget(self._error, 2, 2)
        layout.setColumnStretch(2, 1)
        self.show_error(None)

    @property
    def value(self) -> tuple[str, str] | None:
        """The name and the expression; None while one of them is empty."""
        name, text = self.name.text().strip(), self.text.text().strip()
        return (name, text) if name and text else None

    @property
    def error(self) -> str:
        """What is said to be wrong."""
        return self._error.text()

    def show_error(self, error: RunglassError | None) -> None:
        """Say what is wrong and point at it; None says nothing."""
        set_property(self.text, "invalid", error is not None)
        self._error.setVisible(error is not None)
        self._caret.setVisible(isinstance(error, ExpressionError))
        if error is None:
            self._error.clear()
            return
        self._error.setText(error.what)
        self._error.setToolTip(literal_tip(error.remedy))
        if isinstance(error, ExpressionError):
            leading = len(self.text.text()) - len(self.text.text().lstrip())
            self._caret.setText(" " * (min(error.position, len(self.text.text())) + leading) + "▲")


class ColumnMapperDialog(QDialog):
    """Maps the columns of a source onto those of a canonical table, with the result in view.

    Parameters
    ----------
    workspace : Workspace
    source : str
        A source of `RunStore.sources`.
    """

    def __init__(self, workspace: Workspace, source: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        store = workspace.now.all
        self._sources = tuple(store.sources)
        self._rows = store.sources.get(source) or TableRows(source, "", pd.DataFrame())
        self._boxes: dict[str, QComboBox] = {}
        self._derived: list[DerivedRow] = []
        self._before = next((m for m in reversed(workspace.session.maps) if m.applies_to(source)), None)
        self.setWindowTitle("Map columns")
        self.resize(1000, 640)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_PAUSE_MS)
        self._later.timeout.connect(self.refresh)

        title = ElidedLabel(source, self)
        title.setProperty("role", "title")
        self._table = QComboBox(self)
        self._table.setAccessibleName("Canonical table")
        for name in SCHEMAS:
            self._table.addItem(name)
        self._table.currentTextChanged.connect(self._on_table_changed)
        self._form = QWidget(self)
        self._grid = QGridLayout(self._form)
        self._grid.setContentsMargins(0, 0, 8, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(4)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self._form)
        self._derived_box = QVBoxLayout()
        self._derived_box.setSpacing(4)
        self._add = QPushButton("Add a derived column", self)
        self._add.clicked.connect(self._on_add_clicked)
        self._pattern = QLineEdit(self)
        self._pattern.setAccessibleName("Files the map applies to")
        self._pattern.textEdited.connect(self._on_edited)
        self._pattern_said = QLabel(self)
        self._pattern_said.setTextFormat(Qt.TextFormat.PlainText)
        self._pattern_said.setProperty("role", "caption")

        left = QWidget(self)
        side = QVBoxLayout(left)
        side.setContentsMargins(0, 0, 8, 0)
        side.setSpacing(6)
        row = QHBoxLayout()
        row.addWidget(QLabel("These rows are", self))
        row.addWidget(self._table, 1)
        side.addLayout(row)
        side.addWidget(scroll, 1)
        side.addWidget(self._heading("Derived columns"))
        side.addLayout(self._derived_box)
        side.addWidget(self._add, 0, Qt.AlignmentFlag.AlignLeft)
        side.addWidget(self._heading("Use it for files that match"))
        side.addWidget(self._pattern)
        side.addWidget(self._pattern_said)

        self.source_table = FrameTable(self)
        self.source_table.setAccessibleName("Rows of the source")
        self.result_table = FrameTable(self)
        self.result_table.setAccessibleName("Rows under the map")
        self._said = QLabel(self)
        self._said.setWordWrap(True)
        self._said.setTextFormat(Qt.TextFormat.PlainText)
        self._said.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        right = QWidget(self)
        views = QVBoxLayout(right)
        views.setContentsMargins(8, 0, 0, 0)
        views.setSpacing(6)
        shown = min(len(self._rows.frame), PREVIEWED)
        views.addWidget(self._heading(f"The source, first {shown} of {len(self._rows.frame):,} rows"))
        views.addWidget(self.source_table, 1)
        views.addWidget(self._heading("Read as"))
        views.addWidget(self.result_table, 1)
        views.addWidget(self._said)

        split = QSplitter(Qt.Orientation.Horizontal, self)
        split.setChildrenCollapsible(False)
        split.addWidget(left)
        split.addWidget(right)
        split.setSizes([380, 620])
        self._buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self
        )
        self._buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Map columns")
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)
        if self._before is not None:
            forget = self._buttons.addButton("Forget the map", QDialogButtonBox.ButtonRole.DestructiveRole)
            forget.clicked.connect(self.forget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        layout.addWidget(title)
        layout.addWidget(split, 1)
        layout.addWidget(self._buttons)

        self._fill()

    @property
    def column_map(self) -> ColumnMap:
        """The map as it stands in the form."""
        columns = set(map(str, self._rows.frame.columns))
        chosen = {canonical: box.currentData() for canonical, box in self._boxes.items()}
        names = tuple(
            (canonical, name)
            for canonical, name in chosen.items()
            if name and (name != canonical or name not in columns)
        )
        derived = tuple(row.value for row in self._derived if row.value is not None)
        return ColumnMap(names, derived, self._pattern.text().strip() or "*", self._table.currentText())

    @property
    def said(self) -> str:
        """What is said of the result."""
        return self._said.text()

    def choose(self, canonical: str, name: str) -> None:
        """Map a canonical column onto a column of the source; an empty name leaves it without."""
        box = self._boxes[canonical]
        box.setCurrentIndex(max(box.findData(name), 0))

    def set_table(self, table: str) -> None:
        """Choose the canonical table."""
        self._table.setCurrentText(table)

    def add_derived(self, name: str = "", text: str = "") -> DerivedRow:
        """Add a derived column."""
        row = DerivedRow(name, text, self)
        row.edited.connect(self._on_edited)
        row.removed.connect(self._on_row_removed)
        self._derived.append(row)
        self._derived_box.addWidget(row)
        self._on_edited()
        return row

    def refresh(self) -> None:
        """Show the result of the map as it stands."""
        self._later.stop()
        schema = SCHEMAS[self._table.currentText()]
        is_sound = self._show_derived()
        column_map = self.column_map
        if is_sound:
            result = _identified(column_map.applied(self._rows.frame.head(_CHECKED)), schema, self._rows.source)
            try:
                result = schema.check(result)
            except RunglassError as error:
                self._say(str(error), bad=True)
                is_sound = False
            else:
                had = [str(name) for name in result.columns if schema.column(str(name)) is not None]
                self._say(f"{len(self._rows.frame):,} rows of {schema.name}, with {', '.join(had)}.")
            self._show_result(result, schema)
        self._buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(is_sound)
        matching = [name for name in self._sources if fnmatch.fnmatch(name, column_map.pattern)]
        mine = self._rows.source in matching
        self._pattern_said.setText(
            f"{len(matching)} of {len(self._sources)} open tables" + ("" if mine else ", not this one")
        )
        set_property(self._pattern, "invalid", not mine)

    def accept(self) -> None:
        """Keep the map in the session."""
        self.refresh()
        if not self._buttons.button(QDialogButtonBox.StandardButton.Ok).isEnabled():
            return
        new = self.column_map
        others = tuple(m for m in self._workspace.session.maps if m.pattern != new.pattern and m != self._before)
        self._workspace.change(maps=(*others, new))
        super().accept()

    def forget(self) -> None:
        """Take the map that applies to this source out of the session."""
        self._workspace.change(maps=tuple(m for m in self._workspace.session.maps if m != self._before))
        super().accept()

    def _fill(self) -> None:
        frame = self._rows.frame
        self.source_table.set_frame(frame.head(PREVIEWED))
        before = self._before
        table = (before.table if before is not None else "") or self._rows.table or guessed_table(frame)
        self._pattern.setText(before.pattern if before is not None else glob.escape(self._rows.source))
        name = PurePosixPath(self._rows.source)
        self._pattern.setToolTip(literal_tip(f"* stands for anything: *{name.suffix}, {name.parent}/*"))
        if before is not None:
            for column, text in before.derived:
                self.add_derived(column, text)
        self._table.setCurrentText(table)
        self._on_table_changed()
        if before is not None:
            for canonical, source in before.names:
                if canonical in self._boxes:
                    self.choose(canonical, source)
        self.refresh()

    def _on_table_changed(self) -> None:
        """Offer the columns of the chosen table, with what their names suggest."""
        while self._grid.count():
            item = self._grid.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        schema = SCHEMAS[self._table.currentText()]
        guessed = guessed_columns(self._rows.frame, schema)
        columns = [str(name) for name in self._rows.frame.columns]
        self._boxes = {}
        # What is needed and what was recognised is to be seen without scrolling.
        offered = [column for column in schema.columns if (schema.name, column.name) not in _GIVEN]
        offered.sort(key=lambda column: (column.name not in _needs(schema), column.name not in guessed))
        for place, column in enumerate(offered):
            needed = column.name in _needs(schema)
            label = QLabel(column.name + (" *" if needed else ""), self._form)
            label.setToolTip(
                column.help + (f" ({column.unit})" if column.unit else "") + (", needed" if needed else "")
            )
            box = QComboBox(self._form)
            box.setAccessibleName(f"Column for {column.name}")
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(12)
            box.addItem("–", "")
            for name in columns:
                box.addItem(name, name)
            box.setCurrentIndex(max(box.findData(guessed.get(column.name, "")), 0))
            box.currentIndexChanged.connect(self._on_edited)
            label.setBuddy(box)
            self._grid.addWidget(label, place, 0)
            self._grid.addWidget(box, place, 1)
            self._boxes[column.name] = box
        self._grid.setColumnStretch(1, 1)
        self._grid.setRowStretch(len(offered), 1)
        self._on_edited()

    def _show_derived(self) -> bool:
        """Say at every derived column what is wrong with it; whether nothing is."""
        frame = ColumnMap(names=self.column_map.names).applied(self._rows.frame.head(_CHECKED))
        is_sound = True
        for row in self._derived:
            error: RunglassError | None = None
            if row.value is not None:
                try:
                    frame[row.value[0]] = expression.parse(row.value[1]).values(frame)
                except RunglassError as found:
                    error, is_sound = found, False
            row.show_error(error)
        if not is_sound:
            self._say("A derived column cannot be computed.", bad=True)
        return is_sound

    def _show_result(self, result: pd.DataFrame, schema: Schema) -> None:
        """Show the canonical columns first; they are what analyses read."""
        canonical = [column.name for column in schema.columns if column.name in result.columns]
        derived = [name for name, _ in self.column_map.derived if name in result.columns and name not in canonical]
        others = [name for name in map(str, result.columns) if name not in canonical and name not in derived]
        helps = {column.name: column.help for column in schema.columns}
        self.result_table.set_frame(result[[*canonical, *derived, *others]].head(PREVIEWED), helps=helps)

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._said.setText(text)
        set_property(self._said, "role", "bad" if bad else "muted")

    def _heading(self, text: str) -> QLabel:
        label = QLabel(text, self)
        label.setTextFormat(Qt.TextFormat.PlainText)
        label.setProperty("role", "caption")
        return label

    def _on_add_clicked(self) -> None:
        self.add_derived().name.setFocus()

    def _on_row_removed(self) -> None:
        row = self.sender()
        assert isinstance(row, DerivedRow)
        self._derived.remove(row)
        self._derived_box.removeWidget(row)
        row.hide()
        row.deleteLater()
        self._on_edited()

    def _on_edited(self) -> None:
        self._later.start()
