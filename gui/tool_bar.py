"""The bar at the top of the window: menu, what is opened, asked and filtered, undo, what is followed, export."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, SignalInstance
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QLabel, QMenu, QPushButton, QSizePolicy, QToolBar, QToolButton, QWidget

from .filter_line import FilterLine
from .theme import appearance, icon
from .workspace import Workspace


class MainToolBar(QToolBar):
    """What is always at hand.

    Parameters
    ----------
    workspace : Workspace
    menu : QMenu
        Opens from the button at the left.
    history : sequence of QAction
        Undo and redo.

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

    def __init__(
        self, workspace: Workspace, menu: QMenu, history: Sequence[QAction], parent: QWidget | None = None
    ) -> None:
        super().__init__("Main", parent)
        self.setObjectName("main-tool-bar")
        self.setMovable(False)
        self._menu = QToolButton(self)
        self._menu.setMenu(menu)
        self._menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu.setToolTip("Menu (Alt+M)")
        self._menu.setAccessibleName("Menu")
        self._menu.setShortcut(QKeySequence("Alt+M"))
        self.addWidget(self._menu)
        name = QLabel("Runglass", self)
        name.setProperty("role", "title")
        self.addWidget(name)
        self._button("Open…", self.open_wanted)
        self.ask_button = self._button("Ask…  Ctrl K", self.ask_wanted)
        self.filter_line = FilterLine(workspace, self)
        self.addWidget(self.filter_line)
        for action in history:
            button = QToolButton(self)
            button.setDefaultAction(action)
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
