"""What panes are made of: a view of the answer to one question, and the frame around it.

The request cycle of a `QuestionView`, once for all analyses:

1. something the answer depends on changed (the question, the filter, the data it reads): `ask` compares it with what is shown;
2. a worker thread resolves the question, computes the result and makes the figure, all pure;
3. meanwhile the last good figure stays; after 150 ms it is dimmed and a thin bar shows progress;
4. the answer is shown, or the error in place of the plot, with what can be done about it.

A highlight never computes anything: the figure on screen is emphasised in place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PySide6.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QEnterEvent, QPalette
from PySide6.QtWidgets import (
    QFrame,
    QGraphicsOpacityEffect,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...analysis import registry
from ...models.engine import LOCAL, Engine, in_use, using
from ...models.errors import RunglassError, SchemaError
from ...models.figure import Band, FigureSpec
from ...models.linking import Emphasis
from ...models.progress import CancellableProgress
from ...models.question import Analysis, Question
from ...models.result import Result
from ...models.schema import RUNS, SCALARS
from ...models.selection import Clause, Holds
from ...models.store import RunStore
from ..render.curve_item import Prepared, prepared
from ..render.figure_view import FigureView
from ..tasks import FEED, TaskRunner
from ..widgets.empty_state import EmptyState
from ..workspace import Workspace

SPINNER_AFTER_MS = 150
_AGAIN = "Ask again"


@dataclass(frozen=True, slots=True)
class Answer:
    """A question with what came out.

    Attributes
    ----------
    analysis : Analysis
    question : Question
        Every option resolved.
    result : Result
    figure : FigureSpec
    store : RunStore
        What it was computed from.
    prepared : tuple
        What painting the long lines of the figure needs.
    """

    analysis: Analysis
    question: Question
    result: Result
    figure: FigureSpec
    store: RunStore
    prepared: tuple[Prepared, ...] = ()


def answered(identifier: str, options: dict[str, Any], store: RunStore, progress: CancellableProgress) -> Answer:
    """Compute the answer to a question as a pane or a session keeps it; runs in a worker thread."""
    analysis = registry.analysis(identifier)
    question = analysis.question.from_json(options)
    lacking = question.missing(store)
    if lacking:
        raise RunglassError(f"{analysis.title} {lacking}.", remedy="Open such data, or map its columns.")
    question = question.resolved(store)
    result = question.answer(store, engine=in_use(LOCAL, progress)[0], progress=progress)
    return Answer(analysis, question, result, analysis.figure(question, result), store)


def _answered_on(
    engine: Engine, work: Callable[[CancellableProgress], Answer], progress: CancellableProgress
) -> Answer:
    with using(engine, progress):
        answer = work(progress)
    return replace(answer, prepared=prepared(answer.figure))


def data_key(store: RunStore, inputs: tuple[str, ...], options: Mapping[str, Any]) -> tuple[object, ...]:
    """Give a value that changes when something an analysis with these inputs and options reads changes."""
    key: tuple[object, ...] = (store.filter, store.maps)
    if set(inputs) <= {RUNS.name, SCALARS.name} and options.get("runs"):
        # Curves of some runs: what other runs do while they are being read does not matter.
        runs = (store.runs.get(name) for name in options["runs"])
        return key + tuple(id(run.curves) for run in runs if run is not None)
    key += (tuple(map(id, store.sources.values())),)
    if RUNS.name in inputs or SCALARS.name in inputs:
        key += (tuple(map(id, store.runs.values())), id(store.folder_configs))
    return key


def _differs_in_data_only(asked: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    """Whether a question is the one asked before, under the same filter and maps, of data that changed."""
    return len(before) == len(asked) and asked[:2] == before[:2] and asked[2][:2] == before[2][:2]


class QuestionView(QWidget):
    """Shows the answer to one question and keeps it up to date.

    Signals
    -------
    answered(answer)
        A new answer is shown.
    map_wanted()
        The user wants to map columns, because the question lacks some.
    option_dragged(name, value)
        A rule that stands for an option was dragged.
    point_dragged(changes)
        A point that stands for options was dragged: their values by name.
    menu_wanted(place, clause)
        The user asks for a menu at a place of the screen, on what a clause selects (None: on nothing).
    option_opened(name, text)
        A band was clicked that puts a text into an option of texts, or takes it out again.
    x_cursor_moved(column, x)
        The mouse is at this x, or left (None).
    x_range_changed(column, scale, low, high)
        The user zoomed an axis that links; None for both ends: the data are fitted again.
    """

    answered = Signal(object)
    map_wanted = Signal()
    option_dragged = Signal(str, float)
    point_dragged = Signal(object)
    menu_wanted = Signal(QPoint, object)
    option_opened = Signal(str, str)
    x_cursor_moved = Signal(str, object)
    x_range_changed = Signal(str, str, object, object)

    def __init__(self, workspace: Workspace, tasks: TaskRunner, slot: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._tasks = tasks
        self._slot = slot
        self._asked: tuple[Any, ...] = ()
        self._is_computing = False
        self._next: tuple[str, dict[str, Any], str] | None = None
        self._store: RunStore | None = None
        self._narrowed: tuple[RunStore, str, RunStore] | None = None
        self._refusal = ("", "", "")
        self._is_waiting = False
        self._title = ""
        self._work: Callable[[CancellableProgress], Answer] | None = None
        self.answer: Answer | None = None

        # The colour of panels is its own, also where no frame is around it.
        self.setBackgroundRole(QPalette.ColorRole.Base)
        self.setAutoFillBackground(True)
        page = QWidget(self)
        self.figure_view = FigureView(page)
        self._stack = QStackedLayout(page)
        self._stack.addWidget(self.figure_view)
        self._bar = QProgressBar(self)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(2)
        # Or the figure would be laid out and painted anew each time it comes and goes.
        policy = self._bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._bar.setSizePolicy(policy)
        self._bar.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._bar)
        layout.addWidget(page, 1)

        self._spinner = QTimer(self)
        self._spinner.setSingleShot(True)
        self._spinner.setInterval(SPINNER_AFTER_MS)
        self._spinner.timeout.connect(self._on_spinner_timeout)
        tasks.changed.connect(self._on_tasks_changed)
        tasks.let_go.connect(self._on_tasks_let_go)
        tasks.engine_changed.connect(self._on_tasks_engine_changed)

        self.figure_view.hovered.connect(workspace.hover)
        self.figure_view.clicked.connect(self._on_figure_clicked)
        self.figure_view.brushed.connect(self._on_figure_brushed)
        self.figure_view.rule_dragged.connect(self.option_dragged)
        self.figure_view.point_dragged.connect(self.point_dragged)
        self.figure_view.menu_requested.connect(self.menu_wanted)
        self.figure_view.cursor_moved.connect(self.x_cursor_moved)
        self.figure_view.x_range_changed.connect(self.x_range_changed)
        workspace.hovered.connect(self.emphasise)

    def ask(self, identifier: str, options: dict[str, Any], where: str = "") -> None:
        """Show the answer to a question on the data that is kept now; nothing is computed when it is shown already.

        Parameters
        ----------
        identifier : str
            Id of the analysis.
        options : dict
            Options of the question as JSON values.
        where : str
            Condition on rows, besides the filter of the session.
        """
        store = self._workspace.now.kept
        if where:
            # Narrowed once, so that what was computed of it is known when an option moves.
            if self._narrowed is None or self._narrowed[0] is not store or self._narrowed[1] != where:
                self._narrowed = (store, where, store.keeping(Holds(where)))
            store = self._narrowed[2]
        analysis = registry.analysis(identifier)
        asked = (identifier, repr(sorted(options.items())), data_key(store, analysis.inputs, options))
        self._next = None
        if asked == self._asked:
            return
        is_growth = _differs_in_data_only(asked, self._asked)
        if self._is_computing and is_growth:
            # Data that come in faster than they are answered would otherwise never be shown.
            self._next = (identifier, dict(options), where)
            return
        self._asked = asked
        self._store = store  # held, so that the identities in the key stay those of living objects
        self._title = analysis.title
        self._work = functools.partial(answered, identifier, dict(options), store)
        self._start(quietly=is_growth and self.answer is not None)

    @property
    def shown(self) -> Answer | None:
        """The answer with its figure as the user zoomed it: what is exported."""
        if self.answer is None:
            return None
        return replace(self.answer, figure=self.figure_view.shown_spec())

    @functools.cached_property
    def _error(self) -> EmptyState:
        """What stands in place of the figure where there is no answer; of many figures few ever need it."""
        error = EmptyState("", selectable=True, parent=self._stack.parentWidget())
        error.button_clicked.connect(self._on_error_button_clicked)
        self._stack.addWidget(error)
        return error

    def forget(self) -> None:
        """Stop computing; the next `ask` computes anew."""
        self._asked, self._next = (), None
        self._tasks.cancel(self._slot)
        self._settle()

    def _start(self, *, quietly: bool = False) -> None:
        """Compute; `quietly` where the figure that is shown is right but for what came in a moment ago."""
        assert self._work is not None
        self._is_computing = True
        if not quietly:
            self._spinner.start()
        work = functools.partial(_answered_on, self._tasks.engine, self._work)
        self._tasks.start(self._slot, self._title, work, self._on_answer, self._on_failure)

    def show_cursor(self, column: str, x: float | None) -> None:
        """Show the shared cursor in the panels that have an axis with that column."""
        for panel in self.figure_view.panels:
            if panel.x.column == column:
                panel.set_cursor(x)

    def emphasise(self, emphasis: Emphasis) -> None:
        """Emphasise what is highlighted in the figure that is shown."""
        self.figure_view.set_emphasis(emphasis.of if emphasis else None)

    def _on_answer(self, answer: Answer) -> None:
        self._settle()
        self.answer = answer
        self._stack.setCurrentWidget(self.figure_view)
        self.figure_view.show_spec(answer.figure)
        if self._workspace.session.highlight is not None:
            self.emphasise(self._workspace.now.emphasis)
        self.answered.emit(answer)
        self._go_on()

    def _go_on(self) -> None:
        """Ask again where data came in while the last question was answered."""
        if self._next is not None:
            self.ask(*self._next)

    def _on_failure(self, error: Exception) -> None:
        self._settle()
        self.answer = None
        if isinstance(error, RunglassError):
            what, remedy = error.what, error.remedy
        else:
            what, remedy = f"{type(error).__name__}: {error}", "This is a fault of the analysis; please report it."
        can_map = isinstance(error, SchemaError) or "map" in remedy.lower()
        self._refusal = (what, remedy, "Map columns…" if can_map else "")
        self._show_refusal()
        self.answered.emit(None)
        self._go_on()

    @property
    def _is_reading(self) -> bool:
        return any(state.slot == FEED for state in self._tasks.running)

    @property
    def _is_asking(self) -> bool:
        return any(state.slot == self._slot for state in self._tasks.running)

    def _show_refusal(self) -> None:
        """Say why there is no answer; while files are still being read, that is no more than what there is so far."""
        what, remedy, button = self._refusal
        self._is_waiting = self._is_reading
        if self._is_waiting:
            self._error.set_content("Reading…", f"So far: {what}")
        else:
            self._error.set_content(what, remedy, button=button)
        self._stack.setCurrentWidget(self._error)

    def _settle(self) -> None:
        self._is_computing = False
        self._spinner.stop()
        self._bar.hide()
        self._is_waiting = False
        self._set_stale(False)

    def _set_stale(self, stale: bool) -> None:
        """Dim the last good figure while a new one is being made."""
        if stale != (self.figure_view.graphicsEffect() is not None):
            effect = QGraphicsOpacityEffect(self.figure_view) if stale else None
            if effect is not None:
                effect.setOpacity(0.45)
            self.figure_view.setGraphicsEffect(effect)  # type: ignore[arg-type]

    def _on_spinner_timeout(self) -> None:
        self._bar.setRange(0, 0)
        self._bar.show()
        self._set_stale(True)

    def _on_tasks_changed(self) -> None:
        # What was read meanwhile may be asked already: then the next answer says more than this refusal.
        if self._is_waiting and not self._is_reading and not self._is_asking:
            self._show_refusal()
        if self._bar.isVisible():
            for state in self._tasks.running:
                if state.slot == self._slot and state.total:
                    self._bar.setRange(0, state.total)
                    self._bar.setValue(state.done)

    def _on_tasks_engine_changed(self) -> None:
        """Ask again what was refused, or is being computed, elsewhere; what is answered would come out the same."""
        if self._asked and (self.answer is None or self._is_computing):
            self._start()

    def _on_tasks_let_go(self, slot: str) -> None:
        """Say that the user stopped it: a figure of an older question would pass for the answer."""
        if slot == self._slot and self._asked:
            self._next = None
            self._settle()
            self.answer = None
            self._error.set_content("It was stopped before it was answered.", button=_AGAIN)
            self._stack.setCurrentWidget(self._error)
            self.answered.emit(None)

    def _on_error_button_clicked(self) -> None:
        if self._error.button == _AGAIN:
            self._start()
        else:
            self.map_wanted.emit()

    def _on_figure_clicked(self, clause: Clause | None, modifiers: Qt.KeyboardModifier) -> None:
        for _, mark in self.answer.figure.marks() if self.answer is not None else ():
            if (
                isinstance(mark, Band)
                and mark.opens[0]
                and mark.origin is not None
                and mark.origin.clause([0]) == clause
            ):
                self.option_opened.emit(*mark.opens)
        adds = modifiers & (Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.ControlModifier)
        if not adds and clause == self._workspace.session.highlight:
            clause = None  # a second click lets go
        self._workspace.highlight(clause, mode="or" if adds else "replace", origin=self)

    def _on_figure_brushed(self, clause: Clause | None, mode: str) -> None:
        if clause is not None or mode == "replace":
            self._workspace.highlight(clause, mode=mode, origin=self)


class PaneFrame(QFrame):
    """The frame of a pane: rounded, outlined in the accent when focused, with buttons that show when the mouse is over it.

    Signals
    -------
    focus_wanted()
        The user clicked into the pane.
    """

    focus_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "pane")
        self.setProperty("focused", False)
        self._inside = QVBoxLayout(self)
        self._inside.setContentsMargins(4, 2, 6, 6)
        self._inside.setSpacing(0)
        self._buttons = QWidget(self)
        self._buttons.setProperty("role", "side")
        self._row = QHBoxLayout(self._buttons)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(2)
        self._buttons.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._buttons.hide()

    def set_content(self, content: QWidget) -> None:
        """Put something into the frame."""
        self._inside.addWidget(content)

    def add_button(self, button: QToolButton) -> None:
        """Put a button at the right of the title line."""
        button.setAutoRaise(True)
        self._row.addWidget(button)

    def set_focused(self, focused: bool) -> None:
        """Show whether this pane owns the inspector."""
        if self.property("focused") != focused:
            self.setProperty("focused", focused)
            self.style().unpolish(self)
            self.style().polish(self)

    def enterEvent(self, event: QEnterEvent) -> None:
        """Show the buttons."""
        super().enterEvent(event)
        self._place_buttons()
        self._buttons.show()
        self._buttons.raise_()

    def leaveEvent(self, event: QEvent) -> None:
        """Hide the buttons."""
        super().leaveEvent(event)
        self._buttons.hide()

    def resizeEvent(self, event: Any) -> None:
        """Keep the buttons at the right of the title line."""
        super().resizeEvent(event)
        self._place_buttons()

    def mousePressEvent(self, event: Any) -> None:
        """Ask for the focus."""
        super().mousePressEvent(event)
        self.focus_wanted.emit()

    def _place_buttons(self) -> None:
        size = self._buttons.sizeHint()
        self._buttons.setGeometry(self.width() - size.width() - 8, 4, size.width(), size.height())


def muted(text: str, parent: QWidget | None = None) -> QLabel:
    """Give a label in muted ink."""
    label = QLabel(text, parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("role", "muted")
    return label
