"""The page a figure is drawn on, and matplotlib's settings while it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text as Words

from ...models.figure import FigureSpec, Panel
from ...resources import Theme
from .limits import Limits
from .styles import GOLDEN, Style

SHRINK = 0.72
"""Marks are sized for the screen, in points; on paper they are this much smaller, as its type is."""

LINE = 0.6
"""Width of axes in points."""

SYMBOLS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "triangle_down": "v",
    "diamond": "D",
    "cross": "x",
    "star": "*",
}

MANY_POINTS = 20_000
"""From so many points or cells on, they are drawn as pixels within a vector figure, which otherwise takes minutes to open."""

_NARROWEST = 2.0
"""Width in inches below which a panel has no room for its ticks."""

_AROUND_ROWS, _TALLEST = 0.3, 7.5
"""Inches above and below the rows of a panel that names them, and height beyond which not every row gets room for its name."""

_LOCK = threading.RLock()


@cache
def _known_fonts() -> frozenset[str]:
    # Only TrueType outlines can be embedded as fonttype 42.
    return frozenset(entry.name for entry in fontManager.ttflist if entry.fname.lower().endswith(".ttf"))


@contextmanager
def settings(style: Style) -> Iterator[None]:
    """Hold matplotlib's settings for a style; drawing and saving both need them, and only one thread at a time has them."""
    fonts = [name for name in style.fonts if name in _known_fonts()]
    wanted: dict[Any, Any] = {
        "font.family": list(dict.fromkeys([*fonts, "DejaVu Sans"])),
        "font.size": style.text,
        "mathtext.fontset": style.mathematics,
        "axes.formatter.use_mathtext": True,
        "axes.unicode_minus": True,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "runglass",
        "path.simplify": True,
        "text.usetex": False,
        "text.parse_math": True,
    }
    with _LOCK, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(wanted)
        yield


@dataclass(frozen=True, slots=True)
class Placed:
    """Words of a mark as they were written at first.

    Attributes
    ----------
    panel, key : str
        Of the panel and the mark.
    inside : bool
        Whether they are placed inside the panel instead of at data.
    """

    panel: str
    key: str
    words: Words
    inside: bool


@dataclass
class Page:
    """What drawing a mark needs to know.

    Attributes
    ----------
    opaque : bool
        Whether opacities are mixed with white.
    axes, limits : dict
        Of each panel, by its key; limits in data coordinates.
    words : list of Placed
        Words of the marks, to be settled when all else stands.
    legends : dict of str to (str, int)
        Where the legend of a panel stands in it, and in how many columns.
    below : int
        Columns of the legend below all panels; 0 where there is none.
    slanted, dropped : set
        Keys of panels whose names of categories are slanted; of panels and words that found no place.
    """

    style: Style
    theme: Theme
    opaque: bool
    figure: Figure
    axes: dict[str, Axes] = field(default_factory=dict)
    limits: dict[str, tuple[Limits, Limits]] = field(default_factory=dict)
    words: list[Placed] = field(default_factory=list)
    legends: dict[str, tuple[str, int]] = field(default_factory=dict)
    below: int = 0
    slanted: set[str] = field(default_factory=set)
    dropped: set[tuple[str, str]] = field(default_factory=set)

    def colour(self, hue: str, opacity: float = 1.0) -> Any:
        """Give a colour matplotlib takes; mixed with the white of the paper where the format has no transparency."""
        colour = self.theme.colour(hue)
        red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        if self.opaque:
            return tuple(1 - opacity * (1 - part) for part in (red, green, blue))
        return red, green, blue, opacity

    def dash(self, hue: str, own: str) -> Any:
        """Give the line style of a hue, or of a mark with a dash of its own."""
        pattern = self.theme.pattern(self.theme.dash(hue, own))
        return (0, pattern) if pattern else "solid"


def columns_of(spec: FigureSpec, style: Style) -> list[tuple[Panel, ...]]:
    """Give the panels of each column; fewer columns than asked for where a panel would be too narrow to read."""
    count = max(1, min(spec.columns, len(spec.panels), int(style.width / _NARROWEST)))
    rows = -(-len(spec.panels) // count)
    return [spec.panels[at : at + rows] for at in range(0, len(spec.panels), rows)]


def panels_height(spec: FigureSpec, style: Style) -> float:
    """Give the height in inches of all panels: the golden ratio for the tallest, more for square ones and for many names."""
    columns = columns_of(spec, style) or [()]
    wide = style.width / len(columns)

    def unit(panel: Panel) -> float:
        if panel.square:
            return max(wide / GOLDEN, min(0.95 * wide, 3.1))
        rows = len(panel.y.names) if panel.y.scale == "category" else 0
        named = rows * 1.6 * style.small / 72 + _AROUND_ROWS if rows else 0.0
        return max(wide / GOLDEN, min(named, _TALLEST))

    # The tallest panel of a column has the golden ratio, the others are as much lower as they say.
    tallest = [max((panel.height for panel in column), default=1.0) for column in columns]
    heights = [
        sum(unit(panel) * panel.height / most for panel in column)
        for column, most in zip(columns, tallest, strict=True)
    ]
    return max(*heights, 1.2) if heights else wide / GOLDEN
