"""The window: what stands where, who hears of what, and what the user can do with panes.

It joins panes that do not know one another. It decides nothing about data: gestures become changes of the session,
which everyone hears.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QLineEdit,
    QMainWindow,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from ..models.deferred import deferred
from ..models.errors import RunglassError
from ..resources.version import __version__
from .theme import appearance
from .tool_bar import MainToolBar
from .widgets.empty_state import EmptyState

if TYPE_CHECKING:
    from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent

    from ..analysis.templates import Template
    from ..models.progress import CancellableProgress
    from ..models.selection import Clause
    from ..models.session import Pane, Session
    from . import rooms
    from .panes.base import Answer
    from .settings import Settings
else:
    rooms = deferred(".rooms", __package__)

_LAYOUT_VERSION = 1
_QUIET_MS = 1500
"""Time in which the first curves are drawn before what may be asked next is prepared."""


class MainWindow(QMainWindow):
    """The main window of Runglass.

    Parameters
    ----------
    settings : Settings
        What is remembered between two starts.
    session : Session, optional
        What to show at first.
    autosave : Path, optional
        Where the session is kept by itself.
    furnished : bool
        Whether all that belongs in the window is made at once; else only what is seen first is, until who made the window
        has gone through `furnish`.
    """

    def __init__(
        self,
        settings: Settings,
        session: Session | None = None,
        *,
        autosave: Path | None = None,
        furnished: bool = True,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._first_session = session
        self._autosave = autosave
        self._is_furnished = False
        self._is_closed = False
        self.left_waiting = False
        """Whether, once closed, threads still wait for a disk that does not answer."""
        self._has_questions = False
        self.setWindowTitle("Runglass")
        self.setAcceptDrops(True)
        self.setDockOptions(QMainWindow.DockOption.AnimatedDocks)
        self._put_on(settings if session is None else session)
        self.tool_bar = MainToolBar(self)
        self.addToolBar(self.tool_bar)
        self._build_middle()
        self._build_sides()
        self.statusBar().setSizeGripEnabled(False)
        room = QGuiApplication.primaryScreen().availableGeometry().size()
        self.resize(min(1600, room.width()), min(1000, room.height()))
        if settings.geometry is not None:
            self.restoreGeometry(settings.geometry)
        self._share_room()
        if furnished:
            for _ in self.furnish():
                pass

    # -- building -------------------------------------------------------------------------------------------------------

    # What stands in something is made there: Qt polishes all that is in a widget once more when it gets another parent.

    def _build_middle(self) -> None:
        central = QWidget(self)
        self._middle = QStackedWidget(central)
        self._welcome = EmptyState(
            "Drop a folder of runs here, or open one.",
            "TensorBoard event files, CSV, JSON lines, trainer states, text logs, evaluation tables are found by themselves.",
            button="Open the demo",
            parent=self._middle,
        )
        self._middle.addWidget(self._welcome)
        self._blank = QWidget(self._middle)
        self._middle.addWidget(self._blank)
        self._column = QVBoxLayout(central)
        self._column.setContentsMargins(0, 8, 0, 0)
        self._column.setSpacing(4)
        self._column.addWidget(self._middle, 1)
        self.setCentralWidget(central)
        # Else Qt gives the keyboard, and a frame, to the first button there is.
        self._middle.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._middle.setFocus()

    def _build_sides(self) -> None:
        self._docks = {}
        for name, title, place in (
            ("runs", "Runs", Qt.DockWidgetArea.LeftDockWidgetArea),
            ("inspector", "Inspector", Qt.DockWidgetArea.RightDockWidgetArea),
            ("bottom", "Items and problems", Qt.DockWidgetArea.BottomDockWidgetArea),
        ):
            dock = QDockWidget(title, self)
            dock.setObjectName(f"side:{name}")
            dock.setTitleBarWidget(QWidget(dock))
            dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
            self.addDockWidget(place, dock)
            self._docks[name] = dock
            self._fill_side(name, QWidget(dock))
        self.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        self._docks["bottom"].hide()
        side = self._docks["runs"].widget()
        runs = QVBoxLayout(side)
        runs.setContentsMargins(8, 8, 8, 0)
        runs.setSpacing(4)
        line = QLineEdit(side)
        line.setPlaceholderText("regex")
        line.setReadOnly(True)
        runs.addWidget(line)
        self._no_runs = EmptyState("No runs are open.", "Drop a folder of logs on the window.", parent=side)
        runs.addWidget(self._no_runs, 1)

    def _fill_side(self, name: str, content: QWidget) -> None:
        """Put a widget into a side bar, in place of what is there."""
        content.setProperty("role", "side")
        content.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        before = self._docks[name].widget()
        self._docks[name].setWidget(content)
        if before is not None:
            before.deleteLater()

    def _share_room(self) -> None:
        """Give the side bars their width: what the user left them with, else a share of the window."""
        side = min(max(self.width() // 5, 260), 320)
        sides = [self._docks["runs"], self._docks["inspector"]]
        self.resizeDocks(sides, [max(side - 20, 280), side], Qt.Orientation.Horizontal)
        self.resizeDocks([self._docks["bottom"]], [220], Qt.Orientation.Vertical)
        if self._settings.docks is not None:
            self.restoreState(self._settings.docks, _LAYOUT_VERSION)

    def expect(self, data: bool) -> None:
        """Show the room for panes, empty, where data are about to be opened, else what can be opened."""
        self._middle.setCurrentWidget(self._blank if data else self._welcome)
        if data:
            self._no_runs.set_content("No runs so far.")

    def furnish(self) -> Iterator[None]:
        """Make the rest of the window in short steps, so that who goes through them can let it paint in between."""
        look: Any = {"theme": self._settings.theme, "palette": self._settings.palette}
        first = self._first_session or rooms.Session(**look)
        self.tasks = rooms.TaskRunner(self)
        self.workspace = rooms.Workspace(first, rooms.RunStore(), self)
        self.feed = rooms.Feed(self.workspace, self.tasks, self)
        self.health = rooms.HealthWatch(self.workspace, self.tasks, self)
        self.housekeeping = rooms.Housekeeping(self.workspace, self.feed, self)
        self.area = rooms.PaneArea(self._make_pane, self._leave_pane, self._middle)
        self._middle.addWidget(self.area)
        if self._middle.currentWidget() is self._blank:
            self._middle.setCurrentWidget(self.area)
        self._blank.deleteLater()
        self._messages = rooms.MessageBar(self.centralWidget())
        self._column.insertWidget(0, self._messages)
        self.breadcrumbs = rooms.Breadcrumbs(self.workspace, self.centralWidget())
        self._column.insertWidget(1, self.breadcrumbs)
        self.files = rooms.SessionFiles(
            self.workspace, self.feed, self.area, self._messages, self._settings, self._autosave, window=self
        )
        self.exports = rooms.Exports(
            self.workspace, self.feed, self.tasks, self._messages, lambda: self.files.start_folder, window=self
        )
        self.figures = rooms.ShownFigures(self.workspace, self.area)
        yield
        self.runs = rooms.RunsPane(self.workspace, self, health=self.health)
        yield
        self.inspector = rooms.Inspector(self.workspace, self._docks["inspector"])
        self._fill_side("inspector", self.inspector)
        yield
        self._bottom = QTabWidget(self._docks["bottom"])
        self._bottom.setDocumentMode(True)
        self.items = rooms.ItemsPane(self.workspace, self.tasks, self._bottom)
        self.problems = rooms.ProblemsPane(self.workspace, self._bottom)
        self._bottom.addTab(self.items, "Items behind the selection")
        self._bottom.addTab(self.problems, "Problems")
        self._fill_side("bottom", self._bottom)
        yield
        self.menus = rooms.Menus(self)
        self.tool_bar.attach(self.workspace, self.menus.root, (self.menus.undo, self.menus.redo))
        self.status = rooms.StatusBar(self.workspace, self.tasks, self.feed, self)
        self.setStatusBar(self.status)
        self.engine = rooms.EngineChoice(self.tasks, self._settings, self)
        self.status.addPermanentWidget(self.engine.button)
        yield
        self._connect()
        # Last, because it would say until then that nothing is open, and what is to be opened is opened next.
        self._fill_side("runs", self.runs)
        self._share_room()
        self._on_workspace_changed(frozenset(f.name for f in dataclasses.fields(rooms.Session)), None)
        self._on_data_changed()
        self._is_furnished = True

    def _connect(self) -> None:
        self.workspace.changed.connect(self._on_workspace_changed)
        self.workspace.data_changed.connect(self._on_data_changed)
        self.workspace.history_changed.connect(self._on_history_changed)
        self.status.problems_wanted.connect(self.show_problems)
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET_MS)
        self._quiet.timeout.connect(self._prepare_questions)
        self.feed.loaded.connect(self._quiet.start)
        self.feed.loaded.connect(self._offer_questions)
        self.feed.failed.connect(lambda message: self._messages.say(message, kind="bad"))
        self.feed.over.connect(self._messages.take_back)
        self.feed.live_changed.connect(self.tool_bar.show_followed)
        self.files.saved.connect(lambda name: self.status.showMessage(f"Saved {name}.", 4_000))
        self.exports.done.connect(lambda sentence: self.status.showMessage(sentence, 6_000))
        self.tool_bar.open_wanted.connect(self.files.choose_folder)
        self.tool_bar.ask_wanted.connect(self.open_palette)
        self.tool_bar.export_wanted.connect(self.export_current)
        self.runs.run_hovered.connect(self._on_run_hovered)
        self.runs.compare_wanted.connect(self.compare_runs)
        self.problems.counted.connect(self._on_problems_counted)
        self._on_problems_counted(self.problems.count)
        self.items.said.connect(self._messages.say)
        self.problems.map_wanted.connect(self.map_columns)
        self.area.close_wanted.connect(self.workspace.close_pane)
        self.area.export_wanted.connect(self._export_pane)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._on_focus_changed)
        self._welcome.button_clicked.connect(self.open_demo)
        self._on_history_changed()

    # -- panes ----------------------------------------------------------------------------------------------------------

    def _make_pane(self, pane: Pane) -> QWidget:
        if pane.kind == "curves":
            curves = rooms.CurvesPane(self.workspace, self.tasks, self)
            curves.export_wanted.connect(self.exports.export_figure)
            curves.enlarge_wanted.connect(self._on_enlarge_wanted)
            curves.ask_wanted.connect(self.open_palette)
            curves.map_wanted.connect(self.map_columns)
            return curves
        if pane.kind == "questions":
            from .panes.questions import QuestionsPane

            questions = QuestionsPane(self.workspace, self)
            questions.chosen.connect(self.add_analysis)
            questions.map_wanted.connect(self.map_columns)
            return questions
        content = rooms.AnalysisPane(self.workspace, self.tasks, pane.key, self)
        content.answered.connect(lambda answer: self._on_pane_answered(pane.key, answer))
        content.map_wanted.connect(self.map_columns)
        content.refresh()
        return content

    def _leave_pane(self, content: QWidget) -> None:
        if isinstance(content, rooms.CurvesPane | rooms.AnalysisPane):
            content.leave()

    def _on_pane_answered(self, key: str, answer: Answer | None) -> None:
        self.inspector.set_answer(key, answer)
        if answer is not None:
            self.area.set_title(key, answer.figure.title or answer.analysis.title, answer.figure.subtitle)

    def _on_enlarge_wanted(self, identifier: str, options: dict[str, Any]) -> None:
        key = self.workspace.free_key(f"{identifier}:{options['tag']}")
        self.workspace.add_pane(rooms.Pane(key, "analysis", identifier, options, str(options["tag"])))

    def add_analysis(self, identifier: str) -> None:
        """Open a pane that asks a question with the options the data suggest."""
        analysis = rooms.analysis(identifier)
        self.workspace.add_pane(
            rooms.Pane(self.workspace.free_key(identifier), "analysis", identifier, {}, analysis.title)
        )
        self.area.raise_pane(self.workspace.session.focus)

    def _offer_questions(self) -> None:
        """Show what can be asked in place of empty curves, where tables were opened that hold none."""
        now = self.workspace.now
        if self.workspace.can_undo or now.session.panes != rooms.Session().panes:
            return  # the user has begun to arrange things
        if any(run.curves for run in now.all.runs.values()):
            return
        if any(now.all.has_rows(name) for name in ("scores", "predictions", "comparisons")):
            pane = rooms.Pane("questions", "questions")
            self.workspace.replace(dataclasses.replace(now.session, panes=(pane,), focus=pane.key))

    def _prepare_questions(self) -> None:
        """Import the analyses and list the runs beside the window, so that it need not wait when they are first asked for."""
        from ..analysis.templates import broken_templates
        from ..resources.palettes import broken_palettes

        store = self.workspace.now.all

        def work(progress: CancellableProgress) -> list[str]:
            store.rows("runs")
            broken = [*broken_templates(), *broken_palettes()]
            identifiers = rooms.ids()
            for number, identifier in enumerate(identifiers):
                progress(number, len(identifiers))
                try:
                    rooms.analysis(identifier)
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
        from . import palette_entries
        from .panes.palette import Palette

        store = self.workspace.now.kept
        entries = [
            *palette_entries.question_entries(store, self.add_analysis),
            *palette_entries.dashboard_entries(store, self.arrange_as),
            *palette_entries.tag_entries(store, self.show_tag),
            *palette_entries.run_entries(store, self.show_run),
            *palette_entries.pane_entries(self.workspace.session, self._title_of, self.show_pane),
            *palette_entries.colour_entries(self.workspace.session.palette, self.colour_by),
            *palette_entries.action_entries(self.actions()),
        ]
        dialog = Palette(entries, palette_entries.KINDS, self)
        dialog.exec()
        dialog.deleteLater()

    def _title_of(self, pane: Pane) -> str:
        return pane.title or (rooms.analysis(pane.analysis).title if pane.kind == "analysis" else pane.heading)

    def show_tag(self, tag: str) -> None:
        """Open the curves of a tag in a pane of their own: those of the ticked runs, or of all where none of them has it."""
        from ..analysis.session_questions import card_question

        now = self.workspace.now
        having = tuple(key for key, run in now.kept.kept_runs.items() if tag in run.curves)
        runs = tuple(key for key in now.ticked if key in having) or having
        self._on_enlarge_wanted(*card_question(tag, now.session, runs))

    def show_run(self, key: str) -> None:
        """Highlight a run everywhere, and show its curves where they are not shown."""
        if key not in self.workspace.now.ticked:
            self.runs.tick([key], True)
        self.workspace.highlight(rooms.is_in("run", [key]))

    def show_pane(self, key: str) -> None:
        """Bring a pane to the front."""
        self.workspace.change(focus=key)
        self.area.raise_pane(key)

    def arrange_as(self, template: Template) -> None:
        """Show the panes of a template that the open data can answer; what else was decided stays."""
        from ..analysis.templates import lacking
        from ..models.result import counted

        panes = template.answerable(self.workspace.now.kept)
        if not panes:
            said = "; ".join(sorted({lacking(pane, self.workspace.now.kept) for pane in template.session.panes}))
            self._messages.say(f"{template.title} has nothing to show: it {said}.")
            return
        left_out = len(template.session.panes) - len(panes)
        self.workspace.change(panes=panes, focus=panes[0].key)
        note = f", without {counted(left_out, 'pane')} that the open data cannot answer" if left_out else ""
        self.statusBar().showMessage(f"{template.title}{note}. Ctrl+Z goes back.", 8_000)

    def colour_by(self, palette: str) -> None:
        """Give runs and groups the colours of a palette, here and on paper."""
        self.workspace.change(palette=palette)

    def compare_runs(self, keys: Sequence[str]) -> None:
        """Open a pane with the settings of some runs side by side."""
        question = {"runs": list(keys)}
        key = self.workspace.free_key("runs.compare")
        self.workspace.add_pane(
            rooms.Pane(key, "analysis", "runs.compare", question, rooms.analysis("runs.compare").title)
        )
        self.area.raise_pane(key)

    def show_questions(self) -> None:
        """Show what can be asked of the open data."""
        if self.workspace.pane("questions") is None:
            self.workspace.add_pane(rooms.Pane("questions", "questions"))
        self.show_pane("questions")

    def show_curves(self) -> None:
        """Show the learning curves, opening their pane where it was closed."""
        if self.workspace.pane("curves") is None:
            self.workspace.add_pane(rooms.Pane("curves", "curves"))
        self.area.raise_pane("curves")

    def close_current(self) -> None:
        """Close the focused pane."""
        self.workspace.close_pane(self.workspace.session.focus)

    def pin_current(self) -> None:
        """Pin the card the user touched last, or let it go."""
        content = self.area.content("curves")
        if isinstance(content, rooms.CurvesPane) and content.current is not None:
            content.toggle_pin(content.current.tag)

    def cycle_focus(self, by: int) -> None:
        """Give the focus to the pane so many places further on."""
        keys = [pane.key for pane in self.workspace.session.panes]
        if keys:
            at = keys.index(self.workspace.session.focus) if self.workspace.session.focus in keys else 0
            self.workspace.change(focus=keys[(at + by) % len(keys)])
            self.area.raise_pane(self.workspace.session.focus)

    def toggle_curves(self, name: str) -> None:
        """Turn an option of the focused pane on or off, such as a log axis; of the cards, of all."""
        pane = self.workspace.pane(self.workspace.session.focus)
        if pane is not None and pane.kind == "analysis":
            options = {one.name: one.default for one in rooms.analysis(pane.analysis).question.options()}
            if name in options:
                now = pane.question.get(name, options[name])
                self.workspace.change_question(pane.key, **{name: not now})
            return
        curves = self.workspace.session.curves
        toggled: Any = {name: not getattr(curves, name)}
        self.workspace.change(curves=dataclasses.replace(curves, **toggled))
        self.inspector.refresh()

    # -- opening --------------------------------------------------------------------------------------------------------

    def open(self, roots: Sequence[str]) -> None:
        """Open folders, files, patterns or addresses; a session file is opened as one."""
        self.files.open(roots)

    def open_demo(self) -> None:
        """Open the bundled sample project, arranged so that each pane has something to say."""
        self.files.open_demo()

    def offer_tour(self) -> None:
        """Offer to be shown around, to who has never been."""
        if not self._settings.has_seen_tour:
            self._messages.say("New here?", action="Look around (three steps)", act=self.look_around)
            self._settings.has_seen_tour = True  # offered once; Help has it from then on

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped beside what is open."""
        dropped = [url.toLocalFile() or url.toString() for url in event.mimeData().urls()]
        if dropped:
            event.acceptProposedAction()
            self.files.drop(dropped)

    # -- exporting ------------------------------------------------------------------------------------------------------

    def export_current(self) -> None:
        """Let the user export the figure of the focused pane."""
        self.exports.export_figure(self.figures.answer)

    def _export_pane(self, key: str) -> None:
        self.workspace.change(focus=key)
        self.export_current()

    def write_report(self) -> None:
        """Let the user put panes and words together and write them as a report."""
        self.exports.write_report(self._title_of)

    def copy_current(self) -> None:
        """Copy what is selected in a text or table, else the figure of the focused pane."""
        from .widgets.frame_table import FrameTable

        figure = self.figures.current
        focused = QApplication.focusWidget()
        is_text = isinstance(focused, QLineEdit) and focused.hasSelectedText()
        is_table = isinstance(focused, FrameTable) and len(focused.selected_positions) > 0
        if is_text or is_table:
            focused.copy()  # type: ignore[union-attr]
        elif figure is not None:
            QGuiApplication.clipboard().setImage(figure.grab_image(2.0))
            self.statusBar().showMessage("Copied the figure.", 3_000)

    # -- columns and patterns -------------------------------------------------------------------------------------------

    def choose_engine(self) -> None:
        """Let the user say where heavy work runs."""
        self.engine.choose()

    def map_columns(self, source: str = "") -> None:
        """Let the user say what the columns of a table mean."""
        from .panes.mapper import ColumnMapperDialog

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
        from .panes.text_pattern import TextPatternDialog

        dialog = TextPatternDialog(self.workspace, self)
        if dialog.exec() == TextPatternDialog.DialogCode.Accepted and self.workspace.session.roots:
            self.feed.open(self.workspace.session.roots)
        dialog.deleteLater()

    # -- what changed ---------------------------------------------------------------------------------------------------

    def _on_workspace_changed(self, fields: frozenset[str], origin: object) -> None:
        session = self.workspace.session
        if fields & {"theme", "palette"} and (why := self._restyle()):
            self._messages.say(f"{why} Runs have the usual colours.", kind="bad")
        if fields & {"panes", "focus"}:
            self.area.sync(session.panes, session.focus)
        if "follow" in fields:
            self.menus.follow.setChecked(session.follow)
            self.feed.follow(session.follow)
        if "health" in fields:
            self.menus.health.setChecked(session.health)
        if fields & {"highlight", "filter", "ticked"}:
            self.workspace.hover(None)
        if "highlight" in fields:
            self._show_items_of(session.highlight)

    def _restyle(self) -> str:
        """Put theme and palette of the session on, and remember them; say why a palette cannot be had."""
        session = self.workspace.session
        self._settings.theme = session.theme
        why = self._put_on(session)
        if not why:
            self._settings.palette = session.palette
        return why

    @staticmethod
    def _put_on(look: Session | Settings) -> str:
        """Put a theme and a palette on; where the palette cannot be had say why, and take the usual one."""
        mode: Any = look.theme
        try:
            appearance().apply(mode, look.palette)
        except KeyError:
            why = f"The palette {look.palette!r} is not installed here."
        except ValueError as error:
            why = str(error)
        else:
            return ""
        appearance().apply(mode)
        return why

    def _on_data_changed(self) -> None:
        self._middle.setCurrentWidget(self.area if self.workspace.session.roots else self._welcome)

    def _show_items_of(self, highlight: Clause | None) -> None:
        """Open the items pane for a highlight that speaks of items."""
        self.menus.keep.setEnabled(highlight is not None)
        if highlight is None or self._docks["bottom"].isVisible():
            return
        if highlight.columns & {"item", "confidence", "group"}:
            self._docks["bottom"].show()
            self._bottom.setCurrentWidget(self.items)

    def _on_history_changed(self) -> None:
        self.menus.undo.setEnabled(self.workspace.can_undo)
        self.menus.redo.setEnabled(self.workspace.can_redo)

    def _on_problems_counted(self, count: int) -> None:
        self.status.show_problem_count(count)
        self._bottom.setTabText(self._bottom.indexOf(self.problems), f"Problems ({count})" if count else "Problems")

    def _on_run_hovered(self, key: str) -> None:
        self.workspace.hover(rooms.is_in("run", [key]) if key else None)

    def _on_focus_changed(self, _old: QWidget | None, now: QWidget | None) -> None:
        key = self.area.key_of(now)
        if key and key != self.workspace.session.focus:
            self.workspace.change(focus=key)

    # -- gestures -------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove the second cursor, else clear the highlight, else leave full screen."""
        if self.figures.unpin():
            return
        if self.workspace.session.highlight is not None:
            self.workspace.highlight(None)
        elif self.isFullScreen():
            self.toggle_full_screen()

    def toggle_follow(self) -> None:
        """Follow files that grow, or stop doing so."""
        self.workspace.change(follow=self.menus.follow.isChecked())

    def toggle_health(self) -> None:
        """Look for what happened to the runs, or stop doing so."""
        self.workspace.change(health=self.menus.health.isChecked())

    def toggle_full_screen(self) -> None:
        """Fill the screen, or go back."""
        if self.isFullScreen():
            self.showNormal()
        else:
            self.showFullScreen()

    def toggle_side(self, name: str) -> None:
        """Show or hide a side bar."""
        self._docks[name].setVisible(not self._docks[name].isVisible())

    def show_problems(self) -> None:
        """Show what could not be read."""
        self._docks["bottom"].show()
        self._bottom.setCurrentWidget(self.problems)

    def show_help(self) -> None:
        """Show what keyboard and mouse do."""
        from .help_dialog import HelpDialog

        dialog = HelpDialog(self.actions(), self)
        dialog.exec()
        dialog.deleteLater()

    def show_guide(self) -> None:
        """Show the guide beside the window."""
        from .guide import GuideDialog

        GuideDialog(self).show()

    def look_around(self) -> None:
        """Point at the runs, the panes and the questions, one after the other."""
        from .tour import Step, Tour

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
                lambda: self.tool_bar.ask_button,
            ),
        )
        tour = Tour(steps, self)
        tour.ended.connect(self._on_tour_ended)

    def _on_tour_ended(self) -> None:
        self._settings.has_seen_tour = True

    def explain_current(self) -> None:
        """Show the page of the analysis of the focused pane: formula, inputs, options, sources."""
        from .panes.about import AboutAnalysis

        answer = self.figures.answer
        pane = self.workspace.pane(self.workspace.session.focus)
        if answer is not None:
            analysis = answer.analysis
        elif pane is not None and pane.kind == "analysis":
            analysis = rooms.analysis(pane.analysis)
        else:
            self._messages.say("Click a card or a pane first: its analysis is then explained.")
            return
        AboutAnalysis(analysis, self.tasks, self).show()

    def show_about(self) -> None:
        """Say what this is."""
        from PySide6.QtWidgets import QMessageBox

        from ..models.kernels import twin_in_use

        QMessageBox.about(
            self,
            "About Runglass",
            f"Runglass {__version__} (kernels: {twin_in_use()})\n\nCurves, honest statistics, paper figures.\n\n"
            "MIT licence; those of what it needs are on the last page of Help > Guide.",
        )

    # -- ending ---------------------------------------------------------------------------------------------------------

    def closeEvent(self, event: QCloseEvent) -> None:
        """Remember the window and stop all work."""
        super().closeEvent(event)
        if self._is_closed:
            return
        self._is_closed = True
        if not self._is_furnished:
            return
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.focusChanged.disconnect(self._on_focus_changed)
        self._settings.geometry = self.saveGeometry()
        self._settings.docks = self.saveState(_LAYOUT_VERSION)
        self._quiet.stop()
        self.files.stop()
        self.feed.stop()
        self.health.stop()
        self.housekeeping.stop()
        self.left_waiting = not self.tasks.stop()
        self.engine.close()
