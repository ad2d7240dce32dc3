"""Starting the window."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from .. import resources
from ..resources.version import __version__
from . import quick_start
from .main_window import MainWindow
from .settings import Settings, autosave_path
from .theme import STYLE

if TYPE_CHECKING:
    from ..models.early_reading import EarlyReading


_PACKAGE = __package__ or ""
_TURN = 0.02
"""Seconds of a turn of the event loop while the window is being furnished."""


def main(
    paths: Sequence[str],
    *,
    session: Path | None = None,
    layout: Path | None = None,
    follow: bool = True,
    demo: bool = False,
    begun: EarlyReading | None = None,
) -> int:
    """Open the window and stay until it is closed.

    Parameters
    ----------
    paths : sequence of str
        Folders, files or patterns to open.
    session : Path, optional
        Session file to open.
    layout : Path, optional
        Session file whose panes, options and arrangement are applied to `paths`.
    follow : bool
        Whether to look for what is new in files that grow.
    demo : bool
        Whether to open the bundled sample project.
    begun : EarlyReading, optional
        Who reads `paths` already.

    Returns
    -------
    int
        Exit status.
    """
    app = QApplication.instance() or QApplication([*sys.argv[:1], *STYLE])
    assert isinstance(app, QApplication)
    app.setApplicationName("Runglass")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("runglass")
    app.setWindowIcon(QIcon(str(resources.path("desktop", "runglass.svg"))))

    settings = Settings()
    window = MainWindow(settings, autosave=autosave_path(), furnished=False)
    window.expect(bool(paths) or session is not None or demo)
    window.show()

    def begin() -> None:
        open_asked(window, [str(path) for path in paths], session, layout, follow=follow, demo=demo, begun=begun)

    furnishing = _Furnishing(window, begin)
    # After the first paint, so that the window is there before the rest of it is imported.
    QTimer.singleShot(0, furnishing.start)
    status = app.exec()
    furnishing.finish()
    if window.left_waiting:
        # Python would wait for these threads, and they for a disk that does not answer.
        settings.sync()
        sys.stdout.flush()
        os._exit(status)
    return status


class _Furnishing(QObject):
    """Makes the rest of a window that is on screen, in turns of the event loop short enough for it to paint in between.

    What knows no Qt is imported in a thread meanwhile. What knows Qt is not: its classes come into being when they are first
    named, and two threads that name them at once can crash.

    Parameters
    ----------
    window : MainWindow
    then : callable
        What is done once all is there.
    """

    def __init__(self, window: MainWindow, then: Callable[[], object]) -> None:
        super().__init__(window)
        self._steps = self._work(window)
        self._then = then
        self._thread = threading.Thread(target=_import_models, name="imports")
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_timer_timeout)

    def start(self) -> None:
        """Begin in the next turn: the window is painted in this one."""
        self._timer.start(0)

    def finish(self) -> None:
        """Wait for what is being imported, as when the window was closed at once."""
        self._timer.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self, window: MainWindow) -> Iterator[None]:
        self._thread.start()
        yield from _named_classes()
        while self._thread.is_alive():
            self._thread.join(_TURN)
            yield
        for name in (
            "pyqtgraph",
            *(f"{_PACKAGE}{name}" for name in (".render.figure_view", ".panes.curves", ".rooms")),
        ):
            import_module(name)
            yield
        yield from window.furnish()

    def _on_timer_timeout(self) -> None:
        if next(self._steps, self) is self:
            self._timer.stop()
            quick_start.end()
            self._then()


def _import_models() -> None:
    for name in ("models.loader", "models.store", "models.session", "analysis.registry", "analysis.curves.smooth"):
        import_module(f"..{name}", __package__)


def _named_classes() -> Iterator[None]:
    """Name every class of Qt in short steps: pyqtgraph names them all when it is imported, which takes as long as Qt itself."""
    begun = time.perf_counter()
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            getattr(module, name)
            if time.perf_counter() - begun > _TURN:
                yield
                begun = time.perf_counter()


def open_asked(
    window: MainWindow,
    paths: list[str],
    session: Path | None,
    layout: Path | None,
    *,
    follow: bool,
    demo: bool,
    begun: EarlyReading | None = None,
) -> None:
    """Open what the command line asks for; what it says of following and layout comes last and holds."""
    if session is not None:
        window.files.open_session(session)
    if demo:
        window.open_demo()
    elif paths:
        window.files.open(paths, begun=begun)
    elif session is None:
        window.files.offer_last_session()
    window.offer_tour()
    if layout is not None:
        window.files.apply_layout(layout)
    if not follow:
        window.workspace.replace(dataclasses.replace(window.workspace.session, follow=False))
