"""A table on screen that holds a DataFrame as it is and makes text only of the cells in view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QColor, QGuiApplication, QKeyEvent, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QMenu, QTableView, QWidget

from ...models.deferred import deferred
from ...models.table_look import as_tsv, cell_text, is_numeric, row_order
from ..theme import CAPTION, colour, font
from .literal_tip import literal_tip

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_AnyIndex = QModelIndex | QPersistentModelIndex
_LOOKED_AT, _LOOKED_AT_AGAIN = 100, 12
"""Rows whose texts widen their columns: of a table, and of the next one with the same columns, as a moved slider gives."""

_WIDEST, _WIDEST_COMPACT = 360, 128
_NARROWEST_NAME = 72
"""Pixels that names in the first column of a compact table keep."""

_MOST_COPIED = 200_000
_ROW_HEIGHT = 26
_NOWHERE = QModelIndex()
_DISPLAY, _TOOL_TIP, _ALIGNMENT, _FOREGROUND = (
    int(role)
    for role in (
        Qt.ItemDataRole.DisplayRole,
        Qt.ItemDataRole.ToolTipRole,
        Qt.ItemDataRole.TextAlignmentRole,
        Qt.ItemDataRole.ForegroundRole,
    )
)
"""Qt asks for seven roles of every cell of every frame: plain numbers are quicker to compare than members of an enum."""
_MOST_OBJECTS = 200_000
_MOST_TEXTS = 100_000
"""Texts of cells that are remembered while they are scrolled over."""


class FrameModel(QAbstractTableModel):
    """A DataFrame as Qt wants it: read only, in any order of its rows, some of its cells coloured.

    Tones are arrays by column, one element a row of the frame: 1 is good, -1 is bad, 0 is neither.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._frame: pd.DataFrame | None = None
        self._length = 0
        self._titles: list[str] = []
        self._helps: list[str] = []
        self._numeric: list[bool] = []
        self._columns: list[Any] = []
        self._tones: list[np.ndarray | None] = []
        self._missing: list[np.ndarray] = []
        self._alignments: list[Qt.AlignmentFlag] = []
        self._texts: dict[tuple[int, int], str] = {}
        self._order: np.ndarray | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """The rows in their own order; none before a table was given."""
        return pd.DataFrame() if self._frame is None else self._frame

    @property
    def shown(self) -> pd.DataFrame:
        """The rows in the order they are shown in, without those left out."""
        return self.frame if self._order is None else self.frame.iloc[self._order]

    @property
    def titles(self) -> tuple[str, ...]:
        """The texts of the header."""
        return tuple(self._titles)

    def set_frame(
        self,
        frame: pd.DataFrame,
        *,
        titles: Mapping[str, str] | None = None,
        helps: Mapping[str, str] | None = None,
        tones: Mapping[str, np.ndarray] | None = None,
        order: np.ndarray | None = None,
    ) -> None:
        """Show another table.

        Parameters
        ----------
        frame : DataFrame
        titles : Mapping of str to str
            Texts of the header for columns that are not shown under their own name.
        helps : Mapping of str to str
            Tooltips of the header.
        tones : Mapping of str to ndarray of int, shape (rows,)
            What is good and bad, by column.
        order : ndarray of int, optional
            Positions of the rows that are shown, in that order.
        """
        self.beginResetModel()
        self._frame, self._length = frame, len(frame)
        names = [str(name) for name in frame.columns]
        self._titles = [(titles or {}).get(name, name) for name in names]
        self._helps = [(helps or {}).get(name, "") for name in names]
        self._tones = [(tones or {}).get(name) for name in names]
        self._numeric = [is_numeric(frame.iloc[:, place]) for place in range(frame.shape[1])]
        # Element access on the extension array is ten times quicker than through the frame.
        self._columns = [_quickly_read(frame.iloc[:, place]) for place in range(frame.shape[1])]
        self._missing = [np.asarray(pd.isna(column)) for column in self._columns]
        self._alignments = [_alignment(is_number) for is_number in self._numeric]
        self._texts = {}
        self._order = order
        self.endResetModel()

    def set_order(self, order: np.ndarray | None) -> None:
        """Show these rows in this order; None shows all as they are."""
        self.beginResetModel()
        self._order = order
        self.endResetModel()

    def position(self, row: int) -> int:
        """Give the position in the frame of a row that is shown."""
        return row if self._order is None else int(self._order[row])

    def value(self, row: int, column: int) -> Any:
        """Give the value of a cell that is shown."""
        return self._columns[column][self.position(row)]

    def rowCount(self, parent: _AnyIndex = _NOWHERE) -> int:
        """Rows shown."""
        if parent.isValid():
            return 0
        return self._length if self._order is None else len(self._order)

    def columnCount(self, parent: _AnyIndex = _NOWHERE) -> int:
        """Columns of the frame."""
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: _AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tooltip, alignment or colour of a cell."""
        if role not in (_DISPLAY, _ALIGNMENT, _FOREGROUND, _TOOL_TIP) or not index.isValid():
            return None
        column = index.column()
        if role == _ALIGNMENT:
            return self._alignments[column]
        if role == _FOREGROUND:
            return self._ink(index.row(), column)
        if role == _DISPLAY:
            return self._text(index.row(), column)
        text = cell_text(self.value(index.row(), column))
        return literal_tip(text if len(text) < 4000 else text[:4000] + " …")

    def _text(self, row: int, column: int) -> str:
        cell = (self.position(row), column)
        text = self._texts.get(cell)
        if text is None:
            # A cell is one line: what comes after a line break stands in the tooltip.
            text = cell_text(self._columns[column][cell[0]])
            if len(text) >= 300 or "\n" in text:
                text = " ".join(text[:300].split()) + " …"
            if len(self._texts) >= _MOST_TEXTS:
                self._texts.clear()
            self._texts[cell] = text
        return text

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tooltip or alignment of a header section."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self._columns):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._titles[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return literal_tip(self._helps[section] or self._titles[section])
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignments[section]
        return None

    def _ink(self, row: int, column: int) -> QColor | None:
        position, tone = self.position(row), self._tones[column]
        if tone is not None and tone[position]:
            return colour("good" if tone[position] > 0 else "bad")
        return colour("muted") if self._missing[column][position] else None


def _quickly_read(column: pd.Series) -> Any:
    """Give the values of a column as an array whose elements are soon at hand: Arrow is slow to give up single texts."""
    if isinstance(column.dtype, pd.StringDtype) and len(column) <= _MOST_OBJECTS:
        return column.to_numpy(object)
    return column.array


def _alignment(is_number: bool) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if is_number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


class FrameTable(QTableView):
    """Shows a DataFrame of any length: a click on a header sorts, Ctrl+C copies, the header's menu hides columns.

    Parameters
    ----------
    sorts_itself : bool
        Whether a click on a header sorts at once; otherwise only `sort_wanted` tells, for tables so long that sorting
        is work for another thread.
    compact : bool
        Whether type and columns are small, for a narrow place.

    Signals
    -------
    sort_wanted(column, descending)
        The user asked for the rows by a column; an empty name asks for their own order.
    picked(positions)
        Other rows are selected; positions in the frame, an ndarray.
    activated_row(position)
        A row was double-clicked, or Return was pressed on it.
    """

    sort_wanted = Signal(str, bool)
    picked = Signal(object)
    activated_row = Signal(int)

    def __init__(self, parent: QWidget | None = None, *, sorts_itself: bool = True, compact: bool = False) -> None:
        super().__init__(parent)
        self._sorts_itself = sorts_itself
        self._compact = compact
        self._sorted: tuple[int, bool] | None = None
        self._widths_by_hand = False
        self._fitting = False
        self._natural_widths: list[int] = []
        self.frame_model = FrameModel(self)
        self.setModel(self.frame_model)
        if compact:
            self.setFont(font(CAPTION))
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu_wanted)
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setMinimumSectionSize(8)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsClickable(True)
        header.setSectionsMovable(True)
        header.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        header.setMinimumSectionSize(36)
        header.sectionClicked.connect(self._on_section_clicked)
        header.sectionResized.connect(self._on_section_resized)
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(self._on_header_menu_wanted)
        self.selectionModel().selectionChanged.connect(self._on_selection_changed)
        self.doubleClicked.connect(self._on_activated)
        self._measure()

    def set_frame(
        self,
        frame: pd.DataFrame,
        *,
        titles: Mapping[str, str] | None = None,
        helps: Mapping[str, str] | None = None,
        tones: Mapping[str, np.ndarray] | None = None,
        order: np.ndarray | None = None,
    ) -> None:
        """Show another table; one with the same columns keeps its widths, its order and where it is scrolled to.

        Parameters are those of `FrameModel.set_frame`.
        """
        same = list(map(str, frame.columns)) == list(map(str, self.frame_model.frame.columns))
        scrolled = self.verticalScrollBar().value()
        if same and self._sorts_itself and self._sorted is not None and order is None:
            order = row_order(frame.iloc[:, self._sorted[0]], descending=self._sorted[1])
        self.frame_model.set_frame(frame, titles=titles, helps=helps, tones=tones, order=order)
        if same:
            self.verticalScrollBar().setValue(scrolled)
        else:
            self._sorted, self._widths_by_hand = None, False
            self._show_sorting()
        if not (same and self._widths_by_hand):
            self._measure(again=same)
            self._fit()

    def set_order(self, order: np.ndarray | None) -> None:
        """Show these rows of the frame in this order; None shows all as they are."""
        self.frame_model.set_order(order)

    def set_sorting(self, column: str, *, descending: bool = False) -> None:
        """Sort by a column, as a click on its header would; an empty name goes back to the order of the frame."""
        names = [str(name) for name in self.frame_model.frame.columns]
        self._sort((names.index(column), descending) if column in names else None)

    @property
    def selected_positions(self) -> np.ndarray:
        """Positions in the frame of the selected rows, from top to bottom."""
        rows: list[int] = []
        selection = self.selectionModel().selection()
        for place in range(selection.count()):
            block = selection.at(place)
            rows.extend(range(block.top(), block.bottom() + 1))
        return np.array([self.frame_model.position(row) for row in sorted(set(rows))], dtype=np.int64)

    def copy(self) -> None:
        """Put the selected rows, or all where none is selected, on the clipboard with a line of titles."""
        model, header = self.frame_model, self.horizontalHeader()
        places = [header.logicalIndex(visual) for visual in range(header.count())]
        places = [place for place in places if not header.isSectionHidden(place)]
        positions = self.selected_positions
        frame = model.frame.iloc[positions] if len(positions) else model.shown
        QGuiApplication.clipboard().setText(
            as_tsv(frame.iloc[:_MOST_COPIED, places], [model.titles[place] for place in places])
        )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Copy on Ctrl+C, open a row on Return."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self._on_activated(self.currentIndex())
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the columns the room there is, unless the user gave them theirs."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Measure again when the type changes, as with another theme or text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._measure()
            self._fit()

    # -- widths ---------------------------------------------------------------------------------------------------------

    def _measure(self, *, again: bool = False) -> None:
        """Find the height of rows, and the width each column would like from the first rows.

        Measured again for a table with the same columns, widths only grow, so that nothing jumps.
        """
        before = self._natural_widths if again else []
        metrics, model = self.fontMetrics(), self.frame_model
        self.verticalHeader().setDefaultSectionSize(max(_ROW_HEIGHT, metrics.height() + 9))
        header_metrics = self.horizontalHeader().fontMetrics()
        rows = range(min(model.rowCount(), _LOOKED_AT_AGAIN if before else _LOOKED_AT))
        self._natural_widths = []
        for column in range(model.columnCount()):
            beside, beside_title = (24, 24) if self._compact else (26, 34)
            width = header_metrics.horizontalAdvance(model.titles[column]) + beside_title
            width = max([width, *before[column : column + 1]])
            for row in rows:
                text = model.data(model.index(row, column))
                width = max(width, metrics.horizontalAdvance(text[:80]) + beside)
            self._natural_widths.append(min(width, _WIDEST_COMPACT if self._compact else _WIDEST))

    def _fit(self) -> None:
        """Share out the room: what is left goes to all in proportion, what lacks scrolls.

        In a narrow bar names in the first column are cut before numbers leave the view.
        """
        header = self.horizontalHeader()
        shown = [place for place in range(len(self._natural_widths)) if not header.isSectionHidden(place)]
        if self._widths_by_hand or not shown:
            return
        widths = {place: self._natural_widths[place] for place in shown}
        room = self.viewport().width()
        if self._compact and len(shown) > 1:
            # Units may scroll: what is told apart by them stands in the first three columns.
            lack = sum(widths[place] for place in shown[:3]) - room
            widths[shown[0]] = max(widths[shown[0]] - max(lack, 0), min(_NARROWEST_NAME, widths[shown[0]]))
        wanted = sum(widths.values())
        stretch = max(room / wanted, 1.0)
        self._fitting = True
        used = 0
        for place in shown:
            width = int(widths[place] * stretch)
            used += width
            if place == shown[-1] and stretch > 1.0:
                width += room - used
            header.resizeSection(place, width)
        self._fitting = False

    def _on_section_resized(self, _section: int, _old: int, _new: int) -> None:
        if not self._fitting and self.isVisible():
            self._widths_by_hand = True

    # -- order ----------------------------------------------------------------------------------------------------------

    def _on_section_clicked(self, section: int) -> None:
        # Numbers are mostly wanted from the largest down, texts from A to Z; the third click goes back to no order.
        first = is_numeric(self.frame_model.frame.iloc[:, section])
        if self._sorted == (section, first):
            self._sort((section, not first))
        elif self._sorted == (section, not first):
            self._sort(None)
        else:
            self._sort((section, first))

    def _sort(self, sorting: tuple[int, bool] | None) -> None:
        self._sorted = sorting
        self._show_sorting()
        frame = self.frame_model.frame
        if self._sorts_itself:
            order = None if sorting is None else row_order(frame.iloc[:, sorting[0]], descending=sorting[1])
            self.frame_model.set_order(order)
        name = "" if sorting is None else str(frame.columns[sorting[0]])
        self.sort_wanted.emit(name, sorting is not None and sorting[1])

    def _show_sorting(self) -> None:
        header = self.horizontalHeader()
        header.setSortIndicatorShown(self._sorted is not None)
        if self._sorted is not None:
            column, descending = self._sorted
            header.setSortIndicator(column, Qt.SortOrder.DescendingOrder if descending else Qt.SortOrder.AscendingOrder)

    # -- the rest -------------------------------------------------------------------------------------------------------

    def _on_selection_changed(self) -> None:
        self.picked.emit(self.selected_positions)

    def _on_activated(self, index: QModelIndex) -> None:
        self.activated_row.emit(self.frame_model.position(index.row()))

    def _on_menu_wanted(self, place: QPoint) -> None:
        index = self.indexAt(place)
        if not index.isValid():
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        cell = menu.addAction("Copy cell")
        rows = menu.addAction("Copy rows")
        rows.setShortcut(QKeySequence.StandardKey.Copy)
        rows.triggered.connect(self.copy)
        text = cell_text(self.frame_model.value(index.row(), index.column()))
        cell.triggered.connect(lambda: QGuiApplication.clipboard().setText(text))
        menu.popup(self.viewport().mapToGlobal(place))

    def _on_header_menu_wanted(self, place: QPoint) -> None:
        header = self.horizontalHeader()
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for section, title in enumerate(self.frame_model.titles):
            action = menu.addAction(title)
            action.setCheckable(True)
            action.setChecked(not header.isSectionHidden(section))
            action.setData(section)
            action.toggled.connect(self._on_column_toggled)
        menu.popup(header.mapToGlobal(place))

    def _on_column_toggled(self, shown: bool) -> None:
        header = self.horizontalHeader()
        section = self.sender().data()  # type: ignore[attr-defined]
        if shown or header.count() - header.hiddenSectionCount() > 1:
            header.setSectionHidden(section, not shown)
            self._fit()
