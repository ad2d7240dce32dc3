"""A figure with everything beside it: its numbers, its caption, the raw data, and the script that draws it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ...models.errors import ExportError
from ...models.figure import FigureSpec
from .atomic import write_whole
from .export import figure_bytes
from .script import redrawing_script
from .styles import DEFAULT, Style, style_named
from .tables import drawn_numbers, table_bytes


def export_bundle(
    spec: FigureSpec,
    folder: Path,
    name: str,
    *,
    formats: Sequence[str] = ("pdf",),
    style: Style | str = DEFAULT,
    dpi: float = 300,
    title: bool | None = None,
    height: float | None = None,
    raw: pd.DataFrame | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> tuple[Path, ...]:
    """Write a figure with all that belongs to it.

    ``NAME.pdf`` (and other formats), ``NAME.csv`` with the numbers drawn, ``NAME.txt`` with the caption, ``NAME.py``; and where
    given ``NAME_raw.csv`` and ``NAME_TABLE.csv`` and ``.tex``.

    Parameters
    ----------
    spec : FigureSpec
        The figure.
    folder : Path
        Where to; it must be there.
    name : str
        Name of the files, without ending.
    formats : sequence of {'pdf', 'svg', 'png', 'eps'}
        Formats of the figure.
    style, dpi, title, height
        As for `export.figure_bytes`.
    raw : DataFrame, optional
        The rows behind the figure, before smoothing and grouping.
    tables : mapping of str to DataFrame, optional
        Tables of the result by name; each also as LaTeX.

    Returns
    -------
    tuple of Path
        The files, the figure first.

    Raises
    ------
    ExportError
        When something cannot be drawn or written; nothing is written before all is drawn.
    """
    if not name or Path(name).name != name:
        raise ExportError(f"{name!r} is not a name for files.", remedy="Use a name without slashes.")
    style = style_named(style) if isinstance(style, str) else style
    files: dict[str, bytes] = {}
    for kind in formats:
        files[f"{name}.{kind}"] = figure_bytes(spec, kind, style, dpi=dpi, title=title, height=height)
    files[f"{name}.csv"] = table_bytes(drawn_numbers(spec), "csv")
    if caption(spec):
        files[f"{name}.txt"] = f"{caption(spec)}\n".encode()
    files[f"{name}.py"] = redrawing_script(spec, style, name, height=height).encode()
    if raw is not None:
        files[f"{name}_raw.csv"] = table_bytes(raw, "csv")
    for table, frame in (tables or {}).items():
        for kind in ("csv", "tex"):
            files[f"{name}_{table.replace(' ', '_')}.{kind}"] = table_bytes(frame, kind)
    written = []
    for file, data in files.items():
        write_whole(folder / file, data)
        written.append(folder / file)
    return tuple(written)


def caption(spec: FigureSpec) -> str:
    """Give the caption of a figure: its own, else its title and subtitle in sentences."""
    if spec.caption:
        return spec.caption
    return " ".join(f"{part.rstrip('.')}." for part in (spec.title, spec.subtitle) if part)
