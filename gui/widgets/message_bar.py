"""One line that says what happened without stopping anyone."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton, QWidget

from ..theme import appearance, icon
from .elided_label import ElidedLabel
from .style_property import set_property

_SHOWN_MS = 8_000


class MessageBar(QFrame):
    """Shows messages one at a time: those that ask for nothing go by themselves, the others wait to be closed.

    Signals
    -------
    closed()
        No message is shown any more.
    """

    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("message-bar")
        self._act: Callable[[], object] | None = None
        self._text = ElidedLabel("", self, mode=Qt.TextElideMode.ElideRight)
        self._action = QPushButton(self)
        self._action.clicked.connect(self._on_action_clicked)
        self._close = QToolButton(self)
        self._close.setAutoRaise(True)
        self._close.setAccessibleName("Close the message")
        self._close.clicked.connect(self.dismiss)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 4, 8, 4)
        layout.setSpacing(8)
        layout.addWidget(self._text, 1)
        layout.addWidget(self._action)
        layout.addWidget(self._close)
        self._away = QTimer(self)
        self._away.setSingleShot(True)
        self._away.timeout.connect(self.dismiss)
        appearance().changed.connect(self._on_appearance_changed)
        self._on_appearance_changed()
        self.hide()

    @property
    def text(self) -> str:
        """The message that is shown; empty where none is."""
        return "" if self.isHidden() else self._text.text()

    def say(
        self,
        text: str,
        *,
        kind: str = "info",
        action: str = "",
        act: Callable[[], object] | None = None,
        for_ms: int | None = None,
    ) -> None:
        """Show a message in place of the one that is shown.

        Parameters
        ----------
        text : str
            One sentence.
        kind : {'info', 'bad'}
            Whether something went wrong.
        action : str
            Text of a button.
        act : callable
            What the button does; the message goes with it.
        for_ms : int, optional
            How long it stays; 0 until it is closed. By default 8 s, or until closed where something went wrong or is offered.
        """
        if for_ms is None:
            for_ms = 0 if action or kind == "bad" else _SHOWN_MS
        self._text.setText(text)
        set_property(self._text, "role", "bad" if kind == "bad" else "")
        self._act = act
        self._action.setText(action)
        self._action.setVisible(bool(action))
        self._away.stop()
        if for_ms:
            self._away.start(for_ms)
        self.show()

    def take_back(self, text: str) -> None:
        """Take a message away if it is the one that is shown."""
        if self.text == text:
            self.dismiss()

    def dismiss(self) -> None:
        """Take the message away."""
        self._away.stop()
        self._act = None
        if not self.isHidden():
            self.hide()
            self.closed.emit()

    def _on_action_clicked(self) -> None:
        act = self._act
        self.dismiss()
        if act is not None:
            act()

    def _on_appearance_changed(self) -> None:
        self._close.setIcon(icon("mdi6.close"))
