"""The pane of any analysis: its figure. The form, the table and the estimates stand in the inspector."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

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
        self.view = QuestionView(workspace, tasks, f"pane:{key}", self)
        self.view.figure_view.set_heading_visible(False)  # it stands in the title bar of the pane
        self.view.answered.connect(self.answered)
        self.view.map_wanted.connect(self.map_wanted)
        self.view.option_dragged.connect(self._on_view_option_dragged)
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
        if pane is not None:
            self.view.ask(pane.analysis, dict(pane.question), pane.where)

    def leave(self) -> None:
        """Stop computing, because the pane is being closed."""
        self.view.forget()

    def _on_workspace_changed(self, fields: frozenset[str], _origin: object) -> None:
        if fields & {"panes", "filter", "maps"}:
            self.refresh()
        if fields & {"highlight", "filter"}:
            self.view.emphasise(self._workspace.now.emphasis)

    def _on_view_option_dragged(self, name: str, value: float) -> None:
        self._workspace.change_question(self._key, origin=self, **{name: value})
