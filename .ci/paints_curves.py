"""Open the demo in the real window and look at it: the curves of its first card have to be there, in the colours of the runs.

    QT_QPA_PLATFORM=offscreen python paints_curves.py

It knows nothing of where it lies, so that it looks at whatever Runglass is installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

import runglass
from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from runglass.resources import theme

_PATIENCE = 120.0
_LEAST_PIXELS, _LEAST_COLOURS = 100, 2


def main() -> None:
    """Say how many pixels of which colours there are; fail where they are too few."""
    app = QApplication([])
    with tempfile.TemporaryDirectory() as folder:
        window = MainWindow(Settings(Path(folder) / "settings.ini"))
        window.workspace.change(theme="light", follow=False)
        window.resize(1360, 850)
        window.show()
        window.open_demo()
        began = time.monotonic()
        painted: dict[str, int] = {}
        while len(painted) < _LEAST_COLOURS and time.monotonic() - began < _PATIENCE:
            app.processEvents()
            time.sleep(0.02)
            if window.feed.seconds > 0 and not window.tasks.running and window.figures.all:
                painted = pixels(window.figures.all[0].grab().toImage())
        took = time.monotonic() - began
        window.close()
    told = ", ".join(f"{count:,} of {colour}" for colour, count in painted.items())
    print(f"{Path(runglass.__file__).parent}: painted after {took:.1f} s, pixels: {told or 'none'}")
    if len(painted) < _LEAST_COLOURS:
        sys.exit("the curves of the demo are not on screen")


def pixels(image: QImage) -> dict[str, int]:
    """Give the colours of runs of which there are more pixels than a legend has."""
    counts = dict.fromkeys(theme("light").palette, 0)
    for y in range(image.height()):
        for x in range(image.width()):
            name = image.pixelColor(x, y).name()
            if name in counts:
                counts[name] += 1
    return {colour: count for colour, count in counts.items() if count >= _LEAST_PIXELS}


if __name__ == "__main__":
    main()
