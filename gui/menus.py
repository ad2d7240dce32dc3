"""The menus of the window, with the keys of every action."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QIcon, QKeySequence
from PySide6.QtWidgets import QMenu

from ..analysis import registry
from ..analysis.templates import templates
from ..models.plain_text import plain
from ..models.selection import EVERYTHING
from ..resources import DEFAULT_PALETTE, palettes
from .render.figure_view import FigureView
from .theme import appearance, icon
from .widgets.literal_tip import literal_tip
from .widgets.swatch import stripes_pixmap

if TYPE_CHECKING:
    from .main_window import MainWindow

_SIDES = (("runs", "Runs", "["), ("inspector", "Inspector", "]"), ("bottom", "Items and problems", "Ctrl+J"))
_CURSOR_STEPS = (("Left", -1), ("Right", 1), ("Shift+Left", -10), ("Shift+Right", 10))


class Menus(QObject):
    """One menu that holds all others, and the actions whose state follows the session.

    Parameters
    ----------
    window : MainWindow
        Whose actions these become, and who does what they say.

    Attributes
    ----------
    root : QMenu
        File, Edit, Ask, View, Help.
    undo, redo, keep, follow, health : QAction
        Enabled or checked by the window.
    """

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._icons: dict[QAction, str] = {}
        self.root = QMenu(window)
        self._build_file(self.root.addMenu("&File"))
        self._build_edit(self.root.addMenu("&Edit"))
        self._build_ask(self.root.addMenu("&Ask"))
        self._build_view(self.root.addMenu("&View"))
        self._build_help(self.root.addMenu("&Help"))
        appearance().changed.connect(self._on_appearance_changed)
        self._on_appearance_changed()

    def _action(self, text: str, slot: Callable[[], object], *keys: str, name: str = "") -> QAction:
        action = QAction(text, self._window)
        action.triggered.connect(lambda _=False: slot())
        if keys:
            action.setShortcuts([QKeySequence(key) for key in keys])
        if name:
            self._icons[action] = name
        self._window.addAction(action)
        return action

    def _build_file(self, menu: QMenu) -> None:
        files, exports, act = self._window.files, self._window.exports, self._action
        menu.addAction(act("Open folder…", files.choose_folder, "Ctrl+O"))
        menu.addAction(act("Open files…", files.choose_files, "Ctrl+Shift+O"))
        menu.addAction(act("Open an address…", files.choose_address, "Ctrl+L"))
        recent = menu.addMenu("Open recent")
        recent.aboutToShow.connect(partial(self._fill_recent, recent))
        menu.addAction(act("Open the demo", files.open_demo))
        menu.addSeparator()
        menu.addAction(act("Open session…", files.choose_session))
        menu.addAction(act("Save session", files.save, "Ctrl+S"))
        menu.addAction(act("Save session as…", files.save_as, "Ctrl+Shift+S"))
        menu.addSeparator()
        menu.addAction(act("Export figure…", self._window.export_current, "Ctrl+E", name="ph.export"))
        menu.addAction(act("Write a report…", self._window.write_report, "Ctrl+Shift+E"))
        menu.addAction(act("Copy figure", self._window.copy_current, "Ctrl+C"))
        menu.addAction(act("Export all tables…", exports.export_tables))
        menu.addSeparator()
        menu.addAction(act("Quit", self._window.close, "Ctrl+Q"))

    def _fill_recent(self, menu: QMenu) -> None:
        menu.clear()
        for path in self._window.files.recent:
            # An & in a menu stands for a letter that is underlined.
            menu.addAction(plain(path).replace("&", "&&"), partial(self._window.files.open, [path]))
        if menu.isEmpty():
            menu.addAction("Nothing was opened yet").setEnabled(False)

    def _build_edit(self, menu: QMenu) -> None:
        window, workspace, act = self._window, self._window.workspace, self._action
        self.undo = act("Undo", workspace.undo, "Ctrl+Z", name="ph.arrow-u-up-left")
        self.redo = act("Redo", workspace.redo, "Ctrl+Shift+Z", "Ctrl+Y", name="ph.arrow-u-up-right")
        menu.addActions([self.undo, self.redo])
        menu.addSeparator()
        self.keep = act("Keep only what is highlighted", workspace.keep_only_highlighted)
        menu.addAction(self.keep)
        menu.addAction(act("Clear second cursor, then highlight", window.clear, "Esc"))
        menu.addAction(act("Clear filter", lambda: workspace.change(filter=EVERYTHING)))
        menu.addSeparator()
        menu.addAction(act("Map columns…", window.map_columns))
        menu.addAction(act("Read text logs with a pattern…", window.add_text_pattern))
        menu.addSeparator()
        menu.addAction(act("Engine…", window.choose_engine))

    def _build_ask(self, menu: QMenu) -> None:
        menu.addAction(self._action("Find anything…", self._window.open_palette, "Ctrl+K"))
        menu.addAction(self._action("What can be asked?", self._window.show_questions, "Ctrl+Shift+K"))
        menu.addSeparator()
        # Titles are in the modules of the analyses, which are imported when the menu is first opened.
        menu.aboutToShow.connect(partial(self._fill_ask, menu, len(menu.actions())))

    def _fill_ask(self, menu: QMenu, always: int) -> None:
        if len(menu.actions()) > always:
            return
        families: dict[str, QMenu] = {}
        for analysis in registry.catalogue():
            if analysis.family not in families:
                families[analysis.family] = menu.addMenu(analysis.family)
            act = partial(self._window.add_analysis, analysis.id)
            families[analysis.family].addAction(analysis.title, act).setToolTip(analysis.asks)

    def _build_view(self, menu: QMenu) -> None:
        window, figures, act = self._window, self._window.figures, self._action
        menu.addAction(act("Find runs", window.runs.focus_filter, "/", "Ctrl+F"))
        menu.addAction(act("Reset view", figures.on_current(FigureView.reset), "Home"))
        menu.addAction(act("Log y", partial(window.toggle_curves, "log_y"), "L"))
        menu.addAction(act("Log x", partial(window.toggle_curves, "log_x")))
        menu.addAction(act("Pin the card", window.pin_current, "P"))
        menu.addAction(act("Pin a second cursor, or remove it", figures.on_pointed(FigureView.toggle_pin), "C"))
        menu.addAction(act("Sort the table at the cursor", figures.on_pointed(FigureView.sort_otherwise), "T"))
        menu.addAction(act("Look for new data", window.feed.refresh, "F5"))
        self.follow = act("Follow files that grow", window.toggle_follow)
        self.health = act("Look for spikes, divergence, restarts and plateaus", window.toggle_health)
        for action in (self.follow, self.health):
            action.setCheckable(True)
            menu.addAction(action)
        menu.addSeparator()
        for name, title, key in _SIDES:
            menu.addAction(act(f"{title} side bar", partial(window.toggle_side, name), key))
        menu.addAction(act("Full screen", window.toggle_full_screen, "F11"))
        menu.addSeparator()
        dashboards = menu.addMenu("Dashboard")
        dashboards.aboutToShow.connect(partial(self._fill_dashboards, dashboards))
        themes = menu.addMenu("Theme")
        for theme in ("system", "light", "dark"):
            themes.addAction(act(theme.capitalize(), partial(window.workspace.change, theme=theme)))
        colours = menu.addMenu("Palette")
        colours.aboutToShow.connect(partial(self._fill_palettes, colours))
        menu.addAction(act("Next pane", partial(window.cycle_focus, 1), "Ctrl+Tab"))
        menu.addAction(act("Previous pane", partial(window.cycle_focus, -1), "Ctrl+Shift+Tab"))
        menu.addAction(act("Close pane", window.close_current, "Ctrl+W"))
        menu.addAction(act("Curves", window.show_curves))
        for key, by in _CURSOR_STEPS:
            act(f"Step cursor {by:+d}", partial(figures.step_cursor, by), f"Ctrl+Alt+{key}")

    def _fill_dashboards(self, menu: QMenu) -> None:
        menu.clear()
        for one in templates():
            act = menu.addAction(one.title, partial(self._window.arrange_as, one))
            act.setToolTip(literal_tip(one.about))
            act.setEnabled(bool(one.answerable(self._window.workspace.now.kept)))
        menu.addSeparator()
        menu.addAction("Of a session file…", self._window.files.choose_layout)

    def _fill_palettes(self, menu: QMenu) -> None:
        menu.clear()
        on = self._window.workspace.session.palette or DEFAULT_PALETTE
        ratio = self._window.devicePixelRatioF()
        for one in palettes.palettes():
            act = menu.addAction(one.title, partial(self._window.colour_by, one.name))
            act.setIcon(QIcon(stripes_pixmap(one.colours[appearance().theme.name], ratio)))
            act.setToolTip(f"{one.about} {one.source}".strip())
            act.setCheckable(True)
            act.setChecked(one.name == on)

    def _build_help(self, menu: QMenu) -> None:
        window, act = self._window, self._action
        menu.addAction(act("Keyboard and mouse", window.show_help, "?", "F1"))
        menu.addAction(act("Guide", window.show_guide))
        menu.addAction(act("Look around", window.look_around))
        menu.addAction(act("How this is computed", window.explain_current, "F2"))
        menu.addAction(act("About Runglass", window.show_about))

    def _on_appearance_changed(self, *_: object) -> None:
        for action, name in self._icons.items():
            action.setIcon(icon(name))
