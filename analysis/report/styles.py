"""How wide a figure is and what its type looks like, by venue; and its colours.

The data is in ``resources/styles/venues.json``: widths of a column and of the page in inches, and type that matches the
venue's text. Palettes are those of the window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from ...models.errors import ExportError
from ...resources import DEFAULT_PALETTE, palettes, venues

GOLDEN = (1 + 5**0.5) / 2


@dataclass(frozen=True, slots=True)
class Style:
    """The measures, the type and the colours of a figure on paper.

    Attributes
    ----------
    key : str
        What a user types (``icml-double``).
    name : str
        What a user reads (``ICML, two columns``).
    width : float
        In inches, exact.
    fonts : tuple of str
        Families in order of preference; glyphs the first lacks come from the next.
    mathematics : str
        matplotlib's name for the set of fonts of powers of ten.
    text, small : float
        Sizes of labels, and of ticks and legends, in points.
    title : bool
        Whether title and subtitle are drawn; a paper has its caption.
    palette : str
        Name of the palette of runs and groups.
    """

    key: str
    name: str
    width: float
    fonts: tuple[str, ...]
    mathematics: str
    text: float
    small: float
    title: bool = False
    palette: str = DEFAULT_PALETTE


DEFAULT = "wide"


@cache
def styles() -> dict[str, Style]:
    """Give all styles by key: each venue, and where it has two widths also ``VENUE-double``."""
    found = {}
    families = venues()["families"]
    for venue, data in venues()["venues"].items():
        family = families[data["family"]]
        for columns, width in data["widths"].items():
            two = columns == "double"
            key = f"{venue}-double" if two else venue
            name = (
                data["name"]
                if len(data["widths"]) == 1
                else f"{data['name']}, {'two columns' if two else 'one column'}"
            )
            found[key] = Style(
                key=key,
                name=name,
                width=float(width),
                fonts=tuple(family["fonts"]),
                mathematics=family["mathematics"],
                text=float(data["text"]),
                small=float(data["small"]),
                title=bool(data.get("title", False)),
            )
    return found


def style_named(key: str, palette: str = "") -> Style:
    """Give the style with a key, in any case, with the colours of a palette.

    Parameters
    ----------
    palette : str
        Its name; empty takes the one that is on where nothing was chosen.

    Raises
    ------
    ExportError
        When there is no such style or palette, or the palette cannot be read; the remedy lists those there are.
    """
    found = styles().get(key.lower())
    if found is None:
        raise ExportError(f"There is no style called {key!r}.", remedy=f"Styles: {', '.join(styles())}.")
    if not palette:
        return found
    remedy = f"Palettes: {', '.join(one.name for one in palettes.palettes())}."
    try:
        palettes.palette(palette)
    except KeyError:
        raise ExportError(f"There is no palette called {palette!r}.", remedy=remedy) from None
    except ValueError as error:
        raise ExportError(str(error), remedy=remedy) from error
    return replace(found, palette=palette)
