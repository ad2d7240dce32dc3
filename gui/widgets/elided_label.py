"""A line of text that gives up its middle, never its neighbours' place."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QStyle, QStyleOption, QWidget

from .literal_tip import literal_tip


class ElidedLabel(QLabel):
    """A label that cuts its text to the room there is; the whole text stands in the tooltip while it is cut.

    Parameters
    ----------
    text : str
        Shown as it is, never as markup.
    mode : Qt.TextElideMode
        Where it is cut.
    """

    def __init__(
        self,
        text: str = "",
        parent: QWidget | None = None,
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideMiddle,
    ) -> None:
        super().__init__(parent)
        self._mode = mode
        self._help = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setText(text)

    @property
    def shown(self) -> str:
        """The text as it is drawn now."""
        return self.fontMetrics().elidedText(self.text(), self._mode, max(self.contentsRect().width(), 0))

    @property
    def is_cut(self) -> bool:
        """Whether part of the text is left out."""
        return self.shown != self.text()

    def setText(self, text: str) -> None:
        """Take another text."""
        super().setText(text)
        self.setAccessibleName(text)
        self._explain()

    def set_help(self, text: str) -> None:
        """Take a tooltip for when the text is not cut; it follows the whole text when it is."""
        self._help = text
        self._explain()

    def minimumSizeHint(self) -> QSize:
        """Room for a few characters."""
        wanted = super().minimumSizeHint()
        return QSize(min(wanted.width(), self.fontMetrics().averageCharWidth() * 6), wanted.height())

    def sizeHint(self) -> QSize:
        """Room for the whole text."""
        margins = self.contentsMargins()
        width = self.fontMetrics().horizontalAdvance(self.text()) + margins.left() + margins.right() + 2
        return QSize(width, super().sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Say the whole text in the tooltip once it is cut."""
        super().resizeEvent(event)
        self._explain()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw what there is room for."""
        option = QStyleOption()
        option.initFrom(self)
        painter = QPainter(self)
        # The style sheet's background and border, then its colour of text, which the palette carries.
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_Widget, option, painter, self)
        self.style().drawItemText(
            painter,
            self.contentsRect(),
            int(self.alignment()),
            self.palette(),
            self.isEnabled(),
            self.shown,
            self.foregroundRole(),
        )

    def _explain(self) -> None:
        parts = [self.text()] if self.is_cut else []
        self.setToolTip(literal_tip("\n".join([*parts, *([self._help] if self._help else [])])))
