"""The bar at the top of the window: menu, what is opened, asked and filtered, undo, what is followed, export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, SignalInstance
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QToolBar, QToolButton, QWidget

from .filter_line import FilterLine
from .theme import appearance, icon

if TYPE_CHECKING:
    from PySide6.QtGui import QAction
    from PySide6.QtWidgets import QMenu

    from .workspace import Workspace

_HISTORY = ("ph.arrow-u-up-left", "ph.arrow-u-up-right")


class MainToolBar(QToolBar):
    """What is always at hand; it is on screen before what it acts on is there.

    Attributes
    ----------
    ask_button : QPushButton
    filter_line : FilterLine

    Signals
    -------
    open_wanted(), ask_wanted(), export_wanted()
        A button was clicked.
    """

    open_wanted = Signal()
    ask_wanted = Signal()
    export_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Main", parent)
        self.setObjectName("main-tool-bar")
        self.setMovable(False)
        self._menu = QToolButton(self)
        self._menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu.setToolTip("Menu (Alt+M)")
        self._menu.setAccessibleName("Menu")
        self.addWidget(self._menu)
        title = QLabel("Runglass", self)
        title.setProperty("role", "title")
        self.addWidget(title)
        self._button("Open…", self.open_wanted)
        self.ask_button = self._button("Ask…  Ctrl K", self.ask_wanted)
        self.filter_line = FilterLine(self)
        self.addWidget(self.filter_line)
        self._history = [QToolButton(self) for _ in _HISTORY]
        for button, name in zip(self._history, _HISTORY, strict=True):
            button.setIcon(icon(name))
            button.setEnabled(False)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
            self.addWidget(button)
        spacer = QWidget(self)
        spacer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.addWidget(spacer)
        self._live = QLabel("", self)
        self._live.setProperty("role", "muted")
        self.addWidget(self._live)
        self._button("Export…", self.export_wanted, primary=True)
        appearance().changed.connect(self._on_appearance_changed)
        self._on_appearance_changed()

    def attach(self, workspace: Workspace, menu: QMenu, history: Sequence[QAction]) -> None:
        """Act on a workspace from now on.

        Parameters
        ----------
        workspace : Workspace
        menu : QMenu
            Opens from the button at the left.
        history : sequence of QAction
            Undo and redo.
        """
        self._menu.setMenu(menu)
        self._menu.setShortcut("Alt+M")
        for button, action in zip(self._history, history, strict=True):
            button.setDefaultAction(action)
        self.filter_line.attach(workspace)

    def _button(self, text: str, clicked: SignalInstance, *, primary: bool = False) -> QPushButton:
        button = QPushButton(text, self)
        if primary:
            button.setProperty("primary", True)
        button.clicked.connect(lambda _=False: clicked.emit())
        self.addWidget(button)
        return button

    def show_followed(self, count: int) -> None:
        """Say how many runs are being followed; nothing where none is."""
        self._live.setText(f"● following {count} run{'s' * (count != 1)}" if count else "")

    def _on_appearance_changed(self, *_: object) -> None:
        self._menu.setIcon(icon("ph.list"))
