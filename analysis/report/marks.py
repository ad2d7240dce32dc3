"""Marks as matplotlib draws them, one function each."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.transforms import blended_transform_factory

from ...models.figure import (
    Axis,
    Band,
    Bars,
    Cells,
    EdgeMarks,
    FigureSpec,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    Text,
)
from ..axis_room import scaled
from ..decimate import ZoomableLine
from .page import LINE, MANY_POINTS, SHRINK, SYMBOLS, Page, Placed
from .words import width_of

_DOTS = 300
"""Columns per inch that a line is thinned out to: four points each, finer than any line is wide."""


def placed(values: Any, axis: Axis) -> np.ndarray:
    """Give data in matplotlib's units; what a log axis cannot show becomes NaN."""
    values = np.asarray(values, dtype=float)
    if axis.scale == "time":
        values = values / 86400
    shown: np.ndarray = np.where(values > 0, values, np.nan) if axis.scale == "log" else values
    return shown


def draw_mark(page: Page, panel: Panel, mark: Mark, depth: float) -> None:
    """Draw a mark on the axes of its panel; those of greater depth lie above."""
    axes = page.axes[panel.key]
    match mark:
        case Line():
            _draw_line(page, panel, axes, mark, depth)
        case Band():
            _draw_band(page, panel, axes, mark, depth)
        case Points():
            _draw_points(page, panel, axes, mark, depth)
        case Bars():
            _draw_bars(page, panel, axes, mark, depth)
        case Cells():
            _draw_cells(page, axes, mark, depth)
        case Rule():
            _draw_rule(page, panel, axes, mark, depth)
        case EdgeMarks():
            _draw_edge_marks(page, panel, axes, mark)
        case Text():
            x, y = (mark.x, mark.y) if mark.inside else (placed(mark.x, panel.x), placed(mark.y, panel.y))
            words = axes.text(
                float(x),
                float(y),
                mark.text,
                transform=axes.transAxes if mark.inside else axes.transData,
                ha=mark.align,
                va=_vertical_alignment(mark),
                fontsize=page.style.small * mark.size,
                color=page.colour(mark.hue),
                zorder=5,
            )
            page.words.append(Placed(panel.key, mark.key, words, mark.inside))


def _vertical_alignment(mark: Text) -> str:
    """Words inside a panel hang from its top or stand on its bottom; those beside data are centred on it."""
    if not mark.inside:
        return "center"
    return "top" if mark.y > 0.75 else "bottom" if mark.y < 0.25 else "center"


def kept_points(page: Page, panel: Panel, x: np.ndarray, *ys: np.ndarray) -> np.ndarray:
    """Give the indices of the points that draw the same at print resolution."""
    low, high = scaled(np.array(page.limits[panel.key][0]), panel.x)
    places = scaled(x, panel.x)
    columns = int(page.style.width * _DOTS)
    kept: np.ndarray = np.unique(
        np.concatenate([ZoomableLine(places, scaled(y, panel.y)).kept(low, high, columns) for y in ys])
    )
    return kept


def _draw_line(page: Page, panel: Panel, axes: Axes, mark: Line, depth: float) -> None:
    kept = kept_points(page, panel, mark.x, mark.y)
    axes.plot(
        placed(mark.x[kept], panel.x),
        placed(mark.y[kept], panel.y),
        color=page.colour(mark.hue, opacity_of(mark)),
        linewidth=max(mark.width * SHRINK, 0.5),
        linestyle=page.dash(mark.hue, mark.dash),
        solid_capstyle="round",
        solid_joinstyle="round",
        dash_joinstyle="round",
        zorder=depth,
        scalex=False,
        scaley=False,
    )


def opacity_of(mark: Line) -> float:
    """Give the opacity of a line; the backdrop of another is faint."""
    return min(mark.opacity, 0.3) if mark.faint_of else mark.opacity


def _draw_band(page: Page, panel: Panel, axes: Axes, mark: Band, depth: float) -> None:
    kept = kept_points(page, panel, mark.x, mark.low, mark.high)
    low, high = mark.low[kept], placed(mark.high[kept], panel.y)
    if panel.y.scale == "log":  # a band that reaches zero goes on below the panel
        low = np.where(low > 0, low, page.limits[panel.key][1][0] / 10)
    axes.fill_between(
        placed(mark.x[kept], panel.x),
        placed(low, panel.y),
        high,
        facecolor=page.colour(mark.hue, mark.opacity),
        edgecolor="none",
        linewidth=0,
        zorder=1.5 + depth * 0.1,
    )


def _error_bars(
    page: Page, panel: Panel, axes: Axes, at: np.ndarray, low: np.ndarray, high: np.ndarray, *, colour: Any, depth: float,
    horizontal: bool = False,
) -> None:  # fmt: skip
    along = panel.x if horizontal else panel.y
    floor = page.limits[panel.key][0 if horizontal else 1][0]
    if along.scale == "log":
        low = np.where(low > 0, low, floor / 10)
    across = placed(at, panel.y if horizontal else panel.x)
    ends = np.stack([placed(low, along), placed(high, along)], axis=1)
    pairs = np.stack([np.repeat(across[:, None], 2, axis=1), ends], axis=2)
    pairs = pairs[np.isfinite(pairs).all(axis=(1, 2))]
    axes.add_collection(
        LineCollection(list(pairs[:, :, ::-1] if horizontal else pairs), colors=[colour], linewidths=0.8, zorder=depth),
        autolim=False,
    )


def _draw_points(page: Page, panel: Panel, axes: Axes, mark: Points, depth: float) -> None:
    colour = page.colour(mark.hue, mark.opacity)
    if mark.low is not None and mark.high is not None:
        bars = {"colour": colour, "depth": depth}
        _error_bars(page, panel, axes, mark.x, np.asarray(mark.low, float), np.asarray(mark.high, float), **bars)
    symbol = page.theme.symbol(mark.hue, mark.symbol)
    diameters = np.broadcast_to(np.asarray(mark.size, dtype=float) * SHRINK, np.shape(mark.x))
    (left, right), (bottom, top) = page.limits[panel.key]
    seen = (mark.x >= left) & (mark.x <= right) & (mark.y >= bottom) & (mark.y <= top)
    diameters = diameters[seen]
    line = 0.9 if mark.hollow or symbol == "cross" else 0.0
    filled: Any = {"facecolors": ["white"], "edgecolors": [colour]} if mark.hollow else {"color": [colour]}
    axes.scatter(
        placed(mark.x[seen], panel.x),
        placed(mark.y[seen], panel.y),
        s=np.maximum(diameters - line, 0.5) ** 2 * (1.6 if symbol == "star" else 1.0),
        marker=SYMBOLS[symbol],
        linewidths=line,
        zorder=depth + 0.005,
        clip_on=False,  # a point on the edge is drawn whole
        rasterized=len(mark.x) > MANY_POINTS,
        **({"color": [colour]} if symbol == "cross" else filled),
    )


def _draw_bars(page: Page, panel: Panel, axes: Axes, mark: Bars, depth: float) -> None:
    along, across = (panel.x, panel.y) if mark.horizontal else (panel.y, panel.x)
    base = np.broadcast_to(np.asarray(mark.base, dtype=float), np.shape(mark.height))
    if along.scale == "log":
        base = np.where(base > 0, base, page.limits[panel.key][0 if mark.horizontal else 1][0] / 10)
    at, base, height = placed(mark.at, across), placed(base, along), placed(mark.height, along)
    width = np.asarray(mark.width, dtype=float) / (86400 if across.scale == "time" else 1)
    style = {"color": page.colour(mark.hue, mark.opacity), "linewidth": 0, "zorder": depth}
    if mark.horizontal:
        axes.barh(at, height - base, width, left=base, **style)
    else:
        axes.bar(at, height - base, width, bottom=base, **style)
    if mark.low is not None and mark.high is not None:
        low, high = np.asarray(mark.low, float), np.asarray(mark.high, float)
        _error_bars(
            page, panel, axes, np.asarray(mark.at, float), low, high,
            colour=page.colour("ink"), depth=depth + 0.005, horizontal=mark.horizontal,
        )  # fmt: skip


def _ramp(page: Page, mark: Cells) -> tuple[LinearSegmentedColormap, Normalize]:
    finite = mark.values[np.isfinite(mark.values)]
    low = mark.low if np.isfinite(mark.low) else float(finite.min()) if finite.size else 0.0
    high = mark.high if np.isfinite(mark.high) else float(finite.max()) if finite.size else 1.0
    colours = LinearSegmentedColormap.from_list(mark.ramp, list(page.theme.ramps[mark.ramp]))
    return colours, Normalize(low, high if high > low else low + 1.0, clip=True)


def _draw_cells(page: Page, axes: Axes, mark: Cells, depth: float) -> None:
    rows, columns = mark.values.shape
    colours, norm = _ramp(page, mark)
    mesh = axes.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(mark.values),
        cmap=colours,
        norm=norm,
        edgecolors="white" if mark.values.size <= 400 else "none",
        linewidth=0.6 if mark.values.size <= 400 else 0,
        zorder=depth,
        rasterized=mark.values.size > MANY_POINTS,
    )
    if mark.label and not any(any(row) for row in mark.texts):
        bar = page.figure.colorbar(mesh, ax=axes, aspect=28, pad=0.02)
        bar.ax.tick_params(labelsize=page.style.small, width=LINE, length=2)
        bar.ax.spines[:].set_visible(False)
        bar.set_label(mark.label, fontsize=page.style.text)


def write_in_cells(page: Page, spec: FigureSpec) -> None:
    """Write in the cells, all in one size; in none where the longest does not fit at a size one can read."""
    for panel, mark in spec.marks():
        if not isinstance(mark, Cells) or not any(any(row) for row in mark.texts):
            continue
        axes = page.axes[panel.key]
        box = axes.get_window_extent()
        rows, columns = mark.values.shape
        room = box.width * 72 / page.figure.dpi / columns * 0.92
        widest = max(width_of(page.figure, text, page.style.small) for row in mark.texts for text in row if text)
        tall = box.height * 72 / page.figure.dpi / rows * 0.9
        lines = max(text.count("\n") + 1 for row in mark.texts for text in row)
        size = page.style.small * min(1.0, room / widest, tall / (page.style.small * 1.25 * lines))
        if size < 4:
            continue
        colours, norm = _ramp(page, mark)
        for row in range(rows):
            for column in range(columns):
                value = mark.values[row, column]
                shade = colours(float(norm(value))) if np.isfinite(value) else (1, 1, 1, 1)
                under = "#" + "".join(f"{round(part * 255):02x}" for part in shade[:3])
                axes.text(
                    column, row, mark.texts[row][column], ha="center", va="center", fontsize=size,
                    color=page.theme.ink_on(under), zorder=4,
                )  # fmt: skip


def _draw_rule(page: Page, panel: Panel, axes: Axes, mark: Rule, depth: float) -> None:
    style: dict[str, Any] = {
        "color": page.colour(mark.hue),
        "linewidth": max(mark.width * SHRINK, 0.5),
        "linestyle": page.dash(mark.hue, mark.dash),
        "zorder": depth,
    }
    if mark.axis == "diagonal":
        (x_low, x_high), (y_low, y_high) = page.limits[panel.key]
        low, high = max(x_low, y_low), min(x_high, y_high)
        both = (
            np.geomspace(low, high, 200)
            if "log" in (panel.x.scale, panel.y.scale) and low > 0
            else np.array([low, high])
        )
        axes.plot(placed(both, panel.x), placed(both, panel.y), scalex=False, scaley=False, **style)
    elif mark.axis == "x":
        axes.axvline(float(placed(mark.at, panel.x)), **style)
    else:
        axes.axhline(float(placed(mark.at, panel.y)), **style)


def _draw_edge_marks(page: Page, panel: Panel, axes: Axes, mark: EdgeMarks) -> None:
    low, high = page.limits[panel.key][0]
    x = mark.x[(mark.x >= low) & (mark.x <= high)]
    # Marks on the same dot are one mark.
    dots = np.round(
        (scaled(x, panel.x) - scaled(np.array([low]), panel.x)) / np.ptp(scaled(np.array([low, high]), panel.x)) * 600
    )
    _, first = np.unique(dots, return_index=True)
    symbol = "x" if mark.what.lower() == "nan" else "^" if mark.edge == "top" else "v"
    axes.plot(
        placed(x[first], panel.x),
        np.full(len(first), 0.98 if mark.edge == "top" else 0.02),
        symbol,
        markersize=3.2,
        markeredgewidth=0.8,
        color=page.colour(mark.hue),
        transform=blended_transform_factory(axes.transData, axes.transAxes),
        clip_on=False,
        zorder=6,
        scalex=False,
        scaley=False,
    )
