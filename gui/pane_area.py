"""The middle of the window: the panes of the session as docks, which can be split, tabbed and dragged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, Qt, Signal
from PySide6.QtWidgets import QDockWidget, QHBoxLayout, QMainWindow, QTabWidget, QToolButton, QWidget

from .widgets.elided_label import ElidedLabel
from .widgets.icon_button import IconButton
from .widgets.style_property import set_property

if TYPE_CHECKING:
    from ..models.session import Pane

PaneMaker = Callable[["Pane"], QWidget]


class _TitleBar(QWidget):
    """The handle of a pane: a muted name to drag it by, and buttons."""

    def __init__(self, dock: QDockWidget, buttons: list[QToolButton]) -> None:
        super().__init__(dock)
        self._dock = dock
        self.label = ElidedLabel(dock.windowTitle(), parent=self)
        self.label.setProperty("role", "title")
        self.note = ElidedLabel("", self, mode=Qt.TextElideMode.ElideRight)
        self.note.setProperty("role", "muted")
        self.setProperty("role", "pane-title")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 4, 6, 2)
        layout.setSpacing(8)
        layout.addWidget(self.label)
        layout.addWidget(self.note, 1)
        for button in buttons:
            button.setParent(self)
            layout.addWidget(button)


class _PaneDock(QDockWidget):
    """A dock that asks before it closes, because the session decides which panes there are."""

    close_wanted = Signal(str)
    export_wanted = Signal(str)

    def __init__(self, pane: Pane, content: QWidget, parent: QWidget) -> None:
        super().__init__(pane.heading, parent)
        self.key = pane.key
        self.setObjectName(f"pane:{pane.key}")
        self.setWidget(content)
        self.setFeatures(
            QDockWidget.DockWidgetFeature.DockWidgetMovable | QDockWidget.DockWidgetFeature.DockWidgetFloatable
        )
        buttons: list[QToolButton] = []
        for name, tip, signal in (
            ("ph.export", "Export this figure (Ctrl+E)", self.export_wanted),
            ("ph.x", "Close this pane (Ctrl+W)", self.close_wanted),
        ):
            button = IconButton(name, tip, self)
            button.clicked.connect(lambda _=False, signal=signal: signal.emit(self.key))
            buttons.append(button)
        self.title_bar = _TitleBar(self, buttons)
        self.setTitleBarWidget(self.title_bar)


class PaneArea(QMainWindow):
    """Docks for the panes of a session.

    Parameters
    ----------
    make : callable
        Gives the content of a new pane.
    leave : callable
        Called with the content of a pane that goes.

    Signals
    -------
    close_wanted(key), export_wanted(key)
        What the user asks of a pane.
    """

    close_wanted = Signal(str)
    export_wanted = Signal(str)

    def __init__(self, make: PaneMaker, leave: Callable[[QWidget], None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._make = make
        self._leave = leave
        self._docks: dict[str, _PaneDock] = {}
        self.setWindowFlags(Qt.WindowType.Widget)
        self.setDockOptions(
            QMainWindow.DockOption.AllowNestedDocks
            | QMainWindow.DockOption.AllowTabbedDocks
            | QMainWindow.DockOption.GroupedDragging
        )
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)

    def content(self, key: str) -> QWidget | None:
        """Give the content of a pane."""
        dock = self._docks.get(key)
        return dock.widget() if dock is not None else None

    def sync(self, panes: tuple[Pane, ...], focus: str) -> None:
        """Show these panes, one of them focused."""
        wanted = {pane.key for pane in panes}
        for key in [key for key in self._docks if key not in wanted]:
            dock = self._docks.pop(key)
            content = dock.widget()
            if content is not None:
                self._leave(content)
            if not dock.isFloating():
                # WORKAROUND: a dock taken out of a group of tabs leaves the bar of the tabs behind for good, but not one that
                # was moved elsewhere before.
                self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
            self.removeDockWidget(dock)
            dock.deleteLater()
        for pane in panes:
            if pane.key not in self._docks:
                self._add(pane)
        for key, dock in self._docks.items():
            self._mark(dock, focused=key == focus and len(self._docks) > 1)

    def set_title(self, key: str, title: str, note: str) -> None:
        """Show the title of a pane with one muted line beside it."""
        dock = self._docks.get(key)
        if dock is not None:
            dock.setWindowTitle(title)
            dock.title_bar.label.setText(title)
            dock.title_bar.note.setText(note)

    def raise_pane(self, key: str) -> None:
        """Bring a pane to the front of its tabs."""
        if key in self._docks:
            self._docks[key].raise_()

    def keys(self) -> tuple[str, ...]:
        """Give the keys of the panes."""
        return tuple(self._docks)

    def arrangement(self) -> str:
        """Give the arrangement of the docks as text, for a session."""
        return bytes(self.saveState().toBase64().data()).decode("ascii")

    def arrange(self, arrangement: str) -> None:
        """Take an arrangement that was saved; one that does not fit leaves things as they are."""
        if arrangement:
            self.restoreState(QByteArray.fromBase64(arrangement.encode("ascii", "ignore")))

    def _add(self, pane: Pane) -> None:
        content = self._make(pane)
        dock = _PaneDock(pane, content, self)
        dock.close_wanted.connect(self.close_wanted)
        dock.export_wanted.connect(self.export_wanted)
        there = [other for other in self._docks.values() if not other.isFloating()]
        self._docks[pane.key] = dock
        # Two columns that fill up in turn; a wide screen is used before anything is put behind something else.
        if not there:
            self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
        elif len(there) == 1:
            self.splitDockWidget(there[0], dock, Qt.Orientation.Horizontal)
        elif len(there) < 4:
            self.splitDockWidget(there[3 - len(there)], dock, Qt.Orientation.Vertical)
        else:
            self.tabifyDockWidget(there[len(there) % 3 + 1], dock)
        dock.show()
        self._share_room()
        if pane.kind == "curves" and len(self._docks) == 1:
            dock.setTitleBarWidget(QWidget(dock))  # the cards carry their own titles

    def _share_room(self) -> None:
        """Make the columns equally wide, and the panes of a column equally high."""
        docks = [dock for dock in self._docks.values() if not dock.isFloating()]
        for orientation in (Qt.Orientation.Horizontal, Qt.Orientation.Vertical):
            self.resizeDocks(docks, [100] * len(docks), orientation)

    def _mark(self, dock: _PaneDock, *, focused: bool) -> None:
        for part in (dock.widget(), dock.title_bar):
            set_property(part, "focused", focused)

    def key_of(self, widget: QWidget | None) -> str:
        """Give the key of the pane a widget is in; empty where it is in none."""
        while widget is not None:
            if isinstance(widget, _PaneDock):
                return widget.key
            widget = widget.parentWidget()
        return ""
