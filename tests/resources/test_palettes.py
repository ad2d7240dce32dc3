"""Palettes: ours are told apart by who sees colours otherwise, those of third parties are read or refused with a sentence."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.resources import DEFAULT_PALETTE, THEMES, contrast, palettes, theme
from runglass.resources.colours import mixed, rgb
from runglass.resources.palettes import BUILT_IN, LEAST_CONTRAST, broken_palettes, palette

# Machado, Oliveira and Fernandes (2009), A Physiologically-based Model for Simulation of Color Vision Deficiency, table 1 at
# severity 1.0, for linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
SRGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colour: str, seen_with: np.ndarray) -> np.ndarray:
    """Give CIE L*a*b* (D65) of a colour as it is seen."""
    part = np.array(rgb(colour)) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    ratio = SRGB @ np.clip(seen_with @ linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(
    ("primary", "known"),
    [("#ff0000", (53.24, 80.09, 67.20)), ("#00ff00", (87.73, -86.18, 83.18)), ("#0000ff", (32.30, 79.19, -107.86))],
)
def test_that_differences_are_measured_in_the_standard_space(primary: str, known: tuple[float, ...]) -> None:
    assert lab(primary, DEFICIENCIES["none"]) == pytest.approx(known, abs=0.05)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("mode", THEMES)
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_that_every_two_colours_of_ours_stay_apart_for_who_sees_colours_otherwise(
    name: str, mode: str, deficiency: str
) -> None:
    seen = [lab(colour, DEFICIENCIES[deficiency]) for colour in palette(name).colours[mode]]
    apart = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]
    assert min(apart) > 11  # a difference of 2.3 is just noticed side by side


def test_that_the_one_for_print_is_told_apart_in_grey() -> None:
    lightness = sorted(float(lab(colour, DEFICIENCIES["none"])[0]) for colour in palette("print").colours["light"])
    assert min(np.diff(lightness)) > 20
    assert max(lightness) < 75  # and from the paper


@pytest.mark.parametrize("name", BUILT_IN)
def test_that_ours_say_what_they_are_and_where_they_come_from(name: str) -> None:
    ours = palette(name)
    assert ours.title
    assert ours.about.endswith(".")
    assert "Tol" in ours.source or "Okabe" in ours.source
    assert len(ours.colours["light"]) == len(ours.colours["dark"])


@pytest.mark.parametrize("mode", THEMES)
def test_that_colours_are_held_against_the_ground_of_the_plots(mode: str) -> None:
    ground = theme(mode).colour("panel")
    assert palettes._GROUNDS[mode] == ground
    for name in BUILT_IN:
        assert min(contrast(colour, ground) for colour in palette(name).colours[mode]) >= LEAST_CONTRAST


def test_that_half_of_black_and_white_is_grey() -> None:
    assert mixed("#000000", "#ffffff", 0.5) == "#808080"


# -- of third parties ---------------------------------------------------------------------------------------------------

HOUSE = {
    "title": "House colours",
    "light": ["#112233", "#AA3377", "#228833"],
    "dark": ["#77aadd", "#ffaabb", "#44bb99"],
    "ramps": {"light": {"sequential": ["#ffffff", "#112233"]}},
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give what registers palettes as another package would."""

    class Shelf:
        """A module whose names are paths."""

    def install(**files: Any) -> None:
        points = []
        for name, content in files.items():
            file = tmp_path / f"{name}.json"
            file.write_text(content if isinstance(content, str) else json.dumps(content))
            point = EntryPoint(name, f"shelf:{name}", "runglass.palettes")
            setattr(Shelf, name, file)
            points.append(point)
        monkeypatch.setattr(
            "importlib.metadata.entry_points", lambda group: points if group == "runglass.palettes" else []
        )
        monkeypatch.setattr(EntryPoint, "load", lambda self: getattr(Shelf, self.name))
        forget()

    def forget() -> None:
        palettes.palette.cache_clear()
        palettes.palettes.cache_clear()
        theme.cache_clear()

    yield install
    monkeypatch.undo()
    forget()


def test_that_one_of_another_package_colours_runs_and_heat_maps(installed: Any) -> None:
    installed(house=HOUSE)
    assert [one.name for one in palettes.palettes()] == [*BUILT_IN, "house"]
    light, dark = theme("light", "house"), theme("dark", "house")
    assert (light.colour("c1"), dark.colour("c1")) == ("#aa3377", "#ffaabb")
    assert light.colour("c4") == light.colour("c1")
    assert light.dash("c4") != light.dash("c1")
    assert light.ramp("sequential", 1) == "#112233"
    assert dark.ramps == theme("dark").ramps
    assert light.tokens == theme("light").tokens


def test_that_colours_on_light_serve_on_dark_where_they_are_seen_there(installed: Any) -> None:
    installed(both={"light": ["#4477aa", "#ee6677", "#44aa99"]})
    assert palette("both").colours["dark"] == palette("both").colours["light"]
    assert palette("both").title == "both"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "could not be read"),
        ([], "no JSON object"),
        ({}, "'light' is no list"),
        ({"light": "#112233"}, "'light' is no list"),
        ({"light": ["red", "green", "blue"]}, "no list of colours like"),
        ({"light": ["#112233", "#aa3377"]}, "2 colours; 3 to 24"),
        ({**HOUSE, "dark": HOUSE["dark"][:2]}, "not as many colours on dark"),
        ({"light": HOUSE["light"]}, "#112233 cannot be seen on the dark theme"),
        ({**HOUSE, "light": ["#112233", "#ffff99", "#228833"]}, "#ffff99 cannot be seen on the light theme"),
        ({**HOUSE, "ramps": []}, "'ramps' is not as it should be"),
        ({**HOUSE, "ramps": {"light": ["#ffffff"]}}, "'ramps' is not as it should be"),
        ({**HOUSE, "ramps": {"light": {"sequential": ["#ffffff"]}}}, "at least two colours"),
    ],
)
def test_that_one_that_cannot_be_used_is_said_and_the_rest_stays(installed: Any, content: Any, why: str) -> None:
    installed(bad=content, house=HOUSE)
    assert [one.name for one in palettes.palettes()] == [*BUILT_IN, "house"]
    (said,) = broken_palettes()
    assert said.startswith("The palette 'bad' could not be read: ")
    assert why in said
    with pytest.raises(ValueError, match=re.escape(why)):
        theme("light", "bad")


def test_that_a_package_that_breaks_when_it_is_imported_is_said(
    installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(bad=HOUSE)

    def fail(_: EntryPoint) -> Path:
        raise ImportError("No module named 'shelf'")

    monkeypatch.setattr(EntryPoint, "load", fail)
    assert broken_palettes() == ["The palette 'bad' could not be read: No module named 'shelf'"]


def test_that_ours_cannot_be_replaced(installed: Any) -> None:
    before = theme("light").palette
    installed(**{DEFAULT_PALETTE: HOUSE})
    assert theme("light").palette == before
    assert [one.name for one in palettes.palettes()] == list(BUILT_IN)
