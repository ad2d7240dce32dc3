"""The small Python script beside a figure that draws it again from its numbers, for whoever wants to change it by hand.

It needs matplotlib and nothing of Runglass. The numbers come from the CSV file beside it (`tables.drawn_numbers`); how each
mark looks stands in the script, where it is easily changed.
"""

from __future__ import annotations

from pprint import pformat
from typing import Any

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
from ...resources import Theme
from .limits import panel_limits
from .marks import opacity_of
from .page import SHRINK, SYMBOLS, Page, columns_of, settings
from .renderer import drawn
from .styles import Style

_TEMPLATE = '''"""Draws {title} again from {csv_name}.

    python {script_name} [FILE.pdf]

{caption}
"""

import csv
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib import font_manager
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

NUMBERS = Path(__file__).with_name({csv_name!r})
WIDTH, HEIGHT = {width}, {height}  # inches
COLUMNS = {columns}
LEGEND_BELOW = {below}  # its columns; 0 for none
SHRINK = {shrink}  # sizes of points are those of the screen

plt.rcParams.update({settings})
known = set(font_manager.get_font_names())
plt.rcParams["font.family"] = [name for name in plt.rcParams["font.family"] if name in known]

# Panels, from the top down and then column by column.
PANELS = {panels}

# How each mark looks, by its panel and key; the numbers are in the CSV file.
MARKS = {marks}


def column(rows, name):
    return [float(row[name]) if row.get(name) else math.nan for row in rows]


def draw(axes, look, rows):
    kind = look["kind"]
    paint = {{"color": look.get("colour"), "alpha": look.get("opacity"), "label": look.get("label") or None}}
    x, y, low, high = (column(rows, name) for name in ("x", "y", "low", "high"))
    if kind == "line":
        axes.plot(x, y, linewidth=look["width"], linestyle=look["dash"], **paint)
    elif kind == "band":
        axes.fill_between(x, low, high, linewidth=0, **paint)
    elif kind == "points":
        face = "white" if look["hollow"] else look["colour"]
        if look["marker"] == "x":
            face = None
        sizes = [max(SHRINK * size, 0.8) ** 2 for size in column(rows, "size")]
        edge = {{}} if face is None else {{"facecolors": face, "edgecolors": look["colour"]}}
        axes.scatter(x, y, sizes, marker=look["marker"], linewidths=0.9, zorder=3, **(paint | edge))
        axes.add_collection(LineCollection([[(a, b), (a, c)] for a, b, c in zip(x, low, high) if b <= c],
                                           colors=look["colour"], linewidths=0.8))
    elif kind == "bars":
        across, along = (y, x) if look["horizontal"] else (x, y)
        base, width = column(rows, "base"), column(rows, "width")
        bars = axes.barh if look["horizontal"] else axes.bar
        start = {{"left" if look["horizontal"] else "bottom": base}}
        bars(across, [end - b for end, b in zip(along, base)], width, **start, **paint)
        ends = [[(at, b), (at, c)] for at, b, c in zip(across, low, high) if b <= c]
        ends = [[(b, a) for a, b in pair] for pair in ends] if look["horizontal"] else ends
        axes.add_collection(LineCollection(ends, colors="#1c2330", linewidths=0.8))
    elif kind == "cells":
        wide, high_ = int(max(x)) + 1, int(max(y)) + 1
        values = [[math.nan] * wide for _ in range(high_)]
        for row, a, b, value in zip(rows, x, y, column(rows, "value")):
            values[int(b)][int(a)] = value
            axes.text(a, b, row.get("text", ""), ha="center", va="center", fontsize="small")
        ramp = LinearSegmentedColormap.from_list("ramp", look["ramp"])
        axes.imshow(values, cmap=ramp, aspect="auto", vmin=look["low"], vmax=look["high"])
        for which in ("x", "y"):
            names = list(dict.fromkeys(row[f"{{which}}_name"] for row in rows))
            getattr(axes, f"set_{{which}}ticks")(range(len(names)), names)
        axes.grid(visible=False)
    elif kind == "rule":
        style = {{"color": look["colour"], "linestyle": look["dash"], "linewidth": look["width"], "label": paint["label"]}}
        if look["axis"] == "diagonal":
            ends = [max(axes.get_xlim()[0], axes.get_ylim()[0]), min(axes.get_xlim()[1], axes.get_ylim()[1])]
            axes.plot(ends, ends, scalex=False, scaley=False, **style)
        else:
            (axes.axvline if look["axis"] == "x" else axes.axhline)((x if look["axis"] == "x" else y)[0], **style)
    elif kind == "text":
        where = axes.transAxes if look["inside"] else axes.transData
        axes.text(x[0], y[0], rows[0]["text"], color=look["colour"], ha=look["align"], transform=where, fontsize="small")
    elif kind == "edgemarks":
        edge = 0.98 if look["edge"] == "top" else 0.02
        style = {{"color": look["colour"], "markersize": 3.2, "clip_on": False}}
        axes.plot(x, [edge] * len(x), "x", transform=axes.get_xaxis_transform(), **style)


def main():
    with open(NUMBERS, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    down = -(-len(PANELS) // COLUMNS)
    heights = [panel["height"] for panel in PANELS[:down]]
    figure = plt.figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    grid = figure.subplots(down, COLUMNS, squeeze=False, height_ratios=heights)
    below = {{}}
    for number, panel in enumerate(PANELS):
        axes = grid[number % down][number // down]
        axes.grid(visible=True)
        for which in ("x", "y"):
            axis = panel[which]
            getattr(axes, f"set_{{which}}label")(axis["label"])
            if axis["scale"] == "log":
                getattr(axes, f"set_{{which}}scale")("log")
            getattr(axes, f"set_{{which}}lim")(*axis["limits"])
            if axis["names"]:
                getattr(axes, f"set_{{which}}ticks")(range(len(axis["names"])), axis["names"])
        axes.set_title(panel["title"], loc="left")
        if panel["square"]:
            axes.set_box_aspect(1)
        for (key, mark), look in MARKS.items():
            if key == panel["key"]:
                chosen = [row for row in rows if row["panel"] == key and row["key"] == mark]
                if chosen:
                    draw(axes, look, chosen)
        for which in ("x", "y"):
            getattr(axes, f"set_{{which}}lim")(*panel[which]["limits"])
        if panel["slanted"]:
            for label in axes.get_xticklabels():
                label.set(rotation=40, ha="right", rotation_mode="anchor")
        named = dict(zip(*reversed(axes.get_legend_handles_labels())))
        if panel["legend"]:
            place, across = panel["legend"]
            axes.legend(named.values(), named.keys(), loc=place, ncols=across, frameon=False)
        elif panel["in_legend_below"]:
            below.update(named)
    for number in range(len(PANELS), down * COLUMNS):
        grid[number % down][number // down].remove()
    if LEGEND_BELOW and below:
        figure.legend(below.values(), below.keys(), loc="outside lower center", ncols=LEGEND_BELOW, frameon=False)
    figure.savefig(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name({output_name!r}))


if __name__ == "__main__":
    main()
'''


def redrawing_script(spec: FigureSpec, style: Style, name: str, *, height: float | None = None) -> str:
    """Give the script that draws a figure again from ``NAME.csv``.

    Parameters
    ----------
    spec : FigureSpec
        The figure.
    style : Style
        Its width and type.
    name : str
        Name of the exported files, without ending.
    height : float, optional
        As for `export.figure_bytes`.
    """
    with settings(style):
        page = drawn(spec, style, title=False, height=height)
    looks = {
        (panel.key, mark.key): _look(mark, page.theme)
        for panel, mark in spec.marks()
        if (panel.key, mark.key) not in page.dropped
    }
    panels = []
    for panel in spec.panels:
        top = panel.shares_x_with or panel.key
        sharing = [one for one in spec.panels if one is not panel and (one.shares_x_with or one.key) == top]
        limits = panel_limits(panel, sharing)
        panels.append(_panel(panel, limits, page))
    parameters = {
        "font.family": [*style.fonts, "DejaVu Sans"],
        "font.size": style.text,
        "xtick.labelsize": style.small,
        "ytick.labelsize": style.small,
        "legend.fontsize": style.small,
        "mathtext.fontset": style.mathematics,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "grid.color": page.theme.colour("line"),
        "grid.linewidth": 0.5,
        "axes.axisbelow": True,
        "axes.titlesize": style.text,
        "axes.titleweight": "bold",
    }
    return _TEMPLATE.format(
        title=_one_line(spec.title or "the figure"),
        caption=_quoted(spec.caption or spec.subtitle),
        csv_name=f"{name}.csv",
        script_name=f"{name}.py",
        output_name=f"{name}_redrawn.pdf",
        width=style.width,
        height=round(float(page.figure.get_figheight()), 3),
        below=page.below,
        shrink=SHRINK,
        columns=len(columns_of(spec, style)),
        settings=_literal(parameters),
        panels=_literal(panels),
        marks=_literal(looks),
    )


def _panel(panel: Panel, limits: tuple[tuple[float, float], tuple[float, float]], page: Page) -> dict[str, Any]:
    upside_down = any(isinstance(mark, Cells) for mark in panel.marks)
    return {
        "key": panel.key,
        "title": panel.title,
        "x": _axis(panel.x, limits[0], inverted=panel.x.inverted),
        "y": _axis(panel.y, limits[1], inverted=panel.y.inverted or upside_down),
        "height": panel.height,
        "square": panel.square,
        "slanted": panel.key in page.slanted,
        "legend": page.legends.get(panel.key),
        "in_legend_below": panel.legend,
    }


def _axis(axis: Axis, limits: tuple[float, float], *, inverted: bool) -> dict[str, Any]:
    return {
        "label": f"{axis.label} (s since 1970)" if axis.scale == "time" else axis.label,
        "scale": "log" if axis.scale == "log" else "linear",
        "limits": tuple(reversed(limits)) if inverted else limits,
        "names": list(axis.names),
    }


def _look(mark: Mark, light: Theme) -> dict[str, Any]:

    def dash(hue: str, own: str) -> Any:
        pattern = light.pattern(light.dash(hue, own))
        return (0, pattern) if pattern else "-"

    look: dict[str, Any] = {"kind": type(mark).__name__.lower()}
    if not isinstance(mark, Cells):
        look["colour"] = light.colour(mark.hue)
    if not isinstance(mark, Text | EdgeMarks):
        look["label"] = mark.label
    match mark:
        case Line():
            look |= {
                "width": round(mark.width * SHRINK, 3),
                "dash": dash(mark.hue, mark.dash),
                "opacity": opacity_of(mark),
            }
        case Band():
            look |= {"opacity": mark.opacity}
        case Points():
            marker = SYMBOLS[light.symbol(mark.hue, mark.symbol)]
            look |= {"marker": marker, "hollow": mark.hollow, "opacity": mark.opacity}
        case Bars():
            look |= {"horizontal": mark.horizontal, "opacity": mark.opacity}
        case Cells():
            low, high = (None if value != value else value for value in (mark.low, mark.high))
            look |= {"ramp": list(light.ramps[mark.ramp]), "low": low, "high": high}
        case Rule():
            look |= {"axis": mark.axis, "dash": dash(mark.hue, mark.dash), "width": round(mark.width * SHRINK, 3)}
        case Text():
            look |= {"inside": mark.inside, "align": mark.align}
        case EdgeMarks():
            look |= {"edge": mark.edge}
    return look


def _literal(value: Any) -> str:
    return pformat(value, width=116, sort_dicts=False, compact=True)


def _one_line(text: str) -> str:
    return _quoted(" ".join(text.split()))


def _quoted(text: str) -> str:
    """Give text that can stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''")
