"""Draw the pictures of the guide and of the README from the real window on the sample project.

From the root of the repository::

    QT_QPA_PLATFORM=offscreen .venv/bin/python .ci/make_screenshots.py
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from PySide6.QtCore import QBuffer, QEvent
from PySide6.QtWidgets import QApplication, QWidget

from runglass.analysis.templates import template
from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from runglass.gui.theme import STYLE
from runglass.resources import path

GUIDE, README = path("guide"), path("screenshots")

_SIZE = (1360, 850)
_COLOURS = 240


def main() -> None:
    """Take all pictures."""
    app = QApplication(["runglass", *STYLE])
    with tempfile.TemporaryDirectory() as folder:
        window = MainWindow(Settings(Path(folder) / "settings.ini"))
        window.workspace.change(theme="light", follow=False)
        window.resize(*_SIZE)
        window.show()
        window.open_demo()
        settle(app, lambda: window.feed.seconds > 0 and not window.tasks.running)
        take(window, GUIDE / "window.png")
        take(window, README / "window.png")
        window.workspace.change(panes=())
        window.show_questions()
        settle(app, lambda: not window.tasks.running)
        take(window, GUIDE / "questions.png")
        for name in ("model-release", "scaling-study"):
            window.arrange_as(template(name))
            settle(app, lambda: not window.tasks.running)
            take(window, GUIDE / f"{name}.png")
        window.close()


def settle(app: QApplication, is_done: Callable[[], bool]) -> None:
    """Let the window work until it has nothing to do."""
    for _ in range(80):
        app.processEvents()
        time.sleep(0.01)
    while not is_done():
        app.processEvents()
        time.sleep(0.01)
    app.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # outside of its own loop Qt keeps what is to be deleted
    for _ in range(30):
        app.processEvents()
        time.sleep(0.01)


def take(widget: QWidget, file: Path) -> None:
    """Write what a widget shows as a small PNG."""
    buffer = QBuffer()
    buffer.open(QBuffer.OpenModeFlag.WriteOnly)
    widget.grab().save(buffer, "PNG")
    image = Image.open(io.BytesIO(bytes(buffer.data().data()))).convert("RGB")
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
