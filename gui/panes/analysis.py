"""The pane of any analysis: its figure. The form, the table and the estimates stand in the inspector."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import QFrame, QMenu, QVBoxLayout, QWidget

from ...analysis import registry
from ...models.errors import RunglassError
from ...models.figure import Rule
from ...models.result import counted, shortened
from ...models.selection import Clause
from ..tasks import TaskRunner
from ..workspace import Workspace
from .base import Answer, QuestionView


class AnalysisPane(QFrame):
    """Shows the answer to the question a pane of the session keeps.

    Signals
    -------
    answered(answer)
        There is a new `Answer`, or None where the question cannot be answered.
    map_wanted()
        The user wants to map columns.
    """

    answered = Signal(object)
    map_wanted = Signal()

    def __init__(self, workspace: Workspace, tasks: TaskRunner, key: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "pane-body")
        self._workspace = workspace
        self._key = key
        self._is_left = False
        self.view = QuestionView(workspace, tasks, f"pane:{key}", self)
        self.view.figure_view.set_heading_visible(False)  # it stands in the title bar of the pane
        self.view.answered.connect(self.answered)
        self.view.map_wanted.connect(self.map_wanted)
        self.view.option_dragged.connect(self._on_view_option_dragged)
        self.view.option_opened.connect(self._on_view_option_opened)
        self.view.point_dragged.connect(self._on_view_point_dragged)
        self.view.menu_wanted.connect(self._on_view_menu_wanted)
        self.view.x_cursor_moved.connect(self._on_view_cursor_moved)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 0, 4, 4)
        layout.addWidget(self.view)
        workspace.changed.connect(self._on_workspace_changed)
        workspace.data_changed.connect(self.refresh)

    @property
    def answer(self) -> Answer | None:
        """What is shown."""
        return self.view.answer

    @property
    def shown(self) -> Answer | None:
        """What is shown, as the user zoomed it."""
        return self.view.shown

    def refresh(self) -> None:
        """Ask again; nothing is computed where nothing the answer reads has changed."""
        pane = self._workspace.pane(self._key)
        if pane is not None and not self._is_left:
            self.view.ask(pane.analysis, dict(pane.question), pane.where)

    def leave(self) -> None:
        """Stop computing, because the pane is being closed; one with the same key may take its place before it is deleted."""
        self._is_left = True
        self.view.forget()

    def _on_workspace_changed(self, fields: frozenset[str], origin: object) -> None:
        if "step_cursor" in fields and origin is not self:
            self.view.show_cursor(self._workspace.session.curves.x, self._workspace.session.step_cursor)
        if fields & {"panes", "filter", "maps", "run_notes"}:
            self.refresh()
        if fields & {"highlight", "filter"}:
            self.view.emphasise(self._workspace.now.emphasis)

    def _on_view_cursor_moved(self, column: str, x: float | None) -> None:
        """Tell the cursor to the curves, where both stand on the same x."""
        if column == self._workspace.session.curves.x:
            self._workspace.change(origin=self, step_cursor=x)

    def _on_view_option_dragged(self, name: str, value: float) -> None:
        pane, answer = self._workspace.pane(self._key), self.view.answer
        if pane is None or answer is None:
            return
        changes: dict[str, dict[str, Any]] = {self._key: {name: value}}
        for _, mark in answer.figure.marks():
            if isinstance(mark, Rule) and mark.option == name and mark.keeps[0]:
                texts = pane.question.get(mark.keeps[0], ())
                changes[self._key][mark.keeps[0]] = [*texts, mark.keeps[1]]
        changes |= self._changes_elsewhere(answer, name, value)
        self._workspace.change_questions(changes, origin=self, gesture=f"{self._key}:{name}")

    def _on_view_point_dragged(self, values: dict[str, float]) -> None:
        answer = self.view.answer
        if answer is None:
            return
        changes: dict[str, dict[str, Any]] = {self._key: dict(values)}
        for name, value in values.items():
            for key, own in self._changes_elsewhere(answer, name, value).items():
                changes.setdefault(key, {}).update(own)
        self._workspace.change_questions(changes, origin=self, gesture=f"{self._key}:{','.join(values)}")

    def _on_view_menu_wanted(self, place: QPoint, clause: Clause | None) -> None:
        menu = self.menu_on(clause)
        if menu is not None:
            menu.popup(place)

    def menu_on(self, clause: Clause | None) -> QMenu | None:
        """Give the menu of what is highlighted and of what a clause selects; None where there is nothing to choose.

        Runs that are brushed can be held out of a fit, so that it has to forecast them.
        """
        answer = self.view.answer
        if answer is None or not answer.question.marks_runs:
            return None
        option = answer.question.marks_runs
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        now = str(getattr(answer.question, option)).strip()
        offered: list[list[str]] = []
        everything = len(answer.store.rows("runs"))
        for chosen in (self._workspace.session.highlight, clause):
            runs = [] if chosen is None else answer.store.rows("runs", chosen)["run"].astype(str).tolist()
            # What is highlighted may say nothing of runs, and then selects all of them.
            if not 0 < len(runs) < everything or runs in offered:
                continue
            offered.append(runs)
            listed = ", ".join(f'"{run}"' if '"' not in run else f"'{run}'" for run in runs)
            out = f"run not in [{listed}]"
            named = shortened(runs[0], 40) if len(runs) == 1 else counted(len(runs), "run")
            for text, condition in (
                (f"Hold {named} out of the fit", f"({now}) and {out}" if now else out),
                (f"Fit only {named}", f"run in [{listed}]"),
            ):
                menu.addAction(text).triggered.connect(partial(self._fit_where, option, condition))
        if now:
            menu.addAction("Fit all runs again").triggered.connect(partial(self._fit_where, option, ""))
        if menu.isEmpty():
            menu.deleteLater()
            return None
        return menu

    def _fit_where(self, option: str, condition: str, _checked: bool = False) -> None:
        self._workspace.change_question(self._key, origin=self, **{option: condition})

    def _changes_elsewhere(self, answer: Answer, name: str, value: float) -> dict[str, dict[str, Any]]:
        """Give what changes in the questions of other panes that follow this one, by key."""
        changes = {}
        for other in self._workspace.session.panes:
            if other.kind != "analysis" or other.key == self._key:
                continue
            try:
                question = registry.analysis(other.analysis).question.from_json(other.question)
            except RunglassError:
                continue  # that pane says itself what is wrong with it
            new, old = question.following(answer.question, name, value, answer.store).to_json(), question.to_json()
            if new != old:
                changes[other.key] = {key: new[key] for key in new if new[key] != old[key]}
        return changes

    def _on_view_option_opened(self, name: str, text: str) -> None:
        pane = self._workspace.pane(self._key)
        if pane is not None:
            texts = list(pane.question.get(name, ()))
            now = [one for one in texts if one != text] if text in texts else [*texts, text]
            self._workspace.change_question(self._key, origin=self, **{name: now})
