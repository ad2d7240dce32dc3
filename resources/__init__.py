"""Files shipped with the app (icons, themes, palettes, venue styles, the demo project) and their paths.

A `Theme` turns the *names* of hues that figures carry into colours, dashes and symbols. The window and the paper renderer
take theirs from here, so that a run looks the same in both: a palette has as many colours on dark as on light, and ours give
a place in them to the same family of hues.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .colours import contrast, mixed
from .palettes import BUILT_IN, palette

_HERE = Path(__file__).parent
"""Packages are always installed as folders, as `importlib.resources` would find out in the time Qt takes to open a window."""

THEMES = ("light", "dark")
DEFAULT_PALETTE = BUILT_IN[0]


def path(*parts: str) -> Path:
    """Give the path of a file or folder shipped with the app.

    Parameters
    ----------
    *parts : str
        Names below the folder of resources (``"icons", "runglass.svg"``).
    """
    return _HERE.joinpath(*parts)


def demo_folder() -> Path:
    """Give the folder of the sample project."""
    return path("demo")


@dataclass(frozen=True, slots=True, eq=False)
class Theme:
    """Colours by name, and what tells runs apart besides colour.

    Attributes
    ----------
    name : {'light', 'dark'}
        Which one it is.
    tokens : Mapping of str to str
        Colours (``#rrggbb``) of the chrome: background, panel, ink, muted, line, grid, selection, accent, on_accent (text
        on the accent), good, bad, warn.
    palette_name : str
        Which colours runs and groups have.
    palette : tuple of str
        The colours.
    dashes : Mapping of str to tuple of float
        Lengths of strokes and gaps in widths of the line; none for a solid one.
    dash_cycle, symbol_cycle : tuple of str
        What the second, third ... round of the palette is drawn with.
    ramps : Mapping of str to tuple of str
        Evenly spaced colours from low to high.
    """

    name: str
    tokens: Mapping[str, str]
    palette_name: str
    palette: tuple[str, ...]
    dashes: Mapping[str, tuple[float, ...]]
    dash_cycle: tuple[str, ...]
    symbol_cycle: tuple[str, ...]
    ramps: Mapping[str, tuple[str, ...]]

    def colour(self, hue: str) -> str:
        """Give the colour (``#rrggbb``) of a hue: a place in the palette (``c0``, ``c1`` ...) or a token.

        Raises
        ------
        KeyError
            When there is no such hue.
        """
        place = _place(hue)
        return self.tokens[hue] if place is None else self.palette[place % len(self.palette)]

    def dash(self, hue: str, own: str = "solid") -> str:
        """Give the name of the dash of a line: the mark's own where it has one, else that of its round of the palette."""
        return own if own != "solid" else self.dash_cycle[self._round(hue) % len(self.dash_cycle)]

    def pattern(self, dash: str) -> tuple[float, ...]:
        """Give lengths of strokes and gaps in widths of the line; empty for a solid line."""
        return self.dashes[dash]

    def symbol(self, hue: str, own: str = "circle") -> str:
        """Give the symbol of a point: the mark's own where it is no circle, else that of its round of the palette."""
        return own if own != "circle" else self.symbol_cycle[self._round(hue) % len(self.symbol_cycle)]

    def ramp(self, name: str, fraction: float) -> str:
        """Give the colour at a fraction (0 to 1, clipped) of a ramp."""
        stops = self.ramps[name]
        at = min(max(fraction, 0.0), 1.0) * (len(stops) - 1)
        below = min(int(at), len(stops) - 2)
        return mixed(stops[below], stops[below + 1], at - below)

    def ink_on(self, colour: str) -> str:
        """Give the colour of text that reads best on `colour`: near black or white, whichever contrasts more."""
        dark, light = "#1c2330", "#ffffff"
        return dark if contrast(colour, dark) >= contrast(colour, light) else light

    def _round(self, hue: str) -> int:
        place = _place(hue)
        return 0 if place is None else place // len(self.palette)


@cache
def theme(name: str = "light", colours: str = DEFAULT_PALETTE) -> Theme:
    """Give a theme.

    Parameters
    ----------
    name : {'light', 'dark'}
        Which one; paper is always light.
    colours : str
        Name of the palette: colours of runs and groups.

    Raises
    ------
    KeyError
        When there is no such theme or palette.
    ValueError
        When the palette is a third party's and cannot be read.
    """
    if name not in THEMES:
        raise KeyError(name)
    chosen = palette(colours)
    own, marks = _json("themes", f"{name}.json"), _json("themes", "marks.json")
    return Theme(
        name=name,
        tokens=own["tokens"],
        palette_name=colours,
        palette=chosen.colours[name],
        dashes={dash: tuple(map(float, lengths)) for dash, lengths in marks["dashes"].items()},
        dash_cycle=tuple(marks["dash_cycle"]),
        symbol_cycle=tuple(marks["symbol_cycle"]),
        ramps={ramp: tuple(stops) for ramp, stops in own["ramps"].items()} | dict(chosen.ramps.get(name, {})),
    )


@cache
def signs() -> Mapping[str, str]:
    """Give the outlines of the window's icons by name, as SVG paths of absolute commands in a square of 1000 by 1000."""
    known: Mapping[str, str] = _json("icons", "signs.json")
    return known


@cache
def venues() -> Mapping[str, Any]:
    """Give what is known of each venue's page, as in ``styles/venues.json``; `analysis.report.styles` reads it."""
    known: Mapping[str, Any] = _json("styles", "venues.json")
    return known


def _json(*parts: str) -> Any:
    return json.loads(path(*parts).read_text(encoding="utf-8"))


def _place(hue: str) -> int | None:
    """Give the number of a palette hue (``c12`` is 12), None for a token."""
    return int(hue[1:]) if hue[:1] == "c" and hue[1:].isdecimal() else None
