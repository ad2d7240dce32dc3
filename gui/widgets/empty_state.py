"""What stands where there is nothing to show: why, and what can be done about it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

_WIDEST = 420
"""Pixels of the longest line: longer ones read badly."""

_SIDE = 16


class EmptyState(QWidget):
    """One sentence, what to do about it in muted ink, and at most one button.

    Parameters
    ----------
    what : str
        The sentence.
    remedy : str
        A second, muted one.
    button : str
        Text of the button; none where empty.
    selectable : bool
        Whether the text can be selected and copied, as that of an error.

    Signals
    -------
    button_clicked()
        The user took the offer.
    """

    button_clicked = Signal()

    def __init__(
        self, what: str, remedy: str = "", *, button: str = "", selectable: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._what = QLabel(self)
        self._remedy = QLabel(self)
        self._remedy.setProperty("role", "muted")
        for label in (self._what, self._remedy):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setWordWrap(True)
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            if selectable:
                label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self._button = QPushButton(self)
        self._button.clicked.connect(self.button_clicked)
        # A label centred by alignment would take its narrowest width, so the lines are in a column of their own.
        column = QWidget(self)
        column.setMaximumWidth(_WIDEST)
        across = QHBoxLayout(self)
        across.setContentsMargins(_SIDE, 12, _SIDE, 12)
        across.setSpacing(0)
        across.addStretch(1)
        across.addWidget(column, 1000)
        across.addStretch(1)
        layout = QVBoxLayout(column)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addStretch(2)
        for label in (self._what, self._remedy):
            layout.addWidget(label)
        layout.addSpacing(8)
        layout.addWidget(self._button, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(3)
        self.set_content(what, remedy, button=button)

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(label.text() for label in (self._what, self._remedy) if label.text())

    @property
    def button(self) -> str:
        """What is offered; empty where nothing is."""
        return self._button.text()

    def set_content(self, what: str, remedy: str = "", *, button: str = "") -> None:
        """Say something else."""
        self._what.setText(what)
        self._remedy.setText(remedy)
        self._remedy.setVisible(bool(remedy))
        self._button.setText(button)
        self._button.setVisible(bool(button))
        self.setAccessibleName(self.text)
