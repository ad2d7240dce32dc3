"""A tree with tri-state boxes over flat arrays: no object per row, texts made only for what is in view.

It knows nodes by number and asks a `Face` for what they look like; what they stand for is the business of whoever made it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from PySide6.QtCore import (
    QAbstractItemModel,
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFont, QIcon, QKeyEvent, QMouseEvent, QPainter, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeView,
    QWidget,
)

from ...models.plain_text import plain
from ..theme import appearance, colour, icon
from .literal_tip import literal_tip
from .swatch import SIZE, swatch_pixmap

_AnyIndex = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_TICKS = (Qt.CheckState.Unchecked, Qt.CheckState.PartiallyChecked, Qt.CheckState.Checked)
_NAME_WIDTH = 170
_MARK_WIDTH = 16
_MARK_SIZE = 13
_LEAST_NAME = 100
"""Pixels for box, swatch and a little of the name before further signs get any."""


class Branches(Protocol):
    """The shape of a tree in flat arrays; node 0 is the root, which is not shown."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Identity of every node, also across trees."""

    @property
    def parents(self) -> np.ndarray:
        """Node above every node."""

    @property
    def rows(self) -> np.ndarray:
        """Place of every node among its siblings."""

    def children(self, node: int) -> np.ndarray:
        """Give the nodes right below a node, in the order they are shown in."""


class Face(Protocol):
    """A tree and what its nodes look like; the tree and the columns of a face never change, another face takes its place.

    Qt may ask for any node at any time, also while it is being told of another tree: an answer must never fail, since an
    error raised inside a call from Qt can end the process (seen with shiboken 6.11).
    """

    @property
    def tree(self) -> Branches:
        """The tree."""

    def titles(self) -> list[tuple[str, str]]:
        """Give the texts and tooltips of the header, one pair a column."""

    def text(self, node: int, column: int) -> str:
        """Give the text of a cell."""

    def help(self, node: int, column: int) -> str:
        """Give the tooltip of a cell."""

    def ink(self, node: int, column: int) -> str:
        """Give the token of the colour of a cell's text; empty for the usual one."""

    def hue(self, node: int) -> str:
        """Give the hue of the swatch; empty for none."""

    def marks(self, node: int) -> tuple[tuple[str, str], ...]:
        """Give the signs that are drawn behind the name: icons by name and the tokens of their colours."""

    def is_head(self, node: int) -> bool:
        """Whether the name is set in bold."""


class CheckTreeModel(QAbstractItemModel):
    """A tree as Qt wants it; boxes only show `ticks`, whoever sets them decides what a click does."""

    def __init__(self, face: Face, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._face = face
        self._tree = face.tree
        self._titles = face.titles()
        self._ticks = np.zeros(len(face.tree.paths), dtype=np.int8)
        self._bold = QFont()
        self._bold.setWeight(QFont.Weight.DemiBold)

    @property
    def tree(self) -> Branches:
        """The tree that is shown."""
        return self._tree

    @property
    def face(self) -> Face:
        """What its nodes look like."""
        return self._face

    def set_face(self, face: Face, ticks: np.ndarray) -> None:
        """Show another tree."""
        self.beginResetModel()
        self._face, self._tree, self._titles, self._ticks = face, face.tree, face.titles(), ticks
        self.endResetModel()

    def set_ticks(self, ticks: np.ndarray) -> None:
        """Show these boxes: 0 empty, 1 partly, 2 ticked."""
        self._ticks = ticks
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, 0)

    def index_of(self, node: int, column: int = 0) -> QModelIndex:
        """Give the index of a node."""
        return self.createIndex(int(self._tree.rows[node]), column, node) if node > 0 else QModelIndex()

    def index(self, row: int, column: int, parent: _AnyIndex = _NOWHERE) -> QModelIndex:
        """Give the index of a row below another."""
        children = self._tree.children(self._node(parent))
        if not (0 <= row < len(children) and 0 <= column < len(self._titles)):
            return QModelIndex()
        return self.createIndex(row, column, int(children[row]))

    def parent(self, index: _AnyIndex = _NOWHERE) -> QModelIndex:  # type: ignore[override]
        """Give the row above."""
        return self.index_of(int(self._tree.parents[index.internalId()])) if index.isValid() else QModelIndex()

    def rowCount(self, parent: _AnyIndex = _NOWHERE) -> int:
        """Rows right below."""
        return 0 if parent.column() > 0 else len(self._tree.children(self._node(parent)))

    def columnCount(self, parent: _AnyIndex = _NOWHERE) -> int:
        """Columns of every row."""
        return len(self._titles)

    def flags(self, index: _AnyIndex) -> Qt.ItemFlag:
        """Rows can be selected."""
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable if index.isValid() else Qt.ItemFlag.NoItemFlags

    def data(self, index: _AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tooltip, box, alignment, colour or font of a cell."""
        if not index.isValid():
            return None
        node, column = index.internalId(), index.column()
        match role:
            case Qt.ItemDataRole.DisplayRole | Qt.ItemDataRole.AccessibleTextRole:
                return plain(self._face.text(node, column))
            case Qt.ItemDataRole.ToolTipRole:
                return literal_tip(self._face.help(node, column))
            case Qt.ItemDataRole.CheckStateRole:
                return _TICKS[self._ticks[node]] if column == 0 else None
            case Qt.ItemDataRole.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignLeft if column == 0 else Qt.AlignmentFlag.AlignRight
                return side | Qt.AlignmentFlag.AlignVCenter
            case Qt.ItemDataRole.ForegroundRole:
                ink = self._face.ink(node, column)
                return colour(ink) if ink else None
            case Qt.ItemDataRole.FontRole:
                return self._bold if column == 0 and self._face.is_head(node) else None
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tooltip or alignment of a header section."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self._titles):
            return None
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._titles[section][0]
            case Qt.ItemDataRole.ToolTipRole:
                return literal_tip(self._titles[section][1])
            case Qt.ItemDataRole.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignLeft if section == 0 else Qt.AlignmentFlag.AlignRight
                return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def _node(self, index: _AnyIndex) -> int:
        return index.internalId() if index.isValid() else 0


class _NameDelegate(QStyledItemDelegate):
    """Draws the swatch before a name and the sign behind it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._icons: dict[tuple[str, float], QIcon] = {}
        self._signs: dict[tuple[str, str], QIcon] = {}

    def forget(self) -> None:
        """Make the swatches and signs anew, as after another theme."""
        self._icons.clear()
        self._signs.clear()

    def initStyleOption(self, option: QStyleOptionViewItem, index: _AnyIndex) -> None:
        """Give the swatch its place."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideMiddle
        model = index.model()
        assert isinstance(model, CheckTreeModel)
        if model.face.hue(index.internalId()):
            option.features |= QStyleOptionViewItem.ViewItemFeature.HasDecoration
            option.decorationSize = QSize(SIZE, SIZE)
            option.icon = self._swatch(model.face.hue(index.internalId()), option)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _AnyIndex) -> None:
        """Draw the row, leaving room at its end for the signs."""
        model = index.model()
        assert isinstance(model, CheckTreeModel)
        signs = model.face.marks(index.internalId())
        if not signs:
            super().paint(painter, option, index)
            return
        whole = QRect(option.rect)
        behind = QStyleOptionViewItem(option)
        self.initStyleOption(behind, index)
        style = option.widget.style()
        style.drawPrimitive(QStyle.PrimitiveElement.PE_PanelItemViewItem, behind, painter, option.widget)
        behind.features &= ~QStyleOptionViewItem.ViewItemFeature.HasDecoration
        wanted = style.sizeFromContents(QStyle.ContentsType.CT_ItemViewItem, behind, QSize(), option.widget).width()
        narrow = QStyleOptionViewItem(option)
        signs = signs[: max(1, (whole.width() - _LEAST_NAME) // _MARK_WIDTH)]
        room = _MARK_WIDTH * len(signs)
        narrow.rect = whole.adjusted(0, 0, -room, 0)
        super().paint(painter, narrow, index)
        x = min(whole.left() + wanted + SIZE + 4, whole.right() - room + 2)
        top = whole.top() + (whole.height() - _MARK_SIZE) // 2
        for place, (name, token) in enumerate(signs):
            self._sign(name, token).paint(painter, QRect(x + place * _MARK_WIDTH, top, _MARK_SIZE, _MARK_SIZE))

    def _sign(self, name: str, token: str) -> QIcon:
        if (name, token) not in self._signs:
            self._signs[name, token] = icon(name, quiet=token, active=token)
        return self._signs[name, token]

    def _swatch(self, hue: str, option: QStyleOptionViewItem) -> QIcon:
        ratio = option.widget.devicePixelRatioF()
        if (hue, ratio) not in self._icons:
            self._icons[hue, ratio] = QIcon(swatch_pixmap(hue, ratio))
        return self._icons[hue, ratio]


class CheckTree(QTreeView):
    """Shows a `CheckTreeModel`.

    Signals
    -------
    tick_wanted(nodes)
        The boxes of these nodes were clicked, or Space was pressed on them; a list of int.
    only_wanted(nodes)
        The row was clicked with Alt held: nothing but these is wanted.
    chosen(nodes)
        The user selected other rows; a list of int.
    hovered(node)
        The mouse is over this node; 0 when over none.
    menu_wanted(node, place)
        The context menu of a node is wanted at a place on the screen; node 0 below all rows.
    columns_menu_wanted(column, place)
        The context menu of the header is wanted at a place on the screen.
    """

    tick_wanted = Signal(object)
    only_wanted = Signal(object)
    chosen = Signal(object)
    hovered = Signal(int)
    menu_wanted = Signal(int, QPoint)
    columns_menu_wanted = Signal(int, QPoint)

    def __init__(self, face: Face, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree_model = CheckTreeModel(face, self)
        self._hovered = 0
        self._lit: np.ndarray | None = None
        self._telling = True
        self._wide_columns: list[int] = []
        self.setModel(self.tree_model)
        self._names = _NameDelegate(self)
        self.setItemDelegateForColumn(0, self._names)
        self.setUniformRowHeights(True)
        self.setIndentation(14)
        self.setMouseTracking(True)
        self.setAllColumnsShowFocus(True)
        self.setExpandsOnDoubleClick(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu_wanted)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionsMovable(False)
        header.setSectionsClickable(True)
        header.setHighlightSections(False)
        header.setMinimumSectionSize(40)
        header.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(self._on_header_menu_wanted)
        self.selectionModel().selectionChanged.connect(self._on_selection_changed)
        appearance().changed.connect(self._on_appearance_changed)

    # -- what is shown --------------------------------------------------------------------------------------------------

    def set_face(self, face: Face, ticks: np.ndarray, *, expanded: set[str] | None = None) -> None:
        """Show another tree; what is selected, current and at the top stays so.

        Parameters
        ----------
        face : Face
        ticks : ndarray of int8, shape (nodes,)
        expanded : set of str, optional
            Paths of the nodes that are expanded; by default those that are.
        """
        model = self.tree_model
        expanded = self.expanded_paths() if expanded is None else expanded
        old = model.tree.paths
        top = self.indexAt(QPoint(1, 1))
        top_path, offset = (old[top.internalId()], self.visualRect(top).top()) if top.isValid() else ("", 0)
        scrolled = self.verticalScrollBar().value()
        current = self.currentIndex()
        current_path = old[current.internalId()] if current.isValid() else ""
        chosen = [old[index.internalId()] for index in self.selectionModel().selectedRows()]
        telling, self._telling = self._telling, False
        try:
            # A reset and not a change of layout: with rows gone, what Qt holds on to would point to nothing.
            model.set_face(face, ticks)
            self._lit = None
            node_of = {path: node for node, path in enumerate(face.tree.paths)}
            self._expand(node_of, expanded)
            self.choose([node_of[path] for path in chosen if path in node_of])
            if current_path in node_of:
                self.selectionModel().setCurrentIndex(
                    model.index_of(node_of[current_path]), QItemSelectionModel.SelectionFlag.NoUpdate
                )
        finally:
            self._telling = telling
        self._hovered = 0
        if scrolled:
            self.executeDelayedItemsLayout()
            bar = self.verticalScrollBar()
            bar.setValue(scrolled)
            if top_path in node_of:
                bar.setValue(bar.value() + self.visualRect(model.index_of(node_of[top_path])).top() - offset)
        if self.header().count() != len(self._wide_columns) + 1:
            self.fit_columns()

    def set_ticks(self, ticks: np.ndarray) -> None:
        """Show these boxes."""
        self.tree_model.set_ticks(ticks)
        self.viewport().update()

    def set_lit(self, lit: np.ndarray | None) -> None:
        """Draw these rows as selected, as when they were chosen elsewhere: thousands of scattered rows cost nothing.

        Parameters
        ----------
        lit : ndarray of bool, shape (nodes,), or None
        """
        self._lit = lit
        self.viewport().update()

    def fit_columns(self) -> None:
        """Give the values the room they need and the names the rest."""
        header, metrics = self.header(), self.fontMetrics()
        self._wide_columns = []
        for column in range(1, self.tree_model.columnCount()):
            title = header.fontMetrics().horizontalAdvance(
                self.tree_model.headerData(column, Qt.Orientation.Horizontal)
            )
            self._wide_columns.append(min(max(title + 17, metrics.horizontalAdvance("0.00000") + 16), 120))
        self._share_room()

    def expanded_paths(self) -> set[str]:
        """Give the paths of the nodes that are expanded."""
        model = self.tree_model
        parents = set(model.tree.parents[1:].tolist())
        return {model.tree.paths[node] for node in parents if node and self.isExpanded(model.index_of(node))}

    def _expand(self, node_of: dict[str, int], paths: set[str]) -> None:
        # With its layout put off, the tree only notes what is expanded, and lays out once.
        self.scheduleDelayedItemsLayout()
        for path in paths:
            node = node_of.get(path, 0)
            if node and len(self.tree_model.tree.children(node)):
                self.setExpanded(self.tree_model.index_of(node), True)

    def chosen_nodes(self) -> list[int]:
        """Give the nodes whose rows the user selected, from the top down; else those that are lit."""
        own = sorted({index.internalId() for index in self.selectionModel().selectedRows()})
        return own or ([] if self._lit is None else np.flatnonzero(self._lit).tolist())

    def choose(self, nodes: list[int]) -> None:
        """Select exactly these rows; nothing is told."""
        model = self.tree_model
        selection = QItemSelection()
        last = model.columnCount() - 1
        by_parent: dict[int, list[int]] = {}
        for node in nodes:
            if node:
                by_parent.setdefault(int(model.tree.parents[node]), []).append(int(model.tree.rows[node]))
        for parent, rows in by_parent.items():
            above = model.index_of(parent)
            for first, end in _ranges(sorted(rows)):
                selection.select(model.index(first, 0, above), model.index(end, last, above))
        telling, self._telling = self._telling, False
        try:
            self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        finally:
            self._telling = telling

    # -- hands ----------------------------------------------------------------------------------------------------------

    def drawRow(self, painter: QPainter, options: QStyleOptionViewItem, index: _AnyIndex) -> None:
        """Draw the ground of a row that is lit, then the row."""
        if self._lit is not None and self._lit[index.internalId()]:
            painter.fillRect(options.rect, colour("selection"))
        super().drawRow(painter, options, index)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Tick on the box, take only this with Alt; a box never changes the selection."""
        index = self.indexAt(event.position().toPoint())
        if event.button() == Qt.MouseButton.LeftButton and index.isValid():
            if event.modifiers() & Qt.KeyboardModifier.AltModifier:
                self.only_wanted.emit([index.internalId()])
                return
            if self._is_on_box(index, event.position().toPoint()):
                chosen = self.chosen_nodes()
                node = index.internalId()
                self.tick_wanted.emit(chosen if node in chosen and len(chosen) > 1 else [node])
                return
        super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Count a double click on a box as two clicks."""
        index = self.indexAt(event.position().toPoint())
        if index.isValid() and self._is_on_box(index, event.position().toPoint()):
            self.mousePressEvent(event)
        else:
            super().mouseDoubleClickEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Tick what is selected on Space."""
        if event.key() == Qt.Key.Key_Space and not event.modifiers():
            current = self.currentIndex()
            nodes = self.chosen_nodes() or ([current.internalId()] if current.isValid() else [])
            if nodes:
                self.tick_wanted.emit(nodes)
        else:
            super().keyPressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Tell which node the mouse is over."""
        super().mouseMoveEvent(event)
        index = self.indexAt(event.position().toPoint())
        self._tell_hovered(index.internalId() if index.isValid() else 0)

    def leaveEvent(self, event: QEvent) -> None:
        """Tell that the mouse is over nothing."""
        super().leaveEvent(event)
        self._tell_hovered(0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Share out the room."""
        super().resizeEvent(event)
        self._share_room()

    def box_rect(self, index: QModelIndex) -> QRect:
        """Give the place of a row's box in the viewport."""
        option = QStyleOptionViewItem()
        self.initViewItemOption(option)
        option.rect = self.visualRect(index)
        self._names.initStyleOption(option, index)
        return self.style().subElementRect(QStyle.SubElement.SE_ItemViewItemCheckIndicator, option, self)

    def _is_on_box(self, index: QModelIndex, place: QPoint) -> bool:
        return index.column() == 0 and self.box_rect(index).adjusted(-4, -4, 3, 4).contains(place)

    def _tell_hovered(self, node: int) -> None:
        if node != self._hovered:
            self._hovered = node
            self.hovered.emit(node)

    def _share_room(self) -> None:
        if len(self._wide_columns) != self.header().count() - 1:
            return
        room = self.viewport().width()
        name = max(room - sum(self._wide_columns), min(_NAME_WIDTH, int(room * 0.45)))
        self.header().resizeSection(0, name)
        for column, width in enumerate(self._wide_columns, start=1):
            self.header().resizeSection(column, width)

    def _on_selection_changed(self) -> None:
        if self._telling:
            self._lit = None
            self.chosen.emit(self.chosen_nodes())

    def _on_menu_wanted(self, place: QPoint) -> None:
        index = self.indexAt(place)
        self.menu_wanted.emit(index.internalId() if index.isValid() else 0, self.viewport().mapToGlobal(place))

    def _on_header_menu_wanted(self, place: QPoint) -> None:
        self.columns_menu_wanted.emit(self.header().logicalIndexAt(place), self.header().mapToGlobal(place))

    def _on_appearance_changed(self) -> None:
        self._names.forget()
        self.viewport().update()


def _ranges(rows: list[int]) -> list[tuple[int, int]]:
    """Give sorted numbers as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], row)
        else:
            ranges.append((row, row))
    return ranges
