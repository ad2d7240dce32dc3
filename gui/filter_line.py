"""The line that says which rows enter computation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QLineEdit, QSizePolicy, QWidget

from ..models.deferred import deferred
from ..models.errors import ExpressionError, RunglassError
from .widgets.literal_tip import literal_tip
from .widgets.style_property import set_property

if TYPE_CHECKING:
    from ..models import expression, selection
    from .workspace import Workspace
else:
    expression, selection = (deferred(f"..models.{name}", __package__) for name in ("expression", "selection"))


class FilterLine(QLineEdit):
    """A condition on columns (``params > 1e6 and seed == 0``); red while it is none, and then it filters nothing.

    A filter that was made by a gesture is shown as a phrase, and stays until the line is edited. It is on screen before there
    is a workspace whose filter it shows.
    """

    _workspace: Workspace

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setPlaceholderText("keep only rows where …   (params > 1e6 and seed == 0)")
        self.setAccessibleName("filter")
        self.setClearButtonEnabled(True)
        self.setMinimumWidth(180)
        self.setMaximumWidth(460)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setReadOnly(True)

    def attach(self, workspace: Workspace) -> None:
        """Show the filter of a workspace from now on, and change it."""
        self._workspace = workspace
        self.setReadOnly(False)
        self.editingFinished.connect(self._on_self_finished)
        self.textEdited.connect(self._on_self_edited)
        workspace.changed.connect(self._on_workspace_changed)
        workspace.data_changed.connect(self._on_workspace_data_changed)
        self._show()

    @property
    def _shown(self) -> str:
        current = self._workspace.session.filter
        return "" if current == selection.EVERYTHING else str(current)

    def _show(self) -> None:
        self.setText(self._shown)
        self.setCursorPosition(0)
        self._mark(self._workspace.now.filter_error)

    def _mark(self, error: str) -> None:
        set_property(self, "invalid", bool(error))
        self.setToolTip(
            literal_tip(error or (f"Only rows where {self._shown} enter computation" if self._shown else ""))
        )

    def _on_workspace_changed(self, fields: frozenset[str], _origin: object) -> None:
        if "filter" in fields:
            self._show()

    def _on_workspace_data_changed(self) -> None:
        if self.text() == self._shown:
            self._mark(self._workspace.now.filter_error)

    def _on_self_edited(self, text: str) -> None:
        try:
            if text.strip() and text != self._shown:
                expression.parse(text)
        except ExpressionError as error:
            self._mark(str(error))
        else:
            self._mark(self._workspace.now.filter_error if text == self._shown else "")

    def _on_self_finished(self) -> None:
        text = self.text().strip()
        if text == self._shown:
            return
        if not text:
            self._workspace.change(filter=selection.EVERYTHING)
            return
        session = self._workspace.session
        try:
            self._workspace.now.all.reading_as(session.maps).keeping(selection.Holds(text)).check_filter()
        except RunglassError as error:
            self._mark(str(error))
            return
        self._workspace.change(filter=selection.Holds(text))
