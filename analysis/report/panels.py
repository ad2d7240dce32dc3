"""Panels on the page: their places, limits, ticks and names."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text as Words
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator, ScalarFormatter

from ...models.figure import (
    Axis,
    Cells,
    FigureSpec,
    Panel,
)
from .limits import Limits, log_label, log_ticks, panel_limits
from .page import LINE, Page, columns_of
from .words import cut, width_of, wrapped

_GRID = 0.5


def place_panels(page: Page, spec: FigureSpec) -> None:
    """Make the axes of all panels, column by column."""
    columns = columns_of(spec, page.style)
    if not columns:
        return
    ratios = [[panel.height for panel in column] for column in columns]
    figure = page.figure
    if all(one == ratios[0] for one in ratios):
        grid = figure.add_gridspec(len(ratios[0]), len(columns), height_ratios=ratios[0])
        cells = [[grid[row, column] for row in range(len(ratios[0]))] for column in range(len(columns))]
    else:
        outer = figure.add_gridspec(1, len(columns))
        cells = []
        for number, heights in enumerate(ratios):
            inner = outer[0, number].subgridspec(len(heights), 1, height_ratios=heights)
            cells.append([inner[row, 0] for row in range(len(heights))])
    for column, places in zip(columns, cells, strict=True):
        for panel, place in zip(column, places, strict=True):
            axes = figure.add_subplot(place)
            page.axes[panel.key] = axes
            _dress(page, panel, axes)
            if panel.square:
                axes.set_box_aspect(1)


def align_shared(page: Page, spec: FigureSpec) -> None:
    """Put panels that continue the x axis of a square one exactly below it."""
    for panel in spec.panels:
        if panel.shares_x_with in page.axes:
            own, top = (page.axes[key].get_position() for key in (panel.key, panel.shares_x_with))
            if _is_below(page, spec, next(one for one in spec.panels if one.key == panel.shares_x_with), panel):
                page.axes[panel.key].set_position((top.x0, own.y0, top.width, own.height))


def _dress(page: Page, panel: Panel, axes: Axes) -> None:
    style, colour = page.style, page.theme.colour
    axes.set_facecolor("white")
    axes.set_axisbelow(True)
    has_cells = any(isinstance(mark, Cells) for mark in panel.marks)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom") and not has_cells)
        spine.set_linewidth(LINE)
        spine.set_color(colour("muted"))
    axes.tick_params(
        which="both",
        labelsize=style.small,
        width=LINE,
        length=0 if has_cells else 2.5,
        pad=2.5,
        color=colour("muted"),
        labelcolor=colour("ink"),
    )
    axes.tick_params(which="minor", length=0 if has_cells else 1.5)
    if not has_cells:
        axes.grid(visible=True, color=colour("line"), linewidth=_GRID, alpha=None)
    if panel.title:
        axes.set_title(panel.title, loc="left", fontsize=style.text, fontweight="bold", color=colour("ink"), pad=4)


def set_limits(page: Page, panel: Panel, spec: FigureSpec) -> None:
    """Set limits, ticks and labels of a panel's axes; of panels that share x only the lowest names its ticks."""
    axes = page.axes[panel.key]
    top = panel.shares_x_with or panel.key
    sharing = [other for other in spec.panels if other is not panel and (other.shares_x_with or other.key) == top]
    x, y = panel_limits(panel, sharing)
    page.limits[panel.key] = (x, y)
    columns = len(columns_of(spec, page.style))
    place = axes.get_subplotspec()
    assert place is not None
    fraction = panel.height / max(sum(one.height for one in column) for column in columns_of(spec, page.style))
    wide, high = page.style.width / columns * 0.8, page.figure.get_figheight() * fraction * 0.75
    last_of_shared = not any(_is_below(page, spec, panel, other) for other in sharing)
    for which, axis, limits, length in (("x", panel.x, x, wide), ("y", panel.y, y, high)):
        names = axis.names or _names_of_cells(panel, which)
        inverted = axis.inverted or (which == "y" and any(isinstance(mark, Cells) for mark in panel.marks))
        _set_axis(page, panel, which, axis, limits, inches=length, names=names, inverted=inverted)
    if not last_of_shared:
        axes.tick_params(axis="x", labelbottom=False)
        axes.set_xlabel("")


def _is_below(page: Page, spec: FigureSpec, panel: Panel, other: Panel) -> bool:
    for column in columns_of(spec, page.style):
        keys = [one.key for one in column]
        if panel.key in keys and other.key in keys:
            return keys.index(other.key) > keys.index(panel.key)
    return False


def _names_of_cells(panel: Panel, which: str) -> tuple[str, ...]:
    cells = next((mark for mark in panel.marks if isinstance(mark, Cells)), None)
    return () if cells is None else (cells.columns if which == "x" else cells.rows)


def _set_axis(
    page: Page,
    panel: Panel,
    which: str,
    axis: Axis,
    limits: Limits,
    *,
    inches: float,
    names: tuple[str, ...],
    inverted: bool,
) -> None:
    axes, style, figure = page.axes[panel.key], page.style, page.figure
    if axis.scale == "log":
        getattr(axes, f"set_{which}scale")("log", nonpositive="clip")
    low, high = (part / 86400 for part in limits) if axis.scale == "time" else limits
    getattr(axes, f"set_{which}lim")(*((high, low) if inverted else (low, high)))
    target = axes.xaxis if which == "x" else axes.yaxis
    label = axis.label
    # A tick needs room for about five figures beside the next, and for two lines above the next.
    most = int(np.clip(inches * 72 / (style.small * (4.2 if which == "x" else 2.6)), 2, 7))
    if axis.scale == "log":
        labelled, unlabelled = log_ticks(low, high, most)
        target.set_major_locator(FixedLocator(labelled))
        target.set_minor_locator(FixedLocator(unlabelled) if unlabelled else NullLocator())
        target.set_major_formatter(FuncFormatter(lambda value, _: log_label(value)))
        target.set_minor_formatter(NullFormatter())
    elif axis.scale == "time":
        locator: Any = AutoDateLocator(tz=UTC, minticks=2, maxticks=max(most - 1, 3))  # type: ignore[no-untyped-call]
        target.set_major_locator(locator)
        target.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
        label = f"{label} (UTC)" if label and "UTC" not in label else label
    elif names:
        _set_names(page, panel, which, names, inches)
    else:
        target.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))
        formatter = ScalarFormatter(useMathText=True)
        formatter.set_powerlimits((-4, 6))
        target.set_major_formatter(formatter)
        target.get_offset_text().set_fontsize(style.small)
    if label:
        # A name longer than its axis would run out of the page; names of rows beside it leave the axis less room.
        share = 0.8 if which == "x" and (panel.y.names or _names_of_cells(panel, "y")) else 1.15
        text = "\n".join(wrapped(figure, label, style.text, inches * 72 * share, most=2))
        getattr(axes, f"set_{which}label")(text, fontsize=style.text, color=page.theme.colour("ink"), labelpad=2.5)


def _set_names(page: Page, panel: Panel, which: str, names: tuple[str, ...], inches: float) -> None:
    axes, style, figure = page.axes[panel.key], page.style, page.figure
    step = max(1, int(np.ceil(len(names) * style.small * 1.15 / (inches * 72))))
    places = range(0, len(names), step)
    shown = [cut(figure, names[at], style.small, page.style.width * 72 * 0.3) for at in places]
    target = axes.xaxis if which == "x" else axes.yaxis
    target.set_major_locator(FixedLocator(list(places)))
    target.set_major_formatter(
        FuncFormatter(lambda value, _: dict(zip(places, shown, strict=True)).get(round(value), ""))
    )
    target.grid(visible=False)
    if which == "x":
        widest = max((width_of(figure, name, style.small) for name in shown), default=0)
        if widest + style.small * 0.6 > inches * 72 / max(len(shown), 1):
            page.slanted.add(panel.key)
            axes.tick_params(axis="x", labelrotation=40)
            for text in axes.get_xticklabels():
                text.set_horizontalalignment("right")
                text.set_rotation_mode("anchor")


def draw_title(page: Page, spec: FigureSpec) -> float:
    """Write title and subtitle from the top; give the height they take in inches."""
    style, figure = page.style, page.figure
    down = 0.06
    for text, size, weight, hue, most in (
        (spec.title, style.text * 1.12, "bold", "ink", 2),
        (spec.subtitle, style.small, "normal", "muted", 3),
    ):
        for line in wrapped(figure, text, size, style.width * 72 - 8, most=most, weight=weight):
            words = figure.text(
                0.05, down, line, fontsize=size, fontweight=weight, color=page.theme.colour(hue), va="top"
            )
            words.set_gid("inches")  # placed in inches from the top left; see pin
            down += size * 1.3 / 72
    return down + 0.02


def pin(words: Words, figure: Figure) -> None:
    """Turn inches from the top left into the fractions of a page whose height is now known."""
    if words.get_gid() == "inches":
        x, y = words.get_position()
        words.set_position((x / figure.get_figwidth(), 1 - y / figure.get_figheight()))
        words.set_gid(None)


def leave_room(figure: Figure, engine: ConstrainedLayoutEngine, head: float, foot: float) -> None:
    """Keep the panels out of so many inches at the top and at the bottom."""
    high = figure.get_figheight()
    engine.set(rect=(0, foot / high, 1, 1 - (head + foot) / high))
