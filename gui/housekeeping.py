"""When Python looks for garbage among all objects there are.

A full collection looks at everything that lives: with thousands of runs open it takes longer than a frame, and Python begins
one whenever it has made many objects, which following does all the time. So what lives is set aside (`gc.freeze`) when it has
come to rest after something was opened or closed, and only what was made since is looked through. What survives such a search
is set aside as well: with runs that are followed for hours it would soon be as much again.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping

from PySide6.QtCore import QObject, QTimer

from .feed import Feed
from .workspace import Workspace

_REST_MS = 3_000
"""Milliseconds without a change of what is open after which all that lives is set aside."""

_FIELDS = frozenset({"panes", "roots", "grouping", "filter"})
"""What makes many objects come or go when it changes."""


class Housekeeping(QObject):
    """Sets aside what lives, so that looking for garbage never takes longer than a frame while runs are followed."""

    def __init__(self, workspace: Workspace, feed: Feed, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self.set_aside)
        self._is_aside = False
        gc.callbacks.append(self._on_searched)
        feed.loaded.connect(self._timer.start)
        workspace.changed.connect(self._on_workspace_changed)

    def set_aside(self) -> None:
        """Free what is garbage now, and look at the rest no more until something is opened or closed."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._is_aside = True

    def stop(self) -> None:
        """Leave everything to Python again."""
        self._timer.stop()
        self._is_aside = False
        if self._on_searched in gc.callbacks:
            gc.callbacks.remove(self._on_searched)
        gc.unfreeze()

    def _on_searched(self, phase: str, told: Mapping[str, int]) -> None:
        """Set aside what survived a search among all that was not; called by Python, in any thread."""
        if self._is_aside and phase == "stop" and told["generation"] == 2:
            gc.freeze()

    def _on_workspace_changed(self, fields: frozenset[str], _origin: object) -> None:
        if fields & _FIELDS:
            self._timer.start()
