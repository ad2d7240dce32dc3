"""Starting the window."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from .. import __version__, resources
from ..models.early_reading import EarlyReading
from .main_window import MainWindow
from .settings import Settings, autosave_path


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
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("Runglass")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("runglass")
    app.setWindowIcon(QIcon(str(resources.path("desktop", "runglass.svg"))))

    window = MainWindow(Settings(), autosave=autosave_path(), furnished=False)
    window.expect(bool(paths) or session is not None or demo)
    window.show()

    def begin() -> None:
        open_asked(window, [str(path) for path in paths], session, layout, follow=follow, demo=demo, begun=begun)

    furnishing = _Furnishing(window, begin)
    # After the first paint, so that the window is there before the rest of it is imported.
    QTimer.singleShot(0, furnishing.start)
    status = app.exec()
    furnishing.finish()
    return status


class _Furnishing(QObject):
    """Makes the rest of a window that is on screen: imported in a thread, made step by step in turns of the event loop.

    Parameters
    ----------
    window : MainWindow
    then : callable
        What is done once all is there.
    """

    _imported = Signal()

    def __init__(self, window: MainWindow, then: Callable[[], object]) -> None:
        super().__init__(window)
        self._steps: Iterator[None] = window.furnish()
        self._then = then
        self._thread = threading.Thread(target=self._import, name="imports")
        self._imported.connect(self._step)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Wait for what is being imported, as when the window was closed at once."""
        if self._thread.is_alive():
            self._thread.join()

    def _import(self) -> None:
        try:
            import_module(".rooms", __package__)
        finally:
            self._imported.emit()  # what could not be imported fails once more where it can be seen

    def _step(self) -> None:
        if next(self._steps, self) is self:
            self._then()
        else:
            QTimer.singleShot(0, self, self._step)


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
        window.workspace.replace(replace(window.workspace.session, follow=False))
