"""Learning curves: a grid of cards, one a tag, the most useful first.

A card asks ``curve.smooth`` for the ticked runs, or ``curve.seed-band`` where runs are grouped, so that what is on screen
is what the command line answers and what is exported. Cards that are scrolled out of sight ask nothing.
"""

from __future__ import annotations

import dataclasses
import math
import time
from functools import cached_property
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from ...analysis.session_questions import card_question, shown_tags
from ...models.figure import Keys, Line
from ...models.selection import Everything
from ..render.panel_view import TableOrder
from ..render.ticks import duration
from ..tasks import FEED, TaskRunner
from ..widgets.empty_state import EmptyState
from ..widgets.flow_grid import FlowGrid
from ..widgets.icon_button import IconButton
from ..widgets.regex_edit import RegexEdit
from ..workspace import Workspace
from .base import Answer, PaneFrame, QuestionView, muted

_FIELDS_THAT_REDRAW = frozenset({"curves", "grouping", "ticked", "filter", "maps", "health", "run_notes"})
_COALESCE_MS = 60


class CurveCard(PaneFrame):
    """The curves of one tag: a frame, until what is in it is first asked for. Of the cards of many tags few are in view.

    Signals
    -------
    filled(view)
        What is in it was made.
    pin_wanted(tag), export_wanted(answer), enlarge_wanted(tag)
        What its buttons ask for.
    """

    filled = Signal(object)
    pin_wanted = Signal(str)
    export_wanted = Signal(object)
    enlarge_wanted = Signal(str)

    def __init__(self, workspace: Workspace, tasks: TaskRunner, tag: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tag = tag
        self._workspace = workspace
        self._tasks = tasks
        self._pinned = False
        self._pin: IconButton | None = None

    @cached_property
    def view(self) -> QuestionView:
        """What is in it."""
        view = QuestionView(self._workspace, self._tasks, f"card:{self.tag}", self)
        view.figure_view.wheel_zooms = False  # the wheel scrolls the grid; with Ctrl it zooms
        view.figure_view.extra_columns = self._times
        self.set_content(view)
        self._pin = IconButton("ph.push-pin", "Keep this card first (P)", self)
        self._pin.setCheckable(True)
        self._pin.setChecked(self._pinned)
        self._pin.clicked.connect(lambda: self.pin_wanted.emit(self.tag))
        enlarge = IconButton("ph.arrows-out-simple", "Open in a pane of its own", self)
        enlarge.clicked.connect(lambda: self.enlarge_wanted.emit(self.tag))
        export = IconButton("ph.export", "Export this figure (Ctrl+E)", self)
        export.clicked.connect(lambda: self.export_wanted.emit(view.shown))
        for button in (self._pin, enlarge, export):
            self.add_button(button)
        self.filled.emit(view)
        return view

    @property
    def is_filled(self) -> bool:
        """Whether there is something in it already."""
        return "view" in vars(self)

    def _times(self, line: Line, index: int) -> dict[str, str]:
        """Give when a point of a curve was logged, for the table at the cursor."""
        run = self._workspace.now.all.runs.get(line.origin.values[0]) if isinstance(line.origin, Keys) else None
        curve = run.curves.get(self.tag) if run is not None else None
        # Where a resumed run was split, or the x axis left points out, positions no longer match: then nothing is said.
        if curve is None or curve.wall_time is None or len(curve) != len(line.x):
            return {}
        wall = float(curve.wall_time[index])
        since = wall - float(curve.wall_time[0])
        if not math.isfinite(since):
            return {}  # some points were logged without their time
        try:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall))
        except (OverflowError, ValueError, OSError):  # it was logged in another unit than seconds
            return {"relative": duration(since)}
        return {"wall": when, "relative": duration(since)}

    def set_pinned(self, pinned: bool) -> None:
        """Show whether the card is pinned."""
        self._pinned = pinned
        if self._pin is not None:
            self._pin.setChecked(pinned)


class CurvesPane(QWidget):
    """A grid of curve cards with a filter over tags.

    Signals
    -------
    export_wanted(answer)
        The user wants to export the figure of a card.
    enlarge_wanted(identifier, options)
        The user wants a card as a pane of its own.
    ask_wanted(), map_wanted()
        There are no curves, but tables: the user wants to ask something of them, or to say what their columns mean.
    """

    export_wanted = Signal(object)
    enlarge_wanted = Signal(str, object)
    ask_wanted = Signal()
    map_wanted = Signal()

    def __init__(self, workspace: Workspace, tasks: TaskRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = tasks
        self._cards: dict[str, CurveCard] = {}
        self._current = ""
        self._pin: tuple[str, float | None] = ("", None)
        self._order: TableOrder = "screen"

        self._filter = RegexEdit("filter tags (regex)", self)
        self._filter.setMaximumWidth(320)
        self._filter.pattern_changed.connect(self._on_filter_pattern_changed)
        self._count = muted("", self)
        self._hidden = muted("", self)
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.setSpacing(8)
        title = QLabel("Learning curves", self)
        title.setProperty("role", "title")
        top.addWidget(title)
        top.addWidget(self._count)
        top.addStretch(1)
        top.addWidget(self._hidden)
        top.addWidget(self._filter)

        self._grid = FlowGrid(self)
        self._grid.visible_changed.connect(lambda _: self._schedule())
        self._empty = EmptyState("No curves here.", parent=self)
        self._empty.button_clicked.connect(self._on_empty_button_clicked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 0)
        layout.setSpacing(6)
        layout.addLayout(top)
        layout.addWidget(self._grid, 1)
        layout.addWidget(self._empty, 1)

        # Many changes at once (a reader's batches, a dragged slider) become one round of questions.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._asked_at = 0.0
        self._timer.timeout.connect(self._on_timer_timeout)
        workspace.changed.connect(self._on_workspace_changed)
        workspace.data_changed.connect(self._schedule)
        self._was_reading = self._is_reading
        tasks.changed.connect(self._on_tasks_changed)
        self._arrange()

    @property
    def cards(self) -> tuple[CurveCard, ...]:
        """Cards in their order."""
        return tuple(self._cards.values())

    @property
    def current(self) -> CurveCard | None:
        """The card the user touched last, else the first."""
        return self._cards.get(self._current) or next(iter(self._cards.values()), None)

    def leave(self) -> None:
        """Stop computing, because the pane is being closed."""
        self._timer.stop()
        for view in self.views:
            view.forget()

    def focus_filter(self) -> None:
        """Put the keyboard into the filter over tags."""
        self._filter.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._filter.selectAll()

    def toggle_pin(self, tag: str) -> None:
        """Pin a card, or let it go."""
        curves = self._workspace.session.curves
        pinned = tuple(t for t in curves.pinned if t != tag) if tag in curves.pinned else (*curves.pinned, tag)
        self._workspace.change(curves=dataclasses.replace(curves, pinned=pinned))

    def _schedule(self) -> None:
        if not self._timer.isActive():
            # The first of many changes is answered at once, those that follow soon after together.
            since = round(1000 * (time.monotonic() - self._asked_at))
            self._timer.start(max(0, _COALESCE_MS - since))

    def _on_timer_timeout(self) -> None:
        self._asked_at = time.monotonic()
        self._arrange()
        self._ask()

    def _wanted_tags(self) -> list[str]:
        """Give the tags that have cards, in their order."""
        now = self._workspace.now
        return shown_tags(now.session.curves, now.kept, now.ticked)

    def _arrange(self) -> None:
        """Make the cards those that are wanted; a card that stays keeps its figure and its zoom."""
        tags = self._wanted_tags()
        session = self._workspace.session
        if tags != list(self._cards):
            for tag in set(self._cards) - set(tags):
                card = self._cards.pop(tag)
                if card.is_filled:
                    card.view.forget()
                card.hide()
                card.deleteLater()
            self._cards = {tag: self._cards.get(tag) or self._card(tag) for tag in tags}
            self._grid.set_cards(list(self._cards.values()))
        for tag, card in self._cards.items():
            card.set_pinned(tag in session.curves.pinned)
        self._grid.set_columns(session.curves.columns)
        with QSignalBlocker(self._filter):
            self._filter.set_pattern(session.curves.tag_filter)
        total = len(self._workspace.now.kept.tags()) if not tags or session.curves.tag_filter else len(tags)
        self._count.setText(f"{len(tags)} of {total} tags" if len(tags) != total else f"{total} tags" if total else "")
        self._grid.setVisible(bool(tags))
        self._empty.setVisible(not tags)
        if not tags:
            self._explain_empty(total)

    def _explain_empty(self, total: int) -> None:
        session = self._workspace.session
        if session.curves.tag_filter and total:
            self._empty.set_content("No tag matches the filter.", "", button="Clear the filter")
        elif not isinstance(session.filter, Everything) and not self._workspace.now.kept.kept_runs:
            self._empty.set_content("No run passes the filter.", "", button="Clear the filter")
        elif total:
            self._empty.set_content(
                "No run is ticked.", "Tick runs in the tree on the left.", button="Tick the first ten"
            )
        elif self._is_reading:
            self._empty.set_content("Reading…")
        elif self._workspace.now.kept.untyped and not self._tables():
            remedy = "There are tables whose columns are not known."
            self._empty.set_content("No learning curves in what is open.", remedy, button="Map columns…")
        elif self._tables():
            remedy = f"There are {' and '.join(self._tables())} to ask questions of."
            self._empty.set_content("No learning curves in what is open.", remedy, button="Ask…")
        else:
            self._empty.set_content("No learning curves in what is open.", "The problems pane says what was not read.")

    @property
    def _is_reading(self) -> bool:
        return any(state.slot == FEED for state in self._tasks.running)

    def _on_tasks_changed(self) -> None:
        if self._was_reading and not self._is_reading and not self._cards:
            self._schedule()
        self._was_reading = self._is_reading

    def _tables(self) -> list[str]:
        """Give the tables, besides curves, that are open."""
        kept = self._workspace.now.kept
        return [name for name in ("runs", "scores", "predictions", "comparisons") if kept.has_rows(name)]

    def _on_empty_button_clicked(self) -> None:
        session = self._workspace.session
        if self._empty.button == "Ask…":
            self.ask_wanted.emit()
            return
        if self._empty.button == "Map columns…":
            self.map_wanted.emit()
            return
        if session.curves.tag_filter:
            self._workspace.change(curves=dataclasses.replace(session.curves, tag_filter=""))
        elif not isinstance(session.filter, Everything):
            self._workspace.change(filter=Everything())
        else:
            self._workspace.change(ticked=None)

    def _card(self, tag: str) -> CurveCard:
        card = CurveCard(self._workspace, self._tasks, tag, self)
        card.pin_wanted.connect(self.toggle_pin)
        card.export_wanted.connect(self.export_wanted)
        card.enlarge_wanted.connect(self._on_card_enlarge_wanted)
        card.focus_wanted.connect(lambda: self._on_card_focus_wanted(tag))
        card.filled.connect(lambda view: self._on_card_filled(tag, view))
        return card

    @property
    def views(self) -> list[QuestionView]:
        """What is in cards, as far as it was made; the others have no figure yet."""
        return [card.view for card in self._cards.values() if card.is_filled]

    def _on_card_filled(self, tag: str, view: QuestionView) -> None:
        view.option_opened.connect(self._on_card_option_opened)
        view.x_cursor_moved.connect(lambda *where: self._on_card_cursor_moved(tag, *where))
        view.x_range_changed.connect(lambda *where: self._on_card_range_changed(tag, *where))
        view.emphasise(self._workspace.now.emphasis)
        figure = view.figure_view
        figure.set_pin(*self._pin)
        figure.set_table_order(self._order)
        figure.pin_changed.connect(self._on_figure_pin_changed)
        figure.table_order_changed.connect(self._on_figure_table_order_changed)

    def _ask(self) -> None:
        """Ask the cards on screen."""
        session, ticked = self._workspace.session, self._workspace.now.ticked
        if self.isVisible():
            in_view = set(self._grid.in_view)
            for card in self._cards.values():
                if card in in_view:
                    card.view.ask(*card_question(card.tag, session, ticked))

    def showEvent(self, event: Any) -> None:
        """Ask what was not asked while hidden."""
        super().showEvent(event)
        self._schedule()

    def _on_workspace_changed(self, fields: frozenset[str], origin: object) -> None:
        if fields & _FIELDS_THAT_REDRAW:
            self._schedule()
        if "step_cursor" in fields and origin is not self:
            for view in self.views:
                view.show_cursor(self._workspace.session.curves.x, self._workspace.session.step_cursor)
        if "highlight" in fields:
            for view in self.views:
                view.emphasise(self._workspace.now.emphasis)

    def _on_filter_pattern_changed(self, pattern: str) -> None:
        curves = dataclasses.replace(self._workspace.session.curves, tag_filter=pattern)
        self._workspace.change(origin=self, gesture="curves:tag_filter", curves=curves)

    def _on_card_enlarge_wanted(self, tag: str) -> None:
        self.enlarge_wanted.emit(*card_question(tag, self._workspace.session, self._workspace.now.ticked))

    def _on_card_option_opened(self, name: str, text: str) -> None:
        """Draw the seeds of a group on all cards, or no longer."""
        curves = self._workspace.session.curves
        opened = tuple(one for one in curves.opened if one != text)
        if name == "opened":
            opened = opened if text in curves.opened else (*curves.opened, text)
            self._workspace.change(curves=dataclasses.replace(curves, opened=opened))

    def _on_card_focus_wanted(self, tag: str) -> None:
        self._current = tag

    def _on_card_cursor_moved(self, tag: str, column: str, x: float | None) -> None:
        """Show the cursor at the same x in the other cards, and tell it to whoever shows values at it."""
        self._workspace.change(origin=self, step_cursor=x)
        for other in self._cards.values():
            if other.is_filled and other.tag != tag:  # there the mouse is, with the table
                other.view.show_cursor(column, x)

    def _on_figure_pin_changed(self, column: str, x: float | None) -> None:
        """Show the second cursor at the same x in all cards."""
        self._pin = (column, x)
        for view in self.views:
            view.figure_view.set_pin(column, x)

    def _on_figure_table_order_changed(self, order: TableOrder) -> None:
        """Sort the tables of all cards alike."""
        self._order = order
        for view in self.views:
            view.figure_view.set_table_order(order)

    def _on_card_range_changed(self, tag: str, column: str, scale: str, low: float | None, high: float | None) -> None:
        """Zoom the other cards along; those with another column or scale stay."""
        for other in self._cards.values():
            if other.is_filled and other.tag != tag:
                other.view.figure_view.set_x_range(column, scale, low, high)


def current_answer(pane: CurvesPane) -> Answer | None:
    """Give what the card shows that the user touched last, as it is on screen."""
    return pane.current.view.shown if pane.current is not None else None
