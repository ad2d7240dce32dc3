"""The figures on screen: that of the focused pane, that under the mouse, all of them."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QWidget

from .pane_area import PaneArea
from .panes.analysis import AnalysisPane
from .panes.base import Answer
from .panes.curves import CurvesPane, current_answer
from .render.figure_view import FigureView
from .workspace import Workspace


class ShownFigures:
    """Finds figures in the panes of a session.

    Parameters
    ----------
    workspace, area
        Of the window.
    """

    def __init__(self, workspace: Workspace, area: PaneArea) -> None:
        self._workspace = workspace
        self._area = area

    @property
    def _focused(self) -> QWidget | None:
        return self._area.content(self._workspace.session.focus)

    @property
    def answer(self) -> Answer | None:
        """What the focused pane shows, as it is on screen; of the cards, the one touched last."""
        content = self._focused
        if isinstance(content, CurvesPane):
            return current_answer(content)
        return content.shown if isinstance(content, AnalysisPane) else None

    @property
    def current(self) -> FigureView | None:
        """The figure of the focused pane; of the cards, the one touched last."""
        content = self._focused
        if isinstance(content, CurvesPane):
            return content.current.view.figure_view if content.current is not None else None
        return content.view.figure_view if isinstance(content, AnalysisPane) else None

    @property
    def all(self) -> list[FigureView]:
        """The figures of all panes."""
        contents = [self._area.content(pane.key) for pane in self._workspace.session.panes]
        cards = [view for content in contents if isinstance(content, CurvesPane) for view in content.views]
        views = [*cards, *(content.view for content in contents if isinstance(content, AnalysisPane))]
        return [view.figure_view for view in views]

    def on_current(self, act: Callable[[FigureView], object]) -> Callable[[], object]:
        """Give what acts on the figure of the focused pane."""

        def acted() -> object:
            figure = self.current
            return act(figure) if figure is not None else None

        return acted

    def on_pointed(self, act: Callable[[FigureView], object]) -> Callable[[], object]:
        """Give what acts on the figure under the mouse, else on that of the focused pane."""

        def acted() -> object:
            figure = next((one for one in self.all if one.is_pointed_at), None) or self.current
            return act(figure) if figure is not None else None

        return acted

    def step_cursor(self, by: int) -> None:
        """Move the cursor of the figure of the focused pane by so many points."""
        figure = self.current
        if figure is not None:
            figure.move_cursor(by)

    def unpin(self) -> bool:
        """Remove all second cursors; say whether there was one."""
        pinned = [figure for figure in self.all if figure.is_pinned]
        for figure in pinned:
            if figure.is_pinned:  # a card's goes from all cards at once
                figure.toggle_pin()
        return bool(pinned)
