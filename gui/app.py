"""Starting the window."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from .. import __version__, resources

if TYPE_CHECKING:
    from .main_window import MainWindow


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
    app.setWindowIcon(QIcon(str(resources.path("desktop", "runglass.svg"))))

    from .main_window import MainWindow
    from .settings import Settings, autosave_path

    window = MainWindow(Settings(), autosave=autosave_path())
    window.show()

    def begin() -> None:
        open_asked(window, [str(path) for path in paths], session, layout, follow=follow, demo=demo)

    # After the first paint, so that the window is there before the first byte is read.
    QTimer.singleShot(0, begin)
    return app.exec()


def open_asked(
    window: MainWindow, paths: list[str], session: Path | None, layout: Path | None, *, follow: bool, demo: bool
) -> None:
    """Open what the command line asks for; what it says of following and layout comes last and holds."""
    if session is not None:
        window.files.open_session(session)
    if demo:
        window.open_demo()
    elif paths:
        window.open(paths)
    elif session is None:
        window.files.offer_last_session()
    window.offer_tour()
    if layout is not None:
        window.files.apply_layout(layout)
    if not follow:
        window.workspace.replace(replace(window.workspace.session, follow=False))
