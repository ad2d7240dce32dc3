"""Figures as files: PDF, SVG, PNG, EPS, with nothing in them that changes from one export to the next."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from ...models.errors import ExportError
from ...models.figure import FigureSpec
from ...resources.version import __version__
from .atomic import write_whole
from .styles import DEFAULT, Style, style_named

FORMATS = {"pdf": "PDF (vector)", "svg": "SVG (vector)", "png": "PNG (pixels)", "eps": "EPS (vector)"}
"""Formats of figures by the ending of their files, and what a user reads."""


def format_of(path: Path) -> str:
    """Give the format that the ending of a file's name asks for.

    Raises
    ------
    ExportError
        When it is none a figure can have.
    """
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise ExportError(
            f"A figure cannot be written as {path.name!r}.", remedy=f"End its name in .{', .'.join(FORMATS)}."
        )
    return ending


def figure_bytes(
    spec: FigureSpec,
    kind: str,
    style: Style | str = DEFAULT,
    *,
    dpi: float = 300,
    title: bool | None = None,
    height: float | None = None,
) -> bytes:
    """Give a figure as the content of a file.

    Parameters
    ----------
    spec : FigureSpec
        What to draw.
    kind : {'pdf', 'svg', 'png', 'eps'}
        Format.
    style : Style or str
        Width and type; its key where it is a text.
    dpi : float
        Dots per inch of a PNG, and of what a vector figure holds as pixels.
    title : bool, optional
        Whether title and subtitle are drawn; None leaves it to the style.
    height : float, optional
        Height of the panels in inches; None gives each panel the golden ratio.

    Raises
    ------
    ExportError
        When the format, the style or the size cannot be had.
    """
    if kind not in FORMATS:
        raise ExportError(f"There is no format {kind!r}.", remedy=f"Formats: {', '.join(FORMATS)}.")
    style = style_named(style) if isinstance(style, str) else style
    if not spec.panels:
        raise ExportError("There is nothing to draw yet.", remedy="Open runs, or wait for the answer.")
    if not 20 <= dpi <= 2400 or not (height is None or 0.5 <= height <= 40):
        raise ExportError(
            "The figure would be too small or too large.", remedy="Use 20 to 2400 dots per inch, and 0.5 to 40 inches."
        )
    from .page import settings  # matplotlib takes half a second to import
    from .renderer import drawn

    with settings(style):
        figure = drawn(spec, style, title=title, height=height, opaque=kind == "eps").figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=_metadata(spec, kind))
    data = buffer.getvalue()
    if kind == "eps":
        # matplotlib writes the present time and no title.
        data = re.sub(rb"%%CreationDate: [^\n]*\n", b"", data, count=1)
        data = data.replace(b"%%Creator:", b"%%Title: " + _ascii(spec.title or "figure") + b"\n%%Creator:", 1)
    return data


def export_figure(spec: FigureSpec, path: Path, style: Style | str = DEFAULT, **options: Any) -> None:
    """Write a figure; the ending of the name says the format, and the file is whole or not there.

    Parameters
    ----------
    **options
        As for `figure_bytes`.

    Raises
    ------
    ExportError
        When it cannot be drawn or written.
    """
    write_whole(path, figure_bytes(spec, format_of(path), style, **options))


def _metadata(spec: FigureSpec, kind: str) -> dict[str, Any]:
    creator = f"Runglass {__version__}"
    title, caption = spec.title or "figure", spec.caption or spec.subtitle
    match kind:
        case "pdf":
            return {"Title": title, "Subject": caption or None, "Creator": creator, "CreationDate": None}
        case "svg":
            return {"Title": title, "Description": caption or None, "Creator": creator, "Date": None}
        case "png":
            described = {"Title": title, "Description": caption} if caption else {"Title": title}
            return {"Software": creator, **described}
    return {"Creator": creator}


def _ascii(text: str) -> bytes:
    return re.sub(r"[^ -~]", "?", text)[:200].encode("ascii")
