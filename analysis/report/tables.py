"""Numbers as files: what a figure draws, and what an answer says, for spreadsheets and for papers."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.deferred import deferred
from ...models.errors import ExportError
from ...models.figure import Band, Bars, Cells, EdgeMarks, FigureSpec, Line, Mark, Panel, Points, Rule, Text
from ...models.result import Result, significant
from .atomic import write_whole

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

DRAWN_COLUMNS = (
    "panel", "mark", "key", "label", "x", "y", "low", "high", "base", "width", "size", "value", "x_name", "y_name", "text",
)  # fmt: skip
"""Columns of the numbers drawn. Those no mark of a figure uses are left out.

panel, key: of the panel and the mark in it. mark: its kind. x, y: where it stands, in data coordinates; of bars their centre
and their end, of cells their column and row from 0. low, high: ends of bands and error bars. base, width: of bars. size:
diameter of points in points. value: of cells. x_name, y_name: on axes of categories. text: what is written there.
"""


def drawn_numbers(spec: FigureSpec) -> pd.DataFrame:
    """Give every number a figure draws, at full resolution, one row an element in the order of drawing.

    Where an axis along x says its limits, what lies outside is left out; lines and bands keep the next point at each side, as
    they lead there.

    Returns
    -------
    DataFrame
        See `DRAWN_COLUMNS`.
    """
    parts = []
    for panel, mark in spec.marks():
        part = pd.DataFrame(_numbers(panel, mark))
        part.insert(0, "panel", panel.key)
        part.insert(1, "mark", type(mark).__name__.lower())
        part.insert(2, "key", mark.key)
        part.insert(3, "label", "" if isinstance(mark, Text | EdgeMarks) else mark.label)
        parts.append(part)
    if not parts:
        return pd.DataFrame(columns=list(DRAWN_COLUMNS[:6]))
    frame = pd.concat(parts, ignore_index=True)
    return frame[[name for name in DRAWN_COLUMNS if name in frame.columns]]


def _numbers(panel: Panel, mark: Mark) -> dict[str, Any]:
    match mark:
        case Line():
            return _named(panel, _seen(panel, {"x": mark.x, "y": mark.y}, leads_on=True))
        case Band():
            return _named(panel, _seen(panel, {"x": mark.x, "low": mark.low, "high": mark.high}, leads_on=True))
        case Points():
            numbers = {"x": mark.x, "y": mark.y, "size": np.broadcast_to(mark.size, np.shape(mark.x))}
            return _named(panel, _seen(panel, numbers | _ends(mark.low, mark.high)))
        case Bars():
            along, across = ("x", "y") if mark.horizontal else ("y", "x")
            numbers = {across: mark.at, along: mark.height}
            numbers |= {name: np.broadcast_to(getattr(mark, name), np.shape(mark.at)) for name in ("base", "width")}
            return _named(panel, numbers | _ends(mark.low, mark.high))
        case Cells():
            rows, columns = np.indices(mark.values.shape).reshape(2, -1)
            return {
                "x": columns,
                "y": rows,
                "value": mark.values.ravel(),
                "x_name": [mark.columns[at] for at in columns],
                "y_name": [mark.rows[at] for at in rows],
            } | ({"text": [text for row in mark.texts for text in row]} if mark.texts else {})
        case Rule():
            return (
                {"x": [mark.at]} if mark.axis == "x" else {"y": [mark.at]} if mark.axis == "y" else {"text": ["y = x"]}
            )
        case Text():
            return {"x": [mark.x], "y": [mark.y], "text": [mark.text]}
        case EdgeMarks():
            seen = _seen(panel, {"x": mark.x})
            return seen | {"text": [mark.what] * len(seen["x"])}


def _seen(panel: Panel, numbers: dict[str, Any], *, leads_on: bool = False) -> dict[str, Any]:
    """Leave out what lies outside the limits of x, but for the points that a line leads on to."""
    x = np.asarray(numbers["x"], dtype=float)
    seen = np.ones(len(x), dtype=bool)
    if panel.x.low is not None:
        seen &= ~(x < panel.x.low)
    if panel.x.high is not None:
        seen &= ~(x > panel.x.high)
    if seen.all():
        return numbers
    if leads_on:
        # A line may also lead through without a point inside.
        low, high = np.fmin(x[1:], x[:-1]), np.fmax(x[1:], x[:-1])
        crosses = np.ones(len(low), dtype=bool)
        if panel.x.low is not None:
            crosses &= high >= panel.x.low
        if panel.x.high is not None:
            crosses &= low <= panel.x.high
        seen[1:] |= crosses
        seen[:-1] |= crosses
    return {name: np.asarray(values)[seen] for name, values in numbers.items()}


def _ends(low: np.ndarray | None, high: np.ndarray | None) -> dict[str, Any]:
    return {} if low is None or high is None else {"low": low, "high": high}


def _named(panel: Panel, numbers: dict[str, Any]) -> dict[str, Any]:
    """Add the names of the categories that numbers stand for."""
    named = dict(numbers)
    for which, axis in (("x", panel.x), ("y", panel.y)):
        if axis.scale == "category" and axis.names and which in numbers:
            places = np.asarray(numbers[which], dtype=float)
            known = {float(number): name for number, name in enumerate(axis.names)}
            named[f"{which}_name"] = [known.get(place, "") for place in places]
    return named


def estimates_table(result: Result) -> pd.DataFrame:
    """Give the estimates of an answer, one row each: estimate, value, low, high, level, unit."""
    return pd.DataFrame(
        [
            {
                "estimate": name,
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "level": one.level,
                "unit": one.unit,
            }
            for name, one in result.estimates.items()
        ],
        columns=["estimate", "value", "low", "high", "level", "unit"],
    )


def answer_table(result: Result) -> pd.DataFrame:
    """Give the table of an answer that is shown first, or its estimates where it has none."""
    return next(iter(result.tables.values())) if result.tables else estimates_table(result)


# -- formats ------------------------------------------------------------------------------------------------------------


def _as_csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode("utf-8")


def _as_markdown(frame: pd.DataFrame) -> bytes:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")

    numeric = [_is_numeric(frame[name]) for name in frame.columns]
    head = "| " + " | ".join(escaped(str(name)) for name in frame.columns) + " |"
    rule = "|" + "|".join(" ---: " if right else " --- " for right in numeric) + "|"
    rows = ["| " + " | ".join(map(escaped, row)) + " |" for row in _written(frame)]
    return "\n".join([head, rule, *rows, ""]).encode("utf-8")


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\varepsilon$", "κ": r"$\kappa$",
    "λ": r"$\lambda$", "μ": r"$\mu$", "σ": r"$\sigma$", "τ": r"$\tau$", "Δ": r"$\Delta$", "≤": r"$\leq$", "≥": r"$\geq$",
    "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "∞": r"$\infty$", "−": "$-$", "≈": r"$\approx$",
    "\n": " ", "\r": " ",
}  # fmt: skip


def latex_escaped(text: str) -> str:
    """Give text that LaTeX sets as it stands here; letters it knows only in mathematics are set there."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def guarded(text: str) -> str:
    """Keep LaTeX from reading a bracket or a star at the beginning as an option of the command before it."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def _as_latex(frame: pd.DataFrame) -> bytes:
    columns = "".join("r" if _is_numeric(frame[name]) else "l" for name in frame.columns)
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        guarded(" & ".join(latex_escaped(str(name)) for name in frame.columns)) + r" \\",
        "\\midrule",
        *(guarded(" & ".join(_latex_cell(cell) for cell in row)) + r" \\" for row in _written(frame)),
        "\\bottomrule",
        "\\end{tabular}",
        "",
    ]
    return "\n".join(lines).encode("utf-8")


def _latex_cell(text: str) -> str:
    scientific = re.fullmatch(r"(-?[\d.]+)e([+-]\d+)", text)
    if scientific:
        return rf"${scientific[1]} \times 10^{{{int(scientific[2])}}}$"
    return f"${text}$" if re.fullmatch(r"-[\d.,]+", text) else latex_escaped(text)


def _as_parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    plain = frame.copy(deep=False)
    plain.columns = [str(name) for name in frame.columns]
    for name in plain.columns:
        values = plain[name]
        # A configuration holds a number in one run and a text in another; a Parquet column is one or the other.
        if values.dtype == object and values.dropna().map(type).nunique() > 1:
            plain[name] = values.map(lambda value: None if _is_missing(value) else str(value))
    plain.to_parquet(buffer, index=False)
    return buffer.getvalue()


_FORMATS: dict[str, Callable[[pd.DataFrame], bytes]] = {
    "csv": _as_csv,
    "md": _as_markdown,
    "tex": _as_latex,
    "parquet": _as_parquet,
}

FORMATS = tuple(_FORMATS)
"""Endings of the files a table can be written to."""


def table_bytes(frame: pd.DataFrame, kind: str) -> bytes:
    """Give a table as the content of a file.

    CSV and Parquet hold the numbers as they are; Markdown and LaTeX (booktabs) write four significant digits, for readers.

    Raises
    ------
    ExportError
        When there is no such format.
    """
    if kind not in _FORMATS:
        raise ExportError(f"A table cannot be written as {kind!r}.", remedy=f"End its name in .{', .'.join(FORMATS)}.")
    return _FORMATS[kind](frame)


def export_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table; the ending of the name says the format, and the file is whole or not there.

    Raises
    ------
    ExportError
        When it cannot be written.
    """
    write_whole(path, table_bytes(frame, path.suffix.lower().lstrip(".")))


def _is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def written_table(frame: pd.DataFrame) -> tuple[list[str], list[bool], list[list[str]]]:
    """Give a table as readers see it: names of columns, which of them are numbers, and rows of texts."""
    return [str(name) for name in frame.columns], [_is_numeric(frame[name]) for name in frame], list(_written(frame))


def _written(frame: pd.DataFrame) -> Iterator[list[str]]:
    for row in frame.itertuples(index=False, name=None):
        yield [_cell(value) for value in row]


def _cell(value: Any) -> str:
    if _is_missing(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:,.0f}" if number.is_integer() and abs(number) < 1e6 else significant(number)
    return str(value)
