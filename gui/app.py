"""Starting the window."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from .. import __version__


def main(
    paths: Sequence[str],
    *,
    session: Path | None = None,
    layout: Path | None = None,
    follow: bool = True,
    demo: bool = False,
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

    from .main_window import MainWindow
    from .settings import Settings, autosave_path

    window = MainWindow(Settings(), autosave=autosave_path())
    window.workspace.change(follow=follow)
    window.show()
    # After the first paint, so that the window is there before the first byte is read.
    QTimer.singleShot(0, lambda: _open(window, [str(path) for path in paths], session, layout, demo=demo))
    return app.exec()


def _open(window: object, paths: list[str], session: Path | None, layout: Path | None, *, demo: bool) -> None:
    from .main_window import MainWindow

    assert isinstance(window, MainWindow)
    if session is not None:
        window.open_session(session)
    if layout is not None:
        window.apply_layout(layout)
    if demo:
        window.open_demo()
    elif paths:
        window.open(paths)
    elif session is None:
        window.offer_last_session()
