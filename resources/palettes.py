"""Palettes: the colours of runs and groups, ours and those of third parties.

A palette is a small JSON file: ``title``, ``about`` (a sentence), ``source``, and under ``light`` and ``dark`` the colours in
their order. Where ``dark`` is missing, those on light serve on dark as well. ``ramps`` may hold, under ``light`` and ``dark``,
colours from low to high in place of the theme's ``sequential``, ``diverging``, ``good`` and ``bad``.

Ours stand in ``resources/themes/palettes``. A third party registers the path of one under the entry point group
``runglass.palettes``; the name of the entry point is what a user types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .colours import contrast

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

BUILT_IN = ("tol-bright", "tol-muted", "okabe-ito", "print")
"""Names of ours; the first is what is on where nothing was chosen."""

LEAST_CONTRAST = 1.5
"""Of a colour on the ground of the plots: with less it is not seen. Lines have less than text needs, and dashes besides."""

_GROUNDS = {"light": "#ffffff", "dark": "#1c2027"}
_RAMPS = ("sequential", "diverging", "good", "bad")
_FEWEST, _MOST = 3, 24


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of runs and groups.

    Attributes
    ----------
    name : str
        What a user types (``okabe-ito``).
    title, about : str
        What a user reads.
    source : str
        Where the colours come from.
    colours : Mapping of str to tuple of str
        As ``#rrggbb``, in their order, for ``light`` and for ``dark``; as many in both.
    ramps : Mapping of str to Mapping
        Colours from low to high by name, for each theme, in place of the theme's own.
    """

    name: str
    title: str
    about: str
    source: str
    colours: Mapping[str, tuple[str, ...]]
    ramps: Mapping[str, Mapping[str, tuple[str, ...]]]


@cache
def palette(name: str) -> Palette:
    """Give the palette with a name.

    Raises
    ------
    KeyError
        When there is none.
    ValueError
        When a third party's cannot be read; it says why.
    """
    if name in BUILT_IN:
        return _parsed(
            name, json.loads((Path(__file__).parent / "themes" / "palettes" / f"{name}.json").read_text("utf-8"))
        )
    for point in _entry_points():
        if point.name == name:
            try:
                return _parsed(name, json.loads(Path(point.load()).read_text("utf-8")))
            except Exception as error:  # whatever a plug-in does must not break the rest
                raise ValueError(f"The palette {name!r} could not be read: {error}") from error
    raise KeyError(name)


@cache
def palettes() -> tuple[Palette, ...]:
    """Give all palettes: ours, then those of third parties that can be read."""
    return (*map(palette, BUILT_IN), *(found for found in map(_of_third_party, _third_parties()) if found is not None))


def broken_palettes() -> list[str]:
    """Say which palettes of third parties cannot be read, and why."""
    said = []
    for name in _third_parties():
        try:
            palette(name)
        except ValueError as error:
            said.append(str(error))
    return said


def _entry_points() -> EntryPoints:
    # Imported here: the window is painted before anyone asks for a palette that is not ours.
    from importlib.metadata import entry_points

    return entry_points(group="runglass.palettes")


def _third_parties() -> list[str]:
    return sorted({point.name for point in _entry_points()} - set(BUILT_IN))


def _of_third_party(name: str) -> Palette | None:
    try:
        return palette(name)
    except ValueError:
        return None


def _parsed(name: str, said: Any) -> Palette:
    """Give a palette as its file says it; raise ValueError where it does not say enough, or nothing that can be drawn."""
    if not isinstance(said, dict):
        raise ValueError("it is no JSON object.")
    light = _listed(said.get("light"), "light")
    colours = {"light": light, "dark": _listed(said["dark"], "dark") if "dark" in said else light}
    if len({len(own) for own in colours.values()}) > 1:
        raise ValueError("it has not as many colours on dark as on light.")
    if not _FEWEST <= len(light) <= _MOST:
        raise ValueError(f"it has {len(light)} colours; {_FEWEST} to {_MOST} are wanted.")
    for theme, ground in _GROUNDS.items():
        for colour in colours[theme]:
            if contrast(colour, ground) < LEAST_CONTRAST:
                raise ValueError(f"{colour} cannot be seen on the {theme} theme.")
    ramps = {
        theme: {ramp: _listed(stops, f"ramps, {theme}, {ramp}") for ramp, stops in own.items() if ramp in _RAMPS}
        for theme, own in _mapping(said.get("ramps", {})).items()
        if theme in _GROUNDS and _mapping(own) is not None
    }
    if any(len(stops) < 2 for own in ramps.values() for stops in own.values()):
        raise ValueError("a ramp needs at least two colours.")
    texts = {key: str(said.get(key, "")) for key in ("about", "source")}
    return Palette(name, str(said.get("title") or name), texts["about"], texts["source"], colours, ramps)


def _listed(given: Any, what: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) and _COLOUR.fullmatch(one) for one in given):
        raise ValueError(f"{what!r} is no list of colours like #4477aa.")
    return tuple(one.lower() for one in given)


def _mapping(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError("'ramps' is not as it should be: colours by name, under light and dark.")
    return given


_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
