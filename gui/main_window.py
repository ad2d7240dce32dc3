"""The window: what stands where, and the actions of menus, tool bar and keyboard.

It joins panes that do not know one another. It decides nothing about data: gestures become changes of the session,
which everyone hears.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QAction, QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMainWindow,
    QMenu,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QTabWidget,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .. import __version__
from ..analysis import registry
from ..analysis.report.table_folder import export_tables
from ..analysis.session_questions import card_question
from ..analysis.templates import Template, broken_templates, lacking, templates
from ..models import session as sessions
from ..models.address import is_address
from ..models.errors import RunglassError
from ..models.progress import CancellableProgress
from ..models.result import counted
from ..models.selection import EVERYTHING, Clause, is_in
from ..models.session import Grouping, Pane, Session
from ..models.store import RunStore
from ..resources import demo_folder
from . import palette_entries
from .breadcrumbs import Breadcrumbs
from .feed import Feed
from .filter_line import FilterLine
from .guide import GuideDialog
from .health_watch import HealthWatch
from .help_dialog import HelpDialog
from .pane_area import PaneArea
from .panes.about import AboutAnalysis
from .panes.analysis import AnalysisPane
from .panes.base import Answer
from .panes.curves import CurvesPane, current_answer
from .panes.export import ExportDialog
from .panes.inspector import Inspector
from .panes.items import ItemsPane
from .panes.mapper import ColumnMapperDialog
from .panes.palette import Palette
from .panes.problems import ProblemsPane
from .panes.questions import QuestionsPane
from .panes.report import ReportDialog
from .panes.runs import RunsPane
from .panes.text_pattern import TextPatternDialog
from .render.figure_view import FigureView
from .settings import Settings
from .status import StatusBar
from .tasks import TaskRunner
from .theme import appearance, icon
from .tour import Step, Tour
from .widgets.empty_state import EmptyState
from .widgets.frame_table import FrameTable
from .widgets.message_bar import MessageBar
from .widgets.style_property import set_property
from .workspace import Workspace

_log = logging.getLogger(__name__)

_AUTOSAVE_MS = 2_000
_LAYOUT_VERSION = 1


class MainWindow(QMainWindow):
    """The main window of Runglass.

    Parameters
    ----------
    settings : Settings
        What is remembered between two starts.
    session : Session, optional
        What to show at first.
    """

    def __init__(self, settings: Settings, session: Session | None = None, *, autosave: Path | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._autosave = autosave
        self._session_path: Path | None = None
        self._is_closed = False
        self._has_questions = False
        self.tasks = TaskRunner(self)
        self.workspace = Workspace(session or Session(theme=settings.theme), RunStore(), self)  # type: ignore[arg-type]
        self.feed = Feed(self.workspace, self.tasks, self)
        self.health = HealthWatch(self.workspace, self.tasks, self)
        self.setWindowTitle("Runglass")
        self.setAcceptDrops(True)
        self.setDockOptions(QMainWindow.DockOption.AnimatedDocks)
        appearance().apply(self.workspace.session.theme)

        self._build_middle()
        self._build_sides()
        self._build_actions()
        self._build_tool_bar()
        self.status = StatusBar(self.workspace, self.tasks, self.feed, self)
        self.setStatusBar(self.status)
        self._connect()
        room = QGuiApplication.primaryScreen().availableGeometry().size()
        self.resize(min(1600, room.width()), min(1000, room.height()))
        if settings.geometry is not None:
            self.restoreGeometry(settings.geometry)
        side = min(max(self.width() // 5, 260), 320)
        sides = [self._docks["runs"], self._docks["inspector"]]
        self.resizeDocks(sides, [max(side - 20, 280), side], Qt.Orientation.Horizontal)
        self.resizeDocks([self._docks["bottom"]], [220], Qt.Orientation.Vertical)
        if settings.docks is not None:
            self.restoreState(settings.docks, _LAYOUT_VERSION)
        self._on_workspace_changed(frozenset(f.name for f in dataclasses.fields(Session)), None)
        self._on_data_changed()

    # -- building -------------------------------------------------------------------------------------------------------

    def _build_middle(self) -> None:
        self.area = PaneArea(self._make_pane, self._leave_pane, self)
        self._welcome = EmptyState(
            "Drop a folder of runs here, or open one.",
            "TensorBoard event files, CSV, JSON lines, trainer states, text logs, evaluation tables are found by themselves.",
            button="Open the demo",
            parent=self,
        )
        self._welcome.button_clicked.connect(self.open_demo)
        self._middle = QStackedWidget(self)
        self._middle.addWidget(self._welcome)
        self._middle.addWidget(self.area)
        self._messages = MessageBar(self)
        central = QWidget(self)
        layout = QVBoxLayout(central)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._messages)
        self.breadcrumbs = Breadcrumbs(self.workspace, central)
        layout.addWidget(self.breadcrumbs)
        layout.addWidget(self._middle, 1)
        self.setCentralWidget(central)

    def _build_sides(self) -> None:
        self.runs = RunsPane(self.workspace, self, health=self.health)
        self.inspector = Inspector(self.workspace, self)
        self.items = ItemsPane(self.workspace, self.tasks, self)
        self.problems = ProblemsPane(self.workspace, self)
        self._bottom = QTabWidget(self)
        self._bottom.setDocumentMode(True)
        self._bottom.addTab(self.items, "Items behind the selection")
        self._bottom.addTab(self.problems, "Problems")
        self._docks = {}
        for name, title, widget, place in (
            ("runs", "Runs", self.runs, Qt.DockWidgetArea.LeftDockWidgetArea),
            ("inspector", "Inspector", self.inspector, Qt.DockWidgetArea.RightDockWidgetArea),
            ("bottom", "Items and problems", self._bottom, Qt.DockWidgetArea.BottomDockWidgetArea),
        ):
            set_property(widget, "role", "side")
            widget.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
            dock = QDockWidget(title, self)
            dock.setObjectName(f"side:{name}")
            dock.setWidget(widget)
            dock.setTitleBarWidget(QWidget(dock))
            dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
            self.addDockWidget(place, dock)
            self._docks[name] = dock
        self.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        self._docks["bottom"].hide()

    def _action(self, text: str, slot: Callable[[], object], *keys: str, name: str = "") -> QAction:
        action = QAction(text, self)
        action.triggered.connect(lambda _=False: slot())
        if keys:
            action.setShortcuts([QKeySequence(key) for key in keys])
        if name:
            self._icons[action] = name
        self.addAction(action)
        return action

    def _build_actions(self) -> None:
        self._icons: dict[QAction, str] = {}
        bar = self._menus = QMenu(self)
        file = bar.addMenu("&File")
        file.addAction(self._action("Open folder…", self.choose_folder, "Ctrl+O"))
        file.addAction(self._action("Open files…", self.choose_files, "Ctrl+Shift+O"))
        file.addAction(self._action("Open an address…", self.choose_address, "Ctrl+L"))
        self._recent = QMenu("Open recent", self)
        self._recent.aboutToShow.connect(self._on_recent_about_to_show)
        file.addMenu(self._recent)
        file.addAction(self._action("Open the demo", self.open_demo))
        file.addSeparator()
        file.addAction(self._action("Open session…", self.choose_session))
        file.addAction(self._action("Save session", self.save_session, "Ctrl+S"))
        file.addAction(self._action("Save session as…", self.save_session_as, "Ctrl+Shift+S"))
        file.addSeparator()
        self._export = self._action("Export figure…", self.export_current, "Ctrl+E", name="ph.export")
        file.addAction(self._export)
        file.addAction(self._action("Write a report…", self.write_report, "Ctrl+Shift+E"))
        file.addAction(self._action("Copy figure", self.copy_current, "Ctrl+C"))
        file.addAction(self._action("Export all tables…", self.export_tables))
        file.addSeparator()
        file.addAction(self._action("Quit", self.close, "Ctrl+Q"))

        edit = bar.addMenu("&Edit")
        self._undo = self._action("Undo", self.workspace.undo, "Ctrl+Z", name="ph.arrow-u-up-left")
        self._redo = self._action("Redo", self.workspace.redo, "Ctrl+Shift+Z", "Ctrl+Y", name="ph.arrow-u-up-right")
        edit.addActions([self._undo, self._redo])
        edit.addSeparator()
        self._keep = self._action("Keep only what is highlighted", self.workspace.keep_only_highlighted)
        edit.addAction(self._keep)
        edit.addAction(self._action("Clear second cursor, then highlight", self.clear, "Esc"))
        edit.addAction(self._action("Clear filter", lambda: self.workspace.change(filter=EVERYTHING)))
        edit.addSeparator()
        edit.addAction(self._action("Map columns…", self.map_columns))
        edit.addAction(self._action("Read text logs with a pattern…", self.add_text_pattern))

        ask = bar.addMenu("&Ask")
        ask.addAction(self._action("Find anything…", self.open_palette, "Ctrl+K"))
        ask.addAction(self._action("What can be asked?", self.show_questions, "Ctrl+Shift+K"))
        ask.addSeparator()
        # Titles are in the modules of the analyses, which are imported when the menu is first opened.
        ask.aboutToShow.connect(partial(self._fill_ask_menu, ask, len(ask.actions())))

        view = bar.addMenu("&View")
        view.addAction(self._action("Find runs", self.runs.focus_filter, "/", "Ctrl+F"))
        view.addAction(self._action("Reset view", self._on_figure(lambda figure: figure.reset()), "Home"))
        view.addAction(self._action("Log y", lambda: self._toggle_curves("log_y"), "L"))
        view.addAction(self._action("Log x", lambda: self._toggle_curves("log_x")))
        view.addAction(self._action("Pin the card", self.pin_current, "P"))
        view.addAction(self._action("Pin a second cursor, or remove it", self._on_pointed(FigureView.toggle_pin), "C"))
        view.addAction(self._action("Sort the table at the cursor", self._on_pointed(FigureView.sort_otherwise), "T"))
        view.addAction(self._action("Look for new data", self.feed.refresh, "F5"))
        self._follow = self._action("Follow files that grow", self.toggle_follow)
        self._follow.setCheckable(True)
        view.addAction(self._follow)
        self._health = self._action("Look for spikes, divergence, restarts and plateaus", self.toggle_health)
        self._health.setCheckable(True)
        view.addAction(self._health)
        view.addSeparator()
        for name, title, key in (
            ("runs", "Runs", "["),
            ("inspector", "Inspector", "]"),
            ("bottom", "Items and problems", "Ctrl+J"),
        ):
            view.addAction(self._action(f"{title} side bar", partial(self._toggle_side, name), key))
        view.addAction(self._action("Full screen", self.toggle_full_screen, "F11"))
        view.addSeparator()
        dashboards = view.addMenu("Dashboard")
        dashboards.aboutToShow.connect(partial(self._fill_dashboards_menu, dashboards))
        themes = view.addMenu("Theme")
        for theme in ("system", "light", "dark"):
            themes.addAction(self._action(theme.capitalize(), partial(self.workspace.change, theme=theme)))
        view.addAction(self._action("Next pane", lambda: self._cycle_focus(1), "Ctrl+Tab"))
        view.addAction(self._action("Previous pane", lambda: self._cycle_focus(-1), "Ctrl+Shift+Tab"))
        view.addAction(self._action("Close pane", self.close_current, "Ctrl+W"))
        view.addAction(self._action("Curves", self.show_curves))
        for key, by in (("Left", -1), ("Right", 1), ("Shift+Left", -10), ("Shift+Right", 10)):
            self._action(f"Step cursor {by:+d}", partial(self._step_cursor, by), f"Ctrl+Alt+{key}")

        help_menu = bar.addMenu("&Help")
        help_menu.addAction(self._action("Keyboard and mouse", self.show_help, "?", "F1"))
        help_menu.addAction(self._action("Guide", self.show_guide))
        help_menu.addAction(self._action("Look around", self.look_around))
        help_menu.addAction(self._action("How this is computed", self.explain_current, "F2"))
        help_menu.addAction(self._action("About Runglass", self.show_about))

    def _build_tool_bar(self) -> None:
        bar = QToolBar("Main", self)
        bar.setObjectName("main-tool-bar")
        bar.setMovable(False)
        menu = QToolButton(bar)
        menu.setMenu(self._menus)
        menu.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu.setToolTip("Menu (Alt+M)")
        menu.setAccessibleName("Menu")
        menu.setShortcut(QKeySequence("Alt+M"))
        self._menu_button = menu
        bar.addWidget(menu)
        name = QLabel("Runglass", bar)
        name.setProperty("role", "title")
        bar.addWidget(name)
        open_button = QPushButton("Open…", bar)
        open_button.clicked.connect(self.choose_folder)
        bar.addWidget(open_button)
        self._ask_button = QPushButton("Ask…  Ctrl K", bar)
        self._ask_button.clicked.connect(self.open_palette)
        bar.addWidget(self._ask_button)
        self.filter_line = FilterLine(self.workspace, bar)
        bar.addWidget(self.filter_line)
        for action in (self._undo, self._redo):
            button = QToolButton(bar)
            button.setDefaultAction(action)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
            bar.addWidget(button)
        spacer = QWidget(bar)
        spacer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        bar.addWidget(spacer)
        self._live = QLabel("", bar)
        self._live.setProperty("role", "muted")
        bar.addWidget(self._live)
        export_button = QPushButton("Export…", bar)
        export_button.setProperty("primary", True)
        export_button.clicked.connect(self.export_current)
        bar.addWidget(export_button)
        self.addToolBar(bar)

    def _connect(self) -> None:
        self.workspace.changed.connect(self._on_workspace_changed)
        self.workspace.data_changed.connect(self._on_data_changed)
        self.workspace.history_changed.connect(self._on_history_changed)
        self.status.problems_wanted.connect(self.show_problems)
        self.feed.loaded.connect(self._prepare_questions)
        self.feed.loaded.connect(self._offer_questions)
        self.feed.failed.connect(lambda message: self._messages.say(message, kind="bad"))
        self.feed.live_changed.connect(self._on_feed_live_changed)
        self.runs.run_hovered.connect(self._on_run_hovered)
        self.runs.compare_wanted.connect(self.compare_runs)
        self.problems.counted.connect(self._on_problems_counted)
        self._on_problems_counted(self.problems.count)
        self.items.said.connect(self._messages.say)
        self.problems.map_wanted.connect(self.map_columns)
        self.area.close_wanted.connect(self.workspace.close_pane)
        self.area.export_wanted.connect(self._export_pane)
        appearance().changed.connect(self._restyle)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._on_focus_changed)
        self._save_timer = QTimer(self)
        self._save_timer.setSingleShot(True)
        self._save_timer.setInterval(_AUTOSAVE_MS)
        self._save_timer.timeout.connect(self._on_save_timer_timeout)
        self._restyle()
        self._on_history_changed()

    # -- panes ----------------------------------------------------------------------------------------------------------

    def _make_pane(self, pane: Pane) -> QWidget:
        if pane.kind == "curves":
            curves = CurvesPane(self.workspace, self.tasks, self)
            curves.export_wanted.connect(self.export)
            curves.enlarge_wanted.connect(self._on_enlarge_wanted)
            curves.ask_wanted.connect(self.open_palette)
            curves.map_wanted.connect(self.map_columns)
            return curves
        if pane.kind == "questions":
            questions = QuestionsPane(self.workspace, self)
            questions.chosen.connect(self.add_analysis)
            questions.map_wanted.connect(self.map_columns)
            return questions
        content = AnalysisPane(self.workspace, self.tasks, pane.key, self)
        content.answered.connect(lambda answer: self._on_pane_answered(pane.key, answer))
        content.map_wanted.connect(self.map_columns)
        content.refresh()
        return content

    def _leave_pane(self, content: QWidget) -> None:
        if isinstance(content, CurvesPane | AnalysisPane):
            content.leave()

    def _on_pane_answered(self, key: str, answer: Answer | None) -> None:
        self.inspector.set_answer(key, answer)
        if answer is not None:
            self.area.set_title(key, answer.figure.title or answer.analysis.title, answer.figure.subtitle)

    def _on_enlarge_wanted(self, identifier: str, options: dict[str, Any]) -> None:
        key = self.workspace.free_key(f"{identifier}:{options['tag']}")
        self.workspace.add_pane(Pane(key, "analysis", identifier, options, str(options["tag"])))

    def add_analysis(self, identifier: str) -> None:
        """Open a pane that asks a question with the options the data suggest."""
        analysis = registry.analysis(identifier)
        self.workspace.add_pane(Pane(self.workspace.free_key(identifier), "analysis", identifier, {}, analysis.title))
        self.area.raise_pane(self.workspace.session.focus)

    def _offer_questions(self) -> None:
        """Show what can be asked in place of empty curves, where tables were opened that hold none."""
        now = self.workspace.now
        if self.workspace.can_undo or now.session.panes != Session().panes:
            return  # the user has begun to arrange things
        if any(run.curves for run in now.all.runs.values()):
            return
        if any(now.all.has_rows(name) for name in ("scores", "predictions", "comparisons")):
            pane = Pane("questions", "questions")
            self.workspace.replace(dataclasses.replace(now.session, panes=(pane,), focus=pane.key))

    def _prepare_questions(self) -> None:
        """Import the analyses beside the window, so that it need not wait for them when they are first listed."""

        def work(progress: CancellableProgress) -> list[str]:
            broken = broken_templates()
            identifiers = registry.ids()
            for number, identifier in enumerate(identifiers):
                progress(number, len(identifiers))
                try:
                    registry.analysis(identifier)
                except RunglassError as error:  # one of a third party
                    broken.append(str(error))
            return broken

        def say(broken: list[str]) -> None:
            if broken:
                self._messages.say(" ".join(broken), kind="bad")

        if not self._has_questions:
            self._has_questions = True
            self.tasks.start("questions", "Preparing questions", work, say, lambda error: say([str(error)]))

    def open_palette(self) -> None:
        """Let the user find a question, dashboard, tag, run, pane or action by typing."""
        store = self.workspace.now.kept
        entries = [
            *palette_entries.question_entries(store, self.add_analysis),
            *palette_entries.dashboard_entries(store, self.arrange_as),
            *palette_entries.tag_entries(store, self.show_tag),
            *palette_entries.run_entries(store, self.show_run),
            *palette_entries.pane_entries(self.workspace.session, self._title_of, self.show_pane),
            *palette_entries.action_entries(self.actions()),
        ]
        dialog = Palette(entries, palette_entries.KINDS, self)
        dialog.exec()
        dialog.deleteLater()

    def _title_of(self, pane: Pane) -> str:
        return pane.title or (registry.analysis(pane.analysis).title if pane.kind == "analysis" else pane.heading)

    def show_tag(self, tag: str) -> None:
        """Open the curves of a tag in a pane of their own: those of the ticked runs, or of all where none of them has it."""
        now = self.workspace.now
        having = tuple(key for key, run in now.kept.kept_runs.items() if tag in run.curves)
        runs = tuple(key for key in now.ticked if key in having) or having
        self._on_enlarge_wanted(*card_question(tag, now.session, runs))

    def show_run(self, key: str) -> None:
        """Highlight a run everywhere, and show its curves where they are not shown."""
        if key not in self.workspace.now.ticked:
            self.runs.tick([key], True)
        self.workspace.highlight(is_in("run", [key]))

    def show_pane(self, key: str) -> None:
        """Bring a pane to the front."""
        self.workspace.change(focus=key)
        self.area.raise_pane(key)

    def arrange_as(self, template: Template) -> None:
        """Show the panes of a template that the open data can answer; what else was decided stays."""
        panes = template.answerable(self.workspace.now.kept)
        if not panes:
            said = "; ".join(sorted({lacking(pane, self.workspace.now.kept) for pane in template.session.panes}))
            self._messages.say(f"{template.title} has nothing to show: it {said}.")
            return
        left_out = len(template.session.panes) - len(panes)
        self.workspace.change(panes=panes, focus=panes[0].key)
        note = f", without {counted(left_out, 'pane')} that the open data cannot answer" if left_out else ""
        self.statusBar().showMessage(f"{template.title}{note}. Ctrl+Z goes back.", 8_000)

    def _fill_ask_menu(self, menu: QMenu, always: int) -> None:
        if len(menu.actions()) > always:
            return
        families: dict[str, QMenu] = {}
        for analysis in registry.catalogue():
            if analysis.family not in families:
                families[analysis.family] = menu.addMenu(analysis.family)
            act = families[analysis.family].addAction(analysis.title, partial(self.add_analysis, analysis.id))
            act.setToolTip(analysis.asks)

    def _fill_dashboards_menu(self, menu: QMenu) -> None:
        menu.clear()
        for one in templates():
            act = menu.addAction(one.title, partial(self.arrange_as, one))
            act.setToolTip(one.about)
            act.setEnabled(bool(one.answerable(self.workspace.now.kept)))
        menu.addSeparator()
        menu.addAction("Of a session file…", self.choose_layout)

    def compare_runs(self, keys: Sequence[str]) -> None:
        """Open a pane with the settings of some runs side by side."""
        question = {"runs": list(keys)}
        key = self.workspace.free_key("runs.compare")
        self.workspace.add_pane(
            Pane(key, "analysis", "runs.compare", question, registry.analysis("runs.compare").title)
        )
        self.area.raise_pane(key)

    def show_questions(self) -> None:
        """Show what can be asked of the open data."""
        if self.workspace.pane("questions") is None:
            self.workspace.add_pane(Pane("questions", "questions"))
        self.show_pane("questions")

    def show_curves(self) -> None:
        """Show the learning curves, opening their pane where it was closed."""
        if self.workspace.pane("curves") is None:
            self.workspace.add_pane(Pane("curves", "curves"))
        self.area.raise_pane("curves")

    def close_current(self) -> None:
        """Close the focused pane."""
        self.workspace.close_pane(self.workspace.session.focus)

    def pin_current(self) -> None:
        """Pin the card the user touched last, or let it go."""
        content = self.area.content("curves")
        if isinstance(content, CurvesPane) and content.current is not None:
            content.toggle_pin(content.current.tag)

    def _cycle_focus(self, by: int) -> None:
        keys = [pane.key for pane in self.workspace.session.panes]
        if keys:
            at = keys.index(self.workspace.session.focus) if self.workspace.session.focus in keys else 0
            self.workspace.change(focus=keys[(at + by) % len(keys)])
            self.area.raise_pane(self.workspace.session.focus)

    def current_answer(self) -> Answer | None:
        """Give what the focused pane shows, as it is on screen; of the cards, the one touched last."""
        content = self.area.content(self.workspace.session.focus)
        if isinstance(content, CurvesPane):
            return current_answer(content)
        return content.shown if isinstance(content, AnalysisPane) else None

    def _figure(self) -> Any:
        content = self.area.content(self.workspace.session.focus)
        if isinstance(content, CurvesPane):
            return content.current.view.figure_view if content.current is not None else None
        return content.view.figure_view if isinstance(content, AnalysisPane) else None

    def _on_figure(self, act: Callable[[Any], object]) -> Callable[[], object]:
        def acted() -> object:
            figure = self._figure()
            return act(figure) if figure is not None else None

        return acted

    def _figures(self) -> list[FigureView]:
        """Give the figures of all panes."""
        contents = [self.area.content(pane.key) for pane in self.workspace.session.panes]
        cards = [card.view for content in contents if isinstance(content, CurvesPane) for card in content.cards]
        views = [*cards, *(content.view for content in contents if isinstance(content, AnalysisPane))]
        return [view.figure_view for view in views]

    def _on_pointed(self, act: Callable[[FigureView], object]) -> Callable[[], object]:
        """Give what acts on the figure under the mouse, else on that of the focused pane."""

        def acted() -> object:
            figure = next((one for one in self._figures() if one.is_pointed_at), None) or self._figure()
            return act(figure) if figure is not None else None

        return acted

    def _step_cursor(self, by: int) -> None:
        figure = self._figure()
        if figure is not None:
            figure.move_cursor(by)

    def _toggle_curves(self, name: str) -> None:
        pane = self.workspace.pane(self.workspace.session.focus)
        if pane is not None and pane.kind == "analysis":
            options = {one.name: one.default for one in registry.analysis(pane.analysis).question.options()}
            if name in options:
                now = pane.question.get(name, options[name])
                self.workspace.change_question(pane.key, **{name: not now})
            return
        curves = self.workspace.session.curves
        toggled: Any = {name: not getattr(curves, name)}
        self.workspace.change(curves=dataclasses.replace(curves, **toggled))
        self.inspector.refresh()

    # -- opening and saving ---------------------------------------------------------------------------------------------

    def open(self, roots: Sequence[str], *, beside: bool = False) -> None:
        """Open folders, files, patterns or addresses; a session file is opened as one.

        Parameters
        ----------
        beside : bool
            Whether what is open already is among them, so that what was said of it holds on.
        """
        if len(roots) == 1 and roots[0].endswith(".runglass.json"):
            self.open_session(Path(roots[0]))
            return
        absolute = tuple(root if is_address(root) else str(Path(root).absolute()) for root in roots)
        if not set(self.workspace.session.roots) <= set(absolute):
            self._session_path = None  # saving asks where to: the session file tells of other data
        for root in absolute:
            self._settings.add_recent(root)
        if beside:
            # No step to undo: the data that is open would not go with it.
            self.workspace.replace(dataclasses.replace(self.workspace.session, roots=absolute))
            self.feed.open(absolute)
            return
        # Panes and how curves are drawn stay; what was said of the data before does not fit other data.
        self.workspace.replace(
            dataclasses.replace(
                self.workspace.session,
                roots=absolute,
                maps=self.workspace.session.maps or self._settings.column_maps,
                ticked=None,
                highlight=None,
                filter=EVERYTHING,
                run_filter="",
                run_events=(),
                run_notes=(),
                grouping=Grouping(),
            )
        )
        self.feed.open(absolute)

    def open_demo(self) -> None:
        """Open the bundled sample project, arranged so that each pane has something to say."""
        self.open_session(demo_folder() / "demo.runglass.json")
        self._session_path = None  # saving it asks where to: what is shipped stays as it is

    def open_session(self, path: Path) -> None:
        """Open a session file with the data it names."""
        try:
            session = sessions.load(path)
        except RunglassError as error:
            self._messages.say(str(error), kind="bad")
            return
        self._session_path = path
        if session.theme == "system":
            session = dataclasses.replace(session, theme=self.workspace.session.theme)
        self.workspace.replace(self._with_askable_panes(session))
        self.area.arrange(session.layout)
        self.feed.open(session.roots)

    def _with_askable_panes(self, session: Session) -> Session:
        """Give a session that was read without panes whose question this Runglass does not know, and say so."""
        panes = []
        for pane in session.panes:
            try:
                if pane.kind == "analysis":
                    registry.analysis(pane.analysis).question.from_json(dict(pane.question))
            except RunglassError as error:
                self._messages.say(f"The pane {pane.title or pane.key!r} was left out: {error}", kind="bad")
            else:
                panes.append(pane)
        return dataclasses.replace(session, panes=tuple(panes))

    def offer_tour(self) -> None:
        """Offer to be shown around, to who has never been."""
        if not self._settings.has_seen_tour:
            self._messages.say("New here?", action="Look around (three steps)", act=self.look_around)
            self._settings.has_seen_tour = True  # offered once; Help has it from then on

    def offer_last_session(self) -> None:
        """Offer what was open when the window was last closed, or when it crashed."""
        if self._autosave is None or not self._autosave.is_file():
            return
        try:
            last = sessions.load(self._autosave)
        except RunglassError as error:
            # What is open next is kept under the same name, so that this file would be lost.
            kept = self._autosave.with_suffix(".damaged.json")
            with contextlib.suppress(OSError):
                os.replace(self._autosave, kept)
                self._messages.say(
                    f"Last time's session cannot be opened: {error.what} It is kept as {kept}.", kind="bad"
                )
            return
        if last.roots:
            names = ", ".join(Path(root).name for root in last.roots[:3])
            self._messages.say(
                f"Last time you looked at {names}.", action="Continue", act=partial(self._continue, self._autosave)
            )

    def _continue(self, autosave: Path) -> None:
        self.open_session(autosave)
        self._session_path = None  # saving asks where to

    def apply_layout(self, path: Path) -> None:
        """Take panes, options and arrangement of a session file, but not its data."""
        try:
            layout = self._with_askable_panes(sessions.load(path))
        except RunglassError as error:
            self._messages.say(str(error), kind="bad")
            return
        kept = {
            name: getattr(layout, name)
            for name in ("panes", "focus", "curves", "grouping", "run_columns", "maps", "theme")
        }
        self.workspace.replace(dataclasses.replace(self.workspace.session, **kept))
        self.area.arrange(layout.layout)

    def choose_layout(self) -> None:
        """Let the user choose a session file whose panes are shown on what is open."""
        path, _ = QFileDialog.getOpenFileName(
            self, "Arrange as in a session", self._start_folder(), "Sessions (*.runglass.json)"
        )
        if path:
            self.apply_layout(Path(path))

    def choose_folder(self) -> None:
        """Let the user choose a folder to open."""
        folder = QFileDialog.getExistingDirectory(self, "Open a folder of runs", self._start_folder())
        if folder:
            self.open([folder])

    def choose_files(self) -> None:
        """Let the user choose files to open."""
        files, _ = QFileDialog.getOpenFileNames(self, "Open logs or tables", self._start_folder())
        if files:
            self.open(files)

    def choose_address(self) -> None:
        """Let the user type an address, or choose one that was opened before."""
        before = ["", *(one for one in self._settings.recent if is_address(one))]
        label = "Folder, file or pattern elsewhere, such as s3://bucket/runs or sftp://host/path:"
        address, accepted = QInputDialog.getItem(self, "Open an address", label, before, 0, True)
        address = address.strip()
        if not accepted or not address:
            return
        if is_address(address):
            self.open([address])
        else:
            self._messages.say(f"{address} has no protocol: write s3://{address}, sftp://{address} or the like.")

    def choose_session(self) -> None:
        """Let the user choose a session file."""
        path, _ = QFileDialog.getOpenFileName(
            self, "Open a session", self._start_folder(), "Sessions (*.runglass.json)"
        )
        if path:
            self.open_session(Path(path))

    def save_session(self) -> None:
        """Save the session where it came from."""
        if self._session_path is None:
            self.save_session_as()
        else:
            self._save_to(self._session_path)

    def save_session_as(self) -> None:
        """Let the user choose where to save the session."""
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Save the session",
            str(Path(self._start_folder()) / "analysis.runglass.json"),
            "Sessions (*.runglass.json)",
        )
        if path:
            if not path.endswith(".runglass.json"):
                path += ".runglass.json"
            self._session_path = Path(path)
            self._save_to(self._session_path)

    def _save_to(self, path: Path) -> None:
        try:
            sessions.save(dataclasses.replace(self.workspace.session, layout=self.area.arrangement()), path)
        except RunglassError as error:
            self._messages.say(str(error), kind="bad")
        else:
            self.statusBar().showMessage(f"Saved {path.name}.", 4_000)

    def _start_folder(self) -> str:
        recent = [path for path in self._settings.recent if not is_address(path)]
        return str(Path(recent[0]).parent) if recent else str(Path.home())

    def _on_recent_about_to_show(self) -> None:
        self._recent.clear()
        for path in self._settings.recent:
            self._recent.addAction(path, partial(self.open, [path]))
        if self._recent.isEmpty():
            self._recent.addAction("Nothing was opened yet").setEnabled(False)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped beside what is open."""
        dropped = [url.toLocalFile() or url.toString() for url in event.mimeData().urls()]
        if not dropped:
            return
        event.acceptProposedAction()
        before = [root for root in self.workspace.session.roots if root not in dropped]
        is_session = any(root.endswith(".runglass.json") for root in dropped)
        if is_session or not before:
            self.open(dropped)
        else:
            self.open([*before, *dropped], beside=True)
        if before and not is_session:
            names = ", ".join(Path(root).name for root in dropped)
            self._messages.say(f"Added {names}.", action="Show only this", act=partial(self.open, dropped))

    # -- exporting ------------------------------------------------------------------------------------------------------

    def export(self, answer: Answer | None) -> None:
        """Let the user export a figure."""
        if answer is None:
            self._messages.say("There is no figure to export yet: click a card or pane that shows one.")
            return
        dialog = ExportDialog(answer, self.tasks, Path(self._start_folder()), self)
        dialog.exported.connect(lambda folder: self.statusBar().showMessage(f"Exported to {folder}.", 6_000))
        dialog.exec()
        dialog.deleteLater()

    def export_current(self) -> None:
        """Export the figure of the focused pane."""
        self.export(self.current_answer())

    def write_report(self) -> None:
        """Let the user put panes and words together and write them as a report."""
        if not self.workspace.session.roots:
            self._messages.say("There is nothing to report on yet: open runs or tables first.")
            return
        told = (pane for pane in self.workspace.session.panes if pane.kind != "questions")
        titles = {pane.key: self._title_of(pane) for pane in told}
        folder = Path(self._start_folder()) / "report"
        dialog = ReportDialog(self.workspace, self.tasks, titles, self.feed.files, folder, self)
        dialog.written.connect(lambda page: self.statusBar().showMessage(f"Wrote {page}.", 6_000))
        dialog.exec()
        dialog.deleteLater()

    def export_tables(self) -> None:
        """Let the user write all tables to a new folder, which opens as the same runs."""
        store = self.workspace.now.kept
        if not any(map(store.has_rows, ("runs", "scores", "predictions", "comparisons"))):
            self._messages.say("There is nothing to export yet: open a folder of runs first.")
            return
        start = str(Path(self._start_folder()) / "runglass-tables")
        chosen, _ = QFileDialog.getSaveFileName(self, "Export all tables to a new folder", start)
        if not chosen:
            return
        folder = Path(chosen)

        def done(rows: Any) -> None:
            self.statusBar().showMessage(f"Exported {counted(len(rows), 'table')} to {folder}.", 6_000)

        def failed(error: Exception) -> None:
            self._messages.say(str(error), kind="bad")

        self.tasks.start(
            "tables", f"Writing {folder.name}", lambda progress: export_tables(store, folder, progress), done, failed
        )

    def _export_pane(self, key: str) -> None:
        self.workspace.change(focus=key)
        self.export_current()

    def copy_current(self) -> None:
        """Copy the figure of the focused pane to the clipboard."""
        figure = self._figure()
        focused = QApplication.focusWidget()
        is_text = isinstance(focused, QLineEdit) and focused.hasSelectedText()
        is_table = isinstance(focused, FrameTable) and len(focused.selected_positions) > 0
        if is_text or is_table:
            focused.copy()  # type: ignore[union-attr]
        elif figure is not None:
            QGuiApplication.clipboard().setImage(figure.grab_image(2.0))
            self.statusBar().showMessage("Copied the figure.", 3_000)

    # -- columns and patterns -------------------------------------------------------------------------------------------

    def map_columns(self, source: str = "") -> None:
        """Let the user say what the columns of a table mean."""
        sources = [source] if source else [rows.source for rows in self.workspace.now.kept.untyped]
        sources = sources or list(self.workspace.now.all.sources)
        if not sources:
            self._messages.say("There is no table open whose columns could be mapped.")
            return
        before = self.workspace.session.maps
        dialog = ColumnMapperDialog(self.workspace, sources[0], self)
        dialog.exec()
        dialog.deleteLater()
        now = self.workspace.session.maps
        if now != before:
            patterns = {one.pattern for one in (*before, *now)}
            others = tuple(one for one in self._settings.column_maps if one.pattern not in patterns)
            self._settings.column_maps = (*others, *now)

    def add_text_pattern(self) -> None:
        """Let the user say with a regular expression how text logs are read; what is open is then read anew."""
        dialog = TextPatternDialog(self.workspace, self)
        if dialog.exec() == TextPatternDialog.DialogCode.Accepted and self.workspace.session.roots:
            self.feed.open(self.workspace.session.roots)
        dialog.deleteLater()

    # -- what changed ---------------------------------------------------------------------------------------------------

    def _on_workspace_changed(self, fields: frozenset[str], origin: object) -> None:
        session = self.workspace.session
        if "theme" in fields:
            appearance().apply(session.theme)
            self._settings.theme = session.theme
        if fields & {"panes", "focus"}:
            self.area.sync(session.panes, session.focus)
        if "follow" in fields:
            self._follow.setChecked(session.follow)
            self.feed.follow(session.follow)
        if "health" in fields:
            self._health.setChecked(session.health)
        if fields & {"highlight", "filter", "ticked"}:
            self.workspace.hover(None)
        if "highlight" in fields:
            self._show_items_of(session.highlight)
        self._save_timer.start()

    def _on_data_changed(self) -> None:
        self._middle.setCurrentWidget(self.area if self.workspace.session.roots else self._welcome)

    def _show_items_of(self, highlight: Clause | None) -> None:
        """Open the items pane for a highlight that speaks of items."""
        self._keep.setEnabled(highlight is not None)
        if highlight is None or self._docks["bottom"].isVisible():
            return
        if highlight.columns & {"item", "confidence", "group"}:
            self._docks["bottom"].show()
            self._bottom.setCurrentWidget(self.items)

    def _on_history_changed(self) -> None:
        self._undo.setEnabled(self.workspace.can_undo)
        self._redo.setEnabled(self.workspace.can_redo)

    def _on_problems_counted(self, count: int) -> None:
        self.status.show_problem_count(count)
        self._bottom.setTabText(self._bottom.indexOf(self.problems), f"Problems ({count})" if count else "Problems")

    def _on_run_hovered(self, key: str) -> None:
        self.workspace.hover(is_in("run", [key]) if key else None)

    def _on_feed_live_changed(self, count: int) -> None:
        self._live.setText(f"● following {count} run{'s' * (count != 1)}" if count else "")

    def _on_focus_changed(self, _old: QWidget | None, now: QWidget | None) -> None:
        key = self.area.key_of(now)
        if key and key != self.workspace.session.focus:
            self.workspace.change(focus=key)

    # -- gestures -------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove the second cursor, else clear the highlight, else leave full screen."""
        pinned = [figure for figure in self._figures() if figure.is_pinned]
        for figure in pinned:
            if figure.is_pinned:  # a card's goes from all cards at once
                figure.toggle_pin()
        if pinned:
            return
        if self.workspace.session.highlight is not None:
            self.workspace.highlight(None)
        elif self.isFullScreen():
            self.toggle_full_screen()

    def toggle_follow(self) -> None:
        """Follow files that grow, or stop doing so."""
        self.workspace.change(follow=self._follow.isChecked())

    def toggle_health(self) -> None:
        """Look for what happened to the runs, or stop doing so."""
        self.workspace.change(health=self._health.isChecked())

    def toggle_full_screen(self) -> None:
        """Fill the screen, or go back."""
        if self.isFullScreen():
            self.showNormal()
        else:
            self.showFullScreen()

    def _toggle_side(self, name: str) -> None:
        self._docks[name].setVisible(not self._docks[name].isVisible())

    def show_problems(self) -> None:
        """Show what could not be read."""
        self._docks["bottom"].show()
        self._bottom.setCurrentWidget(self.problems)

    def show_help(self) -> None:
        """Show what keyboard and mouse do."""
        dialog = HelpDialog(self.actions(), self)
        dialog.exec()
        dialog.deleteLater()

    def show_guide(self) -> None:
        """Show the guide beside the window."""
        GuideDialog(self).show()

    def look_around(self) -> None:
        """Point at the runs, the panes and the questions, one after the other."""
        for name in ("runs", "inspector"):
            self._docks[name].show()
        steps = (
            Step(
                "Your runs",
                "Tick what is drawn, group repeats by their settings, add columns of values. / finds runs by a regular "
                "expression; a right click offers more.",
                lambda: self.runs,
            ),
            Step(
                "Linked panes",
                "Drag to zoom, wheel to zoom at the pointer, double click to reset. What you click or brush "
                "(Shift + drag) lights up everywhere; Esc lets go.",
                lambda: self._middle,
            ),
            Step(
                "Ask",
                "Ctrl+K finds every question, tag, run and action by typing. Each answer is a pane with intervals and options; "
                "Export and File > Write a report put it on paper.",
                lambda: self._ask_button,
            ),
        )
        tour = Tour(steps, self)
        tour.ended.connect(self._on_tour_ended)

    def _on_tour_ended(self) -> None:
        self._settings.has_seen_tour = True

    def explain_current(self) -> None:
        """Show the page of the analysis of the focused pane: formula, inputs, options, sources."""
        answer = self.current_answer()
        pane = self.workspace.pane(self.workspace.session.focus)
        if answer is not None:
            analysis = answer.analysis
        elif pane is not None and pane.kind == "analysis":
            analysis = registry.analysis(pane.analysis)
        else:
            self._messages.say("Click a card or a pane first: its analysis is then explained.")
            return
        AboutAnalysis(analysis, self.tasks, self).show()

    def show_about(self) -> None:
        """Say what this is."""
        QMessageBox.about(
            self, "About Runglass", f"Runglass {__version__}\n\nCurves, honest statistics, paper figures."
        )

    def _restyle(self, *_: object) -> None:
        for action, name in self._icons.items():
            action.setIcon(icon(name))
        self._menu_button.setIcon(icon("ph.list"))

    # -- ending ---------------------------------------------------------------------------------------------------------

    def _on_save_timer_timeout(self) -> None:
        if self._autosave is not None and self.workspace.session.roots:
            with contextlib.suppress(RunglassError, OSError):
                self._autosave.parent.mkdir(parents=True, exist_ok=True)
                sessions.save(
                    dataclasses.replace(self.workspace.session, layout=self.area.arrangement()), self._autosave
                )

    def closeEvent(self, event: QCloseEvent) -> None:
        """Remember the window and stop all work."""
        super().closeEvent(event)
        if self._is_closed:
            return
        self._is_closed = True
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.focusChanged.disconnect(self._on_focus_changed)
        self._settings.geometry = self.saveGeometry()
        self._settings.docks = self.saveState(_LAYOUT_VERSION)
        self._save_timer.stop()
        self._on_save_timer_timeout()
        self.feed.stop()
        self.health.stop()
        self.tasks.stop()
