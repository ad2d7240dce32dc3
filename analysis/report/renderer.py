"""A figure described in words becomes one of matplotlib.

It goes in these steps: size the page (`page`), place the panels and set their limits and ticks (`panels`), draw the marks
(`marks`), place the legends and move or drop the words that collide (`legends`). pyplot is never used and no global state of
matplotlib is left changed; `page.settings` holds a lock while its settings are ours, so that any thread can draw.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ...models.figure import FigureSpec
from ...resources import theme
from .legends import place_legends, settle_words
from .marks import draw_mark, write_in_cells
from .page import Page, panels_height
from .panels import align_shared, draw_title, leave_room, pin, place_panels, set_limits
from .styles import Style


def drawn(
    spec: FigureSpec, style: Style, *, title: bool | None = None, height: float | None = None, opaque: bool = False
) -> Page:
    """Draw a figure on white, whatever the window's theme.

    To be called within `settings`, as saving is.

    Parameters
    ----------
    spec : FigureSpec
        What to draw.
    style : Style
        Its width is exact; the colours of runs are those of its palette.
    title : bool, optional
        Whether title and subtitle are drawn; None leaves it to the style.
    height : float, optional
        Height of the panels in inches; None gives each panel the golden ratio.
    opaque : bool
        Whether to mix opacities with white, for formats without transparency.

    Returns
    -------
    Page
        The figure, and what was decided while drawing it.
    """
    titled = style.title if title is None else title
    panels_high = panels_height(spec, style) if height is None else height
    engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(style.width, panels_high), dpi=100, facecolor="white", layout=engine)
    FigureCanvasAgg(figure)
    spec = _without_mathematics(spec)
    page = Page(style, theme("light", style.palette), opaque, figure)
    place_panels(page, spec)
    for panel in spec.panels:
        set_limits(page, panel, spec)
        for depth, mark in enumerate(panel.marks):
            draw_mark(page, panel, mark, 2 + depth * 0.01)
    head = draw_title(page, spec) if titled and (spec.title or spec.subtitle) else 0.0
    figure.set_figheight(panels_high + head)
    leave_room(figure, engine, head, 0.0)
    figure.draw_without_rendering()
    foot = place_legends(page, spec)
    if foot:
        figure.set_figheight(panels_high + head + foot)
        leave_room(figure, engine, head, foot)
    for artist in figure.texts:
        pin(artist, figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    align_shared(page, spec)
    write_in_cells(page, spec)
    settle_words(page, spec)
    return page


def _without_mathematics(value: Any) -> Any:
    """Give a spec whose dollar signs are just that: names of runs may hold them, and matplotlib would read formulas."""
    if isinstance(value, str):
        return value.replace("$", r"\$")
    if isinstance(value, tuple):
        return tuple(map(_without_mathematics, value))
    if is_dataclass(value) and not isinstance(value, type):
        shown = {"title", "subtitle", "panels", "label", "names", "marks", "text", "texts", "rows", "columns", "x", "y"}
        parts = {f.name: getattr(value, f.name) for f in fields(value) if f.name in shown}
        return replace(value, **{name: _without_mathematics(part) for name, part in parts.items()})
    return value
