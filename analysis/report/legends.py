"""Where legends and words stand without covering data or one another."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text as Words
from matplotlib.transforms import Bbox, offset_copy

from ...models.figure import (
    Band,
    Bars,
    Cells,
    EdgeMarks,
    FigureSpec,
    Line,
    Panel,
    Points,
    Rule,
    Text,
)
from .marks import kept_points, opacity_of, placed
from .page import SHRINK, SYMBOLS, Page
from .words import cut

_MOST_IN_LEGEND = 24


def place_legends(page: Page, spec: FigureSpec) -> float:
    """List the labelled marks: in a corner of the panel that is free of data, else below the figure.

    Returns
    -------
    float
        Height in inches needed below the panels.
    """
    listed: set[tuple[str, str]] = set()
    below: dict[str, list[Any]] = {}
    for panel in spec.panels:
        if not panel.legend:
            continue
        entries: dict[str, list[Any]] = {}
        for mark in panel.marks:
            if isinstance(mark, Text | Cells | EdgeMarks) or not mark.label or (mark.label, mark.hue) in listed:
                continue
            entries.setdefault(mark.label, []).append(_sample(page, mark))
        listed |= {(m.label, m.hue) for m in panel.marks if not isinstance(m, Text | Cells | EdgeMarks)}
        if entries and not _legend_inside(page, panel, entries):
            below.update(entries)
    return _legend_below(page, below) if below else 0.0


def _sample(page: Page, mark: Line | Points | Band | Bars | Rule) -> Any:
    if isinstance(mark, Band | Bars):
        return Patch(facecolor=page.colour(mark.hue, max(mark.opacity, 0.2)), edgecolor="none")
    if isinstance(mark, Points):
        symbol = page.theme.symbol(mark.hue, mark.symbol)
        colour = page.colour(mark.hue)
        return Line2D(
            [], [], linestyle="none", marker=SYMBOLS[symbol], markersize=6 if symbol == "star" else 4, color=colour,
            markerfacecolor="white" if mark.hollow else colour, markeredgewidth=0.9 if mark.hollow else 0.3,
        )  # fmt: skip
    opacity = opacity_of(mark) if isinstance(mark, Line) else 1.0
    return Line2D(
        [], [], color=page.colour(mark.hue, opacity), linestyle=page.dash(mark.hue, mark.dash),
        linewidth=max(mark.width * SHRINK, 0.9),
    )  # fmt: skip


def _listed(page: Page, entries: dict[str, list[Any]], room: float) -> tuple[list[Any], list[str]]:
    """Give samples and labels; labels are cut to the room in points, and the last says how many are not listed."""
    labels = list(entries)
    samples = [tuple(sorted(entries[label], key=lambda one: isinstance(one, Line2D))) for label in labels]
    shown = [cut(page.figure, label, page.style.small, room) for label in labels]
    if len(labels) > _MOST_IN_LEGEND:
        kept = _MOST_IN_LEGEND - 1
        samples, shown = samples[:kept], [*shown[:kept], f"and {len(labels) - kept} more"]
        samples.append((Line2D([], [], linestyle="none"),))
    return samples, shown


def _legend_style(page: Page) -> dict[str, Any]:
    return {
        "fontsize": page.style.small,
        "frameon": False,
        "handlelength": 1.7,
        "handletextpad": 0.5,
        "labelspacing": 0.28,
        "columnspacing": 1.2,
        "borderpad": 0.15,
        "labelcolor": page.theme.colour("ink"),
    }


def _legend_inside(page: Page, panel: Panel, entries: dict[str, list[Any]]) -> bool:
    """Put a legend where it covers nothing; whether there is such a place."""
    axes = page.axes[panel.key]
    box = axes.get_window_extent()
    samples, labels = _listed(page, entries, box.width * 72 / page.figure.dpi * 0.78)
    taken = _taken(page, panel, axes)
    rows, columns = taken.shape
    for across in (1, 2, 3):
        if across > len(labels):
            break
        legend = axes.legend(samples, labels, loc="upper left", ncols=across, **_legend_style(page))
        size = legend.get_window_extent()
        # Room of half a line is left around the box.
        wide = int(np.ceil(columns * (size.width + page.style.small * 0.6) / box.width))
        high = int(np.ceil(rows * (size.height + page.style.small * 0.3) / box.height))
        if wide < columns * 0.95 and high < rows * 0.7:
            ends = (columns - wide, rows - high)
            for x, y in ((1, 1), (0, 1), (1, 0), (0, 0), (0.5, 1), (0.5, 0), (1, 0.5), (0, 0.5)):
                left, bottom = int(ends[0] * x), int(ends[1] * y)
                if not taken[bottom : bottom + high, left : left + wide].any():
                    page.legends[panel.key] = (_keep_legend(legend, x, y), across)
                    return True
        legend.remove()
    return False


def _keep_legend(legend: Legend, x: float, y: float) -> str:
    vertical = {0: "lower", 0.5: "center", 1: "upper"}[y]
    horizontal = {0: "left", 0.5: "center", 1: "right"}[x]
    place: Any = f"{vertical} {horizontal}"
    legend.set_loc(place)
    legend.set_in_layout(False)  # it lies within the panel
    legend.set_zorder(7)
    return str(place)


def _taken(page: Page, panel: Panel, axes: Axes, *, words: bool = True) -> np.ndarray:
    """Give which cells of a fine grid over the panel hold data; the first row is the bottom."""
    rows, columns = 100, 160
    taken = np.zeros((rows, columns), dtype=bool)
    to_panel = axes.transData + axes.transAxes.inverted()

    def places(x: Any, y: Any) -> np.ndarray:
        pairs = (
            np.stack(np.broadcast_arrays(placed(x, panel.x), placed(y, panel.y)), axis=-1).reshape(-1, 2).astype(float)
        )
        with np.errstate(all="ignore"):
            return np.asarray(to_panel.transform(pairs))

    def fill(points: np.ndarray, around: int = 0) -> None:
        points = points[np.isfinite(points).all(axis=1)]
        at = np.floor(points * (columns, rows)).astype(int)
        at = at[((at >= -around) & (at < (columns + around, rows + around))).all(axis=1)]
        for dx in range(-around, around + 1):
            for dy in range(-around, around + 1):
                taken[np.clip(at[:, 1] + dy, 0, rows - 1), np.clip(at[:, 0] + dx, 0, columns - 1)] = True

    def fill_between(bottoms: np.ndarray, tops: np.ndarray) -> None:
        for (left, low), (right, high) in zip(bottoms, tops, strict=True):
            if np.isfinite([left, low, right, high]).all():
                xs = np.clip(sorted((left, right)), 0, 1) * columns
                ys = np.clip(sorted((low, high)), 0, 1) * rows
                taken[int(ys[0]) : int(np.ceil(ys[1])), int(xs[0]) : int(np.ceil(xs[1]))] = True

    for mark in panel.marks:
        match mark:
            case Line():
                kept = kept_points(page, panel, mark.x, mark.y)
                fill(_densified(places(mark.x[kept], mark.y[kept])))
            case Band():
                kept = kept_points(page, panel, mark.x, mark.low, mark.high)
                low, high = (
                    _densified(places(mark.x[kept], mark.low[kept])),
                    _densified(places(mark.x[kept], mark.high[kept])),
                )
                fill(low)
                fill(high)
                across = np.linspace(0, 1, columns)
                order = [np.argsort(part[:, 0]) for part in (low, high)]
                ends = [
                    np.interp(across, p[o, 0], p[o, 1], np.nan, np.nan) for p, o in zip((low, high), order, strict=True)
                ]
                fill_between(np.stack([across, ends[0]], 1), np.stack([across + 1 / columns, ends[1]], 1))
            case Points():
                fill(places(mark.x, mark.y), around=1)
                if mark.low is not None and mark.high is not None:
                    fill_between(places(mark.x, mark.low), places(mark.x, mark.high) + np.array([1 / columns, 0]))
            case Bars():
                half = np.asarray(mark.width) / 2
                base = np.broadcast_to(mark.base, np.shape(mark.height)).astype(float)
                tops = mark.height if mark.high is None else np.fmax(mark.height, mark.high)
                if mark.horizontal:
                    fill_between(places(base, mark.at - half), places(tops, mark.at + half))
                else:
                    fill_between(places(mark.at - half, base), places(mark.at + half, tops))
            case Cells():
                taken[:] = True
            case Rule(axis="diagonal"):
                both = np.linspace(*page.limits[panel.key][0], 400)
                fill(places(both, both))
            case Rule(axis="x"):
                fill(np.stack([np.full(rows, places(mark.at, 1.0)[0, 0]), np.linspace(0, 1, rows)], axis=1))
            case Rule():
                fill(np.stack([np.linspace(0, 1, columns), np.full(columns, places(1.0, mark.at)[0, 1])], axis=1))
            case EdgeMarks():
                edge = rows - 4 if mark.edge == "top" else 0
                x = places(mark.x, page.limits[panel.key][1][0])[:, 0]
                at = np.clip((x[(x >= 0) & (x <= 1)] * columns).astype(int), 0, columns - 1)
                taken[edge : edge + 4, at] = True
            case Text():
                pass
    inverse = axes.transAxes.inverted()
    for one in page.words if words else ():
        if one.panel == panel.key:
            box = one.words.get_window_extent().transformed(inverse)
            fill_between(np.array([[box.x0, box.y0]]), np.array([[box.x1, box.y1]]))
    return taken


def _densified(points: np.ndarray) -> np.ndarray:
    """Give points with others between them, so close that a line through them leaves no cell of the grid out."""
    if len(points) < 2 or len(points) > 20_000:
        return points
    steps = np.diff(points, axis=0)
    with np.errstate(all="ignore"):
        longest = np.abs(np.where(np.isfinite(steps), steps, 0)).max(axis=1)
    counts = np.clip(np.ceil(longest * 300), 1, 600).astype(int)
    start = np.repeat(np.arange(len(steps)), counts)
    within = np.arange(len(start)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.vstack([points[start] + steps[start] * (within / counts[start])[:, None], points[-1:]])


def _legend_below(page: Page, entries: dict[str, list[Any]]) -> float:
    style, figure = page.style, page.figure
    room = style.width * 72 - 8
    samples, labels = _listed(page, entries, room * 0.8)
    for across in range(min(len(labels), 6), 0, -1):  # columns are as wide as their own labels, so they are tried
        legend = figure.legend(
            samples, labels, loc="lower center", ncols=across, borderaxespad=0.2, **_legend_style(page)
        )
        if across == 1 or legend.get_window_extent().width * 72 / figure.dpi <= room:
            break
        legend.remove()
    legend.set_in_layout(False)
    page.below = across
    return float(legend.get_window_extent().height / figure.dpi) + 0.04


def settle_words(page: Page, spec: FigureSpec) -> None:
    """Move words off the marks, and drop those that leave their panel or meet earlier words.

    Words beside data are turned to the other side where they leave the panel, then tried at their place and a line or two
    above and below it.
    """
    panels = {panel.key: panel for panel in spec.panels}
    taken = {key: _taken(page, panels[key], page.axes[key], words=False) for key in {one.panel for one in page.words}}
    standing: list[Bbox] = [legend.get_window_extent() for axes in page.axes.values() if (legend := axes.get_legend())]
    for one in page.words:
        axes, words = page.axes[one.panel], one.words
        panel_box = axes.get_window_extent()
        room = Bbox.intersection(panel_box.padded(page.style.small * 0.4), page.figure.bbox) or panel_box
        if words.get_window_extent().x1 > panel_box.x1 and words.get_horizontalalignment() == "left":
            words.set_horizontalalignment("right")
        elif words.get_window_extent().x0 < panel_box.x0 and words.get_horizontalalignment() == "right":
            words.set_horizontalalignment("left")
        if not one.inside:
            _move_off_marks(page, axes, words, taken[one.panel])
        box = words.get_window_extent()
        leaves = box.x0 < room.x0 or box.x1 > room.x1 or box.y0 < room.y0 or box.y1 > room.y1
        if leaves or any(box.overlaps(other) for other in standing):
            words.remove()
            page.dropped.add((one.panel, one.key))
        else:
            standing.append(box)


def _move_off_marks(page: Page, axes: Axes, words: Words, taken: np.ndarray) -> None:
    rows, columns = taken.shape
    line = float(words.get_fontsize()) / 72
    best = (np.inf, 0.0)
    for lines in (0.0, 0.75, -0.75, 1.5, -1.5, 2.5, -2.5, 4.0, -4.0):
        words.set_transform(offset_copy(axes.transData, page.figure, 0, lines * line))
        box = words.get_window_extent().transformed(axes.transAxes.inverted())
        ends = np.clip([box.x0 * columns, box.x1 * columns, box.y0 * rows, box.y1 * rows], 0, max(rows, columns))
        part = taken[int(ends[2]) : int(np.ceil(ends[3])), int(ends[0]) : int(np.ceil(ends[1]))]
        outside = box.y0 < 0 or box.y1 > 1
        best = min(best, (float(part.sum()) + 1e6 * outside, lines), key=lambda one: one[0])
    words.set_transform(offset_copy(axes.transData, page.figure, 0, best[1] * line))
