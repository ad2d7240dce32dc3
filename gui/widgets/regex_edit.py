"""A box for a regular expression that turns red, and says why, while what is typed is none."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QWidget

from ...models.bounded_search import compiled
from ...models.errors import ExpressionError
from .literal_tip import literal_tip
from .style_property import set_property

_QUIET_MS = 60


class RegexEdit(QLineEdit):
    """Edits a regular expression.

    Parameters
    ----------
    placeholder : str
        What it is for; also its accessible name.

    Signals
    -------
    pattern_changed(pattern)
        The user typed another pattern, valid or not, and paused for a moment.
    left()
        Escape was pressed in the empty box.
    """

    pattern_changed = Signal(str)
    left = Signal()

    def __init__(self, placeholder: str = "regex", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._help = "A regular expression, as in Python: a|b, seed_\\d+, ^val"
        self.setPlaceholderText(placeholder)
        self.setAccessibleName(placeholder)
        self.setClearButtonEnabled(True)
        self._told = ""
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_QUIET_MS)
        self._pause.timeout.connect(self._tell)
        self.textEdited.connect(self._on_self_edited)
        # The clear button edits without textEdited.
        self.textChanged.connect(self._on_self_changed)
        self._judge()

    @property
    def pattern(self) -> str:
        """What is typed."""
        return self.text()

    @property
    def error(self) -> str:
        """Why what is typed is no regular expression; empty where it is one."""
        try:
            if self.text():
                compiled(self.text())
        except ExpressionError as error:
            return f"{error.what} Nothing is filtered."
        return ""

    def set_pattern(self, pattern: str) -> None:
        """Show another pattern, as one that comes from elsewhere; nothing is told."""
        self._pause.stop()
        self._told = pattern
        if pattern != self.text():
            self.setText(pattern)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Tell at once on Return; empty the box on Escape, then leave it."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._tell()
        elif event.key() == Qt.Key.Key_Escape and self.text():
            self.clear()
        elif event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)

    def _on_self_edited(self) -> None:
        self._pause.start()

    def _on_self_changed(self) -> None:
        self._judge()
        if not self.text() and self._told:
            self._pause.start()

    def _tell(self) -> None:
        self._pause.stop()
        if self.text() != self._told:
            self._told = self.text()
            self.pattern_changed.emit(self._told)

    def _judge(self) -> None:
        error = self.error
        self.setToolTip(literal_tip(error or self._help))
        self.setAccessibleDescription(error)
        set_property(self, "invalid", bool(error))
