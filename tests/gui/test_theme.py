"""The look of the window."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtGui import QImage, QPalette
from PySide6.QtWidgets import QApplication, QLabel

from runglass.gui import theme as theme_module
from runglass.gui.theme import appearance, colour, font, icon, style_sheet
from runglass.resources import path, signs, theme


@pytest.fixture(autouse=True)
def _light(qapp: Any) -> Any:
    appearance().apply("light")
    yield
    appearance().apply("light")


@pytest.mark.parametrize("name", ["light", "dark"])
def test_that_the_style_sheet_names_only_what_exists(name: str) -> None:
    sheet = style_sheet(theme(name))
    assert "@" not in sheet.split("*/", 1)[1]
    for part in sheet.split("url(")[1:]:
        assert path("icons", name, part.split(")")[0].rsplit("/", 1)[1]).is_file()


@pytest.mark.parametrize("name", ["light", "dark"])
def test_that_icons_of_a_theme_have_its_colours(name: str) -> None:
    allowed = {theme(name).colour("on_accent"), theme(name).colour("muted")}
    drawings = list(path("icons", name).glob("*.svg"))
    assert drawings
    assert {drawing.read_text().split('stroke="')[1][:7] for drawing in drawings} <= allowed


def test_that_another_theme_keeps_the_style_whose_change_would_polish_all_widgets_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(QApplication, "setStyle", asked.append)
    appearance().apply("dark")
    assert asked == []
    assert appearance().theme.name == "dark"


def test_that_switching_the_theme_restyles_and_tells_once(qtbot: Any) -> None:
    label = QLabel("x")
    qtbot.addWidget(label)
    label.show()
    with qtbot.waitSignal(appearance().changed) as told:
        appearance().apply("dark")
    assert told.args[0].name == "dark"
    assert label.palette().color(QPalette.ColorRole.Window).name() == theme("dark").colour("background")
    assert colour("ink").name() == theme("dark").colour("ink")
    with qtbot.assertNotEmitted(appearance().changed):
        appearance().apply("dark")


def test_that_there_is_one_appearance_per_application() -> None:
    assert appearance() is appearance()
    assert appearance().parent() is QApplication.instance()


def test_that_another_palette_changes_the_colours_of_runs() -> None:
    before = colour("c0").name()
    appearance().apply("light", "okabe-ito")
    assert colour("c0").name() == theme("light", "okabe-ito").colour("c0") != before


def test_that_sizes_of_type_keep_their_proportion() -> None:
    assert font(10.0).pointSizeF() * 1.25 == pytest.approx(font(12.5).pointSizeF(), abs=0.02)
    assert font(10.0, bold=True).weight() > font(10.0).weight()


def test_that_an_icon_is_drawn() -> None:
    assert not icon("ph.list").pixmap(16, 16).isNull()


@pytest.mark.parametrize("name", sorted(signs()))
def test_that_every_sign_has_ink_and_keeps_off_the_edge(name: str) -> None:
    image = icon(name).pixmap(64, 64).toImage().convertToFormat(QImage.Format.Format_Alpha8)
    ink = np.frombuffer(image.constBits(), np.uint8).reshape(64, -1)[:, :64]
    assert (ink > 200).sum() > 100
    assert not ink[[0, -1]].any()
    assert not ink[:, [0, -1]].any()


def test_that_every_icon_the_window_names_is_there() -> None:
    named = set()
    for file in Path(theme_module.__file__).parent.rglob("*.py"):
        named |= set(re.findall(r'"((?:ph|mdi6)\.[a-z-]+)"', file.read_text(encoding="utf-8")))
    assert named == set(signs())


def test_that_an_icon_nobody_drew_is_refused_when_it_is_asked_for() -> None:
    with pytest.raises(KeyError):
        icon("ph.unheard-of")
