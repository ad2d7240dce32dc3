"""Icons follow the theme."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtGui import QColor, QIcon

from runglass.gui.theme import appearance
from runglass.gui.widgets.icon_button import IconButton


@pytest.fixture(autouse=True)
def _light(qapp: Any) -> Any:
    appearance().apply("light")
    yield
    appearance().apply("light")


def ink(icon: QIcon) -> str:
    """Give the colour of the most opaque pixel of an icon."""
    image = icon.pixmap(32, 32).toImage()
    pixels = (image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height()))
    return QColor(max(pixels, key=lambda colour: colour.alpha())).name()


def test_that_an_icon_has_the_muted_colour_of_the_theme_that_is_on(qtbot: Any) -> None:
    button = IconButton("ph.x", "Close")
    qtbot.addWidget(button)
    seen = []
    for theme in ("light", "dark"):
        appearance().apply(theme)  # type: ignore[arg-type]
        assert QColor(ink(button.icon())).lightnessF() == pytest.approx(
            QColor(appearance().theme.colour("muted")).lightnessF(), abs=0.02
        )
        seen.append(ink(button.icon()))
    assert seen[0] != seen[1]
    assert button.accessibleName() == button.toolTip() == "Close"
