"""Reports: findings with their figures, tables, methods and provenance, as a page that opens offline and as LaTeX.

A report is a folder: ``report.html`` holds everything and loads nothing; ``report.tex`` compiles beside ``figures/``;
``figures/`` and ``tables/`` hold what `bundle.export_bundle` writes of each figure; ``provenance.json`` says what was read
and asked. Names come from logs, which come from anywhere, so every text is escaped.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd

from ...models.errors import ExportError
from ...models.figure import FigureSpec
from ...models.plain_text import plain
from ...models.progress import Progress, quiet
from ...models.question import Analysis
from ...models.result import Result, shortened, significant, with_interval
from ...resources import path as resource
from .bundle import caption, export_bundle
from .export import figure_bytes
from .markdown import markdown_to_html, markdown_to_latex
from .styles import DEFAULT, Style, style_named
from .tables import latex_escaped, table_bytes, written_table

if TYPE_CHECKING:
    import jinja2

_MOST_ROWS, _MOST_SOURCES, _MOST_PROBLEMS = 20, 100, 20
_PROVENANCE = "provenance.json"


@dataclass(frozen=True, slots=True)
class Section:
    """One section: a question with its answer, why there is none, or a text alone.

    Attributes
    ----------
    title : str
        Heading; empty takes that of the analysis.
    text : str
        What stands above the answer, in Markdown.
    analysis : Analysis or None
        What was asked.
    question : Mapping
        Every option, resolved, as JSON values.
    result, figure
        The answer; None where there is none.
    refusal : str
        Why there is no answer.
    """

    title: str = ""
    text: str = ""
    analysis: Analysis | None = None
    question: Mapping[str, Any] = field(default_factory=dict)
    result: Result | None = None
    figure: FigureSpec | None = None
    refusal: str = ""

    @property
    def heading(self) -> str:
        """The heading as it is written."""
        return self.title or (self.analysis.title if self.analysis is not None else "")


@dataclass(frozen=True, slots=True)
class Document:
    """A report before it is written.

    Attributes
    ----------
    text : str
        What stands first, in Markdown.
    provenance : Mapping
        What was read: version, sources, maps, condition, problems, as JSON values.
    """

    title: str
    text: str
    sections: tuple[Section, ...]
    provenance: Mapping[str, Any]


def write_report(
    document: Document, folder: Path, *, style: Style | str = DEFAULT, progress: Progress = quiet
) -> tuple[Path, ...]:
    """Write a report; the folder is there whole or not at all.

    Parameters
    ----------
    folder : Path
        Where to. It must be new or empty, or hold an older report, which is replaced.
    style : Style or str
        Width, type and colours of the figures; its key where it is a text.
    progress : callable
        Told of each section.

    Returns
    -------
    tuple of Path
        ``report.html``, ``report.tex`` and ``provenance.json``.

    Raises
    ------
    ExportError
        When the folder holds something else, or something cannot be drawn or written.
    Cancelled
        When `progress` says so.
    """
    style = style_named(style) if isinstance(style, str) else style
    folder = Path(os.path.abspath(folder))
    if folder.exists() and not _may_be_replaced(folder):
        raise ExportError(f"{folder} holds other files.", remedy="Write the report to a new or an empty folder.")
    part = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        try:
            (part / "figures").mkdir(parents=True)
            (part / "tables").mkdir()
            _write_into(part, document, style, progress)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ExportError(
            f"The report could not be written: {error.strerror or error}.", remedy="Write it to another folder."
        ) from error
    return tuple(folder / name for name in ("report.html", "report.tex", _PROVENANCE))


def _may_be_replaced(folder: Path) -> bool:
    if not folder.is_dir() or folder.is_symlink():
        return False
    names = {entry.name for entry in folder.iterdir()}
    ours = {"report.html", "report.tex", _PROVENANCE, "figures", "tables"}
    return not names or (names <= ours and _PROVENANCE in names)


def _write_into(folder: Path, document: Document, style: Style, progress: Progress) -> None:
    pages, papers, asked = [], [], []
    for number, section in enumerate(document.sections, 1):
        progress(number - 1, len(document.sections), section.heading)
        name = f"{number:02d}_{_file_name(section.heading)}"
        drawn = section.figure if section.figure is not None and section.figure.panels else None
        image = b""
        if drawn is not None:
            export_bundle(drawn, folder / "figures", name, formats=("pdf",), style=style, title=False)
            image = figure_bytes(drawn, "svg", style, title=False)
        tables = _tables(section.result)
        for table, frame in tables.items():
            for kind in ("csv", "tex"):
                (folder / _table_file(name, table, kind)).write_bytes(table_bytes(frame, kind))
        shared = {"caption": caption(drawn) if drawn is not None else ""}
        pages.append(shared | _page(section, name, image, tables))
        papers.append(shared | _paper(section, name, drawn is not None, tables, style))
        asked.append(
            {
                "title": section.heading,
                "analysis": section.analysis.id if section.analysis is not None else "",
                "question": dict(section.question),
                "refusal": section.refusal,
                **(section.result.to_json() if section.result is not None else {}),
            }
        )
    progress(len(document.sections), len(document.sections), "")
    page = (
        environment()
        .get_template("report.html.jinja")
        .render(
            title=document.title,
            text=markdown_to_html(document.text),
            sections=pages,
            provenance=document.provenance,
            figure_width=f"{style.width * 1.45:.1f}in",
            most_sources=_MOST_SOURCES,
            most_problems=_MOST_PROBLEMS,
        )
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    paper = (
        _latex_environment()
        .get_template("report.tex.jinja")
        .render(title=latex_escaped(document.title), text=markdown_to_latex(document.text), sections=papers)
    )
    (folder / "report.tex").write_text(_with_known_letters(paper), encoding="utf-8")
    provenance = {**document.provenance, "sections": asked}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    (folder / _PROVENANCE).write_bytes(orjson.dumps(provenance, option=options, default=str))


def _tables(result: Result | None) -> dict[str, pd.DataFrame]:
    """Give the estimates as readers want them, then the tables of an answer."""
    if result is None:
        return {}
    tables = dict(result.tables)
    if result.estimates:
        rows = [
            {
                "estimate": name.replace("_", " "),
                "value": with_interval(one.value, one.low, one.high) if one.has_interval else significant(one.value),
                "level": f"{one.level:.0%}" if one.has_interval else one.why_no_interval or "no interval",
                "unit": one.unit,
            }
            for name, one in result.estimates.items()
        ]
        tables = {"estimates": pd.DataFrame(rows), **tables}
    return tables


def _page(section: Section, name: str, image: bytes, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    shown = []
    for table, frame in tables.items():
        columns, numeric, rows = written_table(frame.head(_MOST_ROWS))
        more = max(0, len(frame) - _MOST_ROWS)
        shown.append(
            {
                "name": table.replace("_", " "),
                "columns": columns,
                "numeric": numeric,
                "rows": rows,
                "more": f"{more:,}" if more else "",
                "file": _table_file(name, table, "csv"),
            }
        )
    return {
        "title": section.heading,
        "asks": section.analysis.asks if section.analysis is not None else "",
        "analysis": section.analysis.id if section.analysis is not None else "",
        "sources": section.analysis.sources if section.analysis is not None else (),
        "text": markdown_to_html(section.text),
        "refusal": section.refusal,
        "finding": section.result.summary() if section.result is not None else "",
        "image": base64.b64encode(image).decode("ascii"),
        "tables": shown,
        "notes": section.result.notes if section.result is not None else (),
        "options": [(option.replace("_", " "), _option(value)) for option, value in section.question.items()],
    }


def _paper(
    section: Section, name: str, has_figure: bool, tables: dict[str, pd.DataFrame], style: Style
) -> dict[str, Any]:
    shown = [
        {
            "name": latex_escaped(table.replace("_", " ")),
            "tabular": table_bytes(frame.head(_MOST_ROWS), "tex").decode("utf-8").partition("\n")[2].strip(),
            "more": len(frame) > _MOST_ROWS,
            "shown": _MOST_ROWS,
            "total": f"{len(frame):,}",
        }
        for table, frame in tables.items()
        if len(frame)
    ]
    return {
        "title": latex_escaped(section.heading),
        "text": markdown_to_latex(section.text),
        "refusal": latex_escaped(section.refusal),
        "finding": latex_escaped(section.result.summary()) if section.result is not None else "",
        "figure": f"figures/{name}.pdf" if has_figure else "",
        "width": f"{style.width:g}",
        "tables": shown,
        "notes": [latex_escaped(note) for note in section.result.notes] if section.result is not None else [],
    } | ({"caption": latex_escaped(caption(section.figure))} if has_figure and section.figure is not None else {})


def _option(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        most = 8
        more = f" and {len(value) - most} more" if len(value) > most else ""
        return ", ".join(map(str, value[:most])) + more
    return shortened(str(value), 200)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:40] or "section"


def _table_file(section: str, table: str, kind: str) -> str:
    return f"tables/{section}_{_file_name(table)}.{kind}"


def _with_known_letters(text: str) -> str:
    """Mark letters beyond what every TeX sets, so that one of them in the name of a run does not stop pdfTeX."""
    return re.sub(r"[^\x00-\xff–—‘’“”…•€]", r"\\uni{\g<0>}", text)


@cache
def environment() -> jinja2.Environment:
    """Give what makes pages from the templates in ``resources/report``; every text that goes in is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource("report")),
        autoescape=True,
        finalize=lambda value: plain(value) if type(value) is str else value,  # markup of ours is a kind of text
        undefined=jinja2.StrictUndefined,
    )


@cache
def _latex_environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource("report")),
        autoescape=False,  # what goes in is escaped for LaTeX
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
