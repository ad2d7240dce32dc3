"""Rows of a list that say a title, a muted sentence below it, and a muted word at the right."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from ..theme import CAPTION, GRID, TEXT, appearance, font

TITLE, SENTENCE, ASIDE, IS_QUIET = (Qt.ItemDataRole.UserRole + 1 + place for place in range(4))
"""Roles an item keeps its texts under; the last says whether the whole row is muted."""

_SIDE, _ABOVE = 2 * GRID, GRID + 2


class TwoLineDelegate(QStyledItemDelegate):
    """Paints such rows, cut where they do not fit."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title, self._text = font(TEXT, bold=True), font(CAPTION + 0.5)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """Give room for both lines."""
        height = QFontMetrics(self._title).height() + QFontMetrics(self._text).height()
        return QSize(120, height + 2 * _ABOVE)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Paint a row."""
        theme = appearance().theme
        rect = option.rect
        state = option.state
        painter.save()
        if state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, QColor(theme.colour("selection")))
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(rect, QColor(theme.colour("grid")))
        inside = rect.adjusted(_SIDE, _ABOVE, -_SIDE, -_ABOVE)
        texts, metrics = QFontMetrics(self._text), QFontMetrics(self._title)
        muted, ink = QColor(theme.colour("muted")), QColor(theme.colour("ink"))
        aside = str(index.data(ASIDE) or "")
        painter.setFont(self._text)
        painter.setPen(muted)
        top = QRect(inside.x(), inside.y(), inside.width(), metrics.height())
        painter.drawText(top, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, aside)
        room = inside.width() - texts.horizontalAdvance(aside) - _SIDE
        painter.setFont(self._title)
        painter.setPen(muted if index.data(IS_QUIET) else ink)
        title = metrics.elidedText(str(index.data(TITLE)), Qt.TextElideMode.ElideRight, room)
        painter.drawText(top, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, title)
        painter.setFont(self._text)
        painter.setPen(muted)
        below = QRect(inside.x(), top.bottom() + 1, inside.width(), texts.height())
        sentence = texts.elidedText(str(index.data(SENTENCE)), Qt.TextElideMode.ElideRight, inside.width())
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, sentence)
        painter.restore()
