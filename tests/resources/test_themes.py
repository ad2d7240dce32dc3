"""Themes: every name a figure may use has a colour, and palettes agree on what tells runs apart."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from runglass.models.figure import Dash, Symbol
from runglass.resources import THEMES, contrast, theme
from runglass.resources.palettes import BUILT_IN

HUES = ("accent", "good", "bad", "ink", "muted", *(f"c{number}" for number in range(40)))


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("palette", BUILT_IN)
def test_that_every_hue_of_a_figure_has_a_colour(name: str, palette: str) -> None:
    chosen = theme(name, palette)
    assert all(re.fullmatch(r"#[0-9a-f]{6}", chosen.colour(hue)) for hue in HUES)


def test_that_themes_have_the_same_tokens_and_ramps() -> None:
    light, dark = map(theme, THEMES)
    assert light.tokens.keys() == dark.tokens.keys()
    assert light.ramps.keys() == dark.ramps.keys() == {"sequential", "diverging", "good", "bad"}


def test_that_a_palette_repeats_with_another_dash_and_symbol() -> None:
    light = theme("light")
    first, again = "c1", f"c{1 + len(light.palette)}"
    assert light.colour(first) == light.colour(again)
    assert light.dash(first) == "solid"
    assert light.dash(again) != "solid"
    assert light.symbol(first) != light.symbol(again)


def test_that_the_dash_and_symbol_of_a_mark_win_over_those_of_its_round() -> None:
    light = theme("light")
    assert light.dash("c7", "dotted") == "dotted"
    assert light.symbol("c7", "star") == "star"


def test_that_every_dash_and_symbol_of_the_vocabulary_is_known() -> None:
    light = theme("light")
    assert set(get_args(Dash)) <= light.dashes.keys()
    assert set(light.dash_cycle) <= light.dashes.keys()
    assert set(light.symbol_cycle) <= set(get_args(Symbol))


def test_that_extrapolation_dashes_are_never_those_of_a_run() -> None:
    assert "dashed" not in theme("light").dash_cycle


def test_that_an_unknown_hue_theme_or_palette_is_refused() -> None:
    with pytest.raises(KeyError):
        theme("light").colour("mauve")
    with pytest.raises(KeyError):
        theme("sepia")
    with pytest.raises(KeyError):
        theme("light", "rainbow")


@pytest.mark.parametrize("name", THEMES)
def test_that_a_ramp_starts_and_ends_with_its_stops_and_is_clipped(name: str) -> None:
    chosen = theme(name)
    for ramp, stops in chosen.ramps.items():
        assert chosen.ramp(ramp, 0) == chosen.ramp(ramp, -1) == stops[0]
        assert chosen.ramp(ramp, 1) == chosen.ramp(ramp, 2) == stops[-1]


def test_that_a_ramp_is_mixed_between_its_stops() -> None:
    assert theme("light").ramp("diverging", 0.5) == "#f7f7f7"
    assert theme("light").ramp("diverging", 7 / 16) == "#e4eef4"


def test_that_ink_on_a_colour_is_dark_on_light_and_white_on_dark() -> None:
    light = theme("light")
    assert light.ink_on("#ffffff") == "#1c2330"
    assert light.ink_on("#153a69") == "#ffffff"


@pytest.mark.parametrize("name", THEMES)
def test_that_words_can_be_read_on_a_panel(name: str) -> None:
    chosen = theme(name)
    for hue in ("ink", "muted", "accent", "good", "bad", "warn"):
        assert contrast(chosen.colour(hue), chosen.colour("panel")) >= 4.5, hue
