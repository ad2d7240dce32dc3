"""One question asked of what lies at some paths, with all that is needed to trust and to repeat the answer.

The command line asks through here: `opened` reads, maps and filters; `ask` answers; `Answer.to_json` is the document of
``runglass ask --json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..models import expression
from ..models.column_map import ColumnMap
from ..models.engine import LOCAL, Engine, using
from ..models.errors import AnalysisError, RunglassError
from ..models.figure import FigureSpec
from ..models.inspection import all_problems, found, problems_to_json
from ..models.loader import Loader
from ..models.progress import Progress, quiet
from ..models.question import Analysis, Question
from ..models.result import Result
from ..models.schema import SCHEMAS
from ..models.selection import EVERYTHING, Clause, Holds, both
from ..models.store import RunStore
from ..models.text_pattern import TextPattern
from ..resources.version import __version__


@dataclass(frozen=True, slots=True)
class Opened:
    """What was read, narrowed by the filter.

    Attributes
    ----------
    store : RunStore
        The data.
    files : tuple of (str, int, float)
        Path, bytes and time of the last change (s since 1970) of every file read.
    """

    store: RunStore
    files: tuple[tuple[str, int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, its answer and where it comes from.

    Attributes
    ----------
    question : Question
        With every option resolved.
    opened : Opened
        What it was asked of.
    """

    analysis: Analysis
    question: Question
    result: Result
    opened: Opened = field(repr=False)

    def figure(self) -> FigureSpec:
        """Give the figure of the answer."""
        return self.analysis.figure(self.question, self.result)

    def to_json(self) -> dict[str, Any]:
        """Write question, summary, estimates, tables, notes, problems and provenance as plain JSON values."""
        return {
            "analysis": self.analysis.id,
            "question": self.question.to_json(),
            **self.result.to_json(),
            "problems": problems_to_json(all_problems(self.opened.store)),
            "provenance": {**provenance(self.opened), "seed": getattr(self.question, "seed", None)},
        }


def provenance(data: Opened) -> dict[str, Any]:
    """Give where answers come from as plain JSON values: version, sources, maps and condition."""
    return {
        "runglass": __version__,
        "sources": [
            {"path": path, "bytes": size, "modified": datetime.fromtimestamp(changed, UTC).isoformat()}
            for path, size, changed in data.files
        ],
        "maps": [{"names": dict(one.names), "derived": dict(one.derived)} for one in data.store.maps],
        "where": "" if data.store.filter == EVERYTHING else str(data.store.filter),
    }


def column_map(names: Sequence[str], derived: Sequence[str]) -> tuple[ColumnMap, ...]:
    """Read column maps as typed: ``COLUMN=NAME`` and ``NAME=EXPRESSION``.

    Raises
    ------
    RunglassError
        When one has no ``=`` or an expression cannot be understood.
    """
    pairs = [_pair("--map", text, 'params="Model Size"') for text in names]
    formulas = [_pair("--let", text, "tokens=flops/(6*params)") for text in derived]
    for _, text in formulas:
        expression.parse(text)
    return (ColumnMap(tuple(pairs), tuple(formulas)),) if pairs or formulas else ()


def conditions(texts: Sequence[str]) -> Clause:
    """Read conditions as typed; all must hold.

    Raises
    ------
    ExpressionError
        When one cannot be understood.
    """
    clause: Clause = EVERYTHING
    for text in texts:
        expression.parse(text)
        clause = both(clause, Holds(text))
    return clause


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise RunglassError(
            f"{option} {text!r} has no name on each side of an '='.", remedy=f"Write {option} {example}."
        )
    return name.strip(), value.strip()


def opened(
    paths: Sequence[str],
    maps: tuple[ColumnMap, ...] = (),
    where: Clause = EVERYTHING,
    progress: Progress = quiet,
    *,
    patterns: tuple[TextPattern, ...] = (),
) -> Opened:
    """Read everything at some paths under column maps and patterns for text logs, and keep what a filter holds for.

    Raises
    ------
    AnalysisError
        When a map or the filter names a column that nothing has.
    Cancelled
        When `progress` says so.
    """
    loader = Loader(paths, patterns=patterns)
    events = [event for batch in loader.new_events(progress) for event in batch]
    store = RunStore(maps=maps).adding(events)
    _check_maps(store)
    store = store.keeping(where)
    unused = store.unused_clauses()
    if unused:
        columns = sorted({column for clause in unused for column in clause.columns})
        raise AnalysisError(f"No table has {_quoted(columns)}, named in --where; {_columns_there(store)}.")
    return Opened(store, tuple(loader.files()))


def _check_maps(store: RunStore) -> None:
    """Refuse maps of columns that nothing has: a slip of the pen would otherwise leave a column silently unmapped."""
    if store.map_problems:
        raise AnalysisError(store.map_problems[0].what)
    there = _columns(store)
    for one in store.maps:
        for _, name in one.names:
            if name not in there:
                raise AnalysisError(f"No table has {name!r}, named in --map; {_columns_there(store)}.")
        for name, text in one.derived:
            lacking = [column for column in expression.parse(text).columns if column not in there]
            if lacking or name not in there:
                missing = lacking or list(expression.parse(text).columns)
                raise AnalysisError(
                    f"No table has {_quoted(missing)} together, named in --let {name}; {_columns_there(store)}."
                )


def _columns(store: RunStore) -> dict[str, None]:
    own = [str(name) for rows in store.sources.values() for name in rows.frame.columns]
    typed = [name for table in SCHEMAS if store.has_rows(table) for name in store.columns(table)]
    return dict.fromkeys(own + typed)


def _columns_there(store: RunStore, most: int = 30) -> str:
    columns = list(_columns(store))
    if not columns:
        return "there are no columns at all"
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return f"columns: {', '.join(columns[:most])}{more}"


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))


def ask(
    analysis: Analysis,
    options: Mapping[str, Any],
    data: Opened,
    *,
    engine: Engine = LOCAL,
    progress: Progress = quiet,
) -> Answer:
    """Answer one question.

    Parameters
    ----------
    options : Mapping
        Values of options, by name; the others are decided by their defaults and the data.
    data : Opened
        What to ask it of.

    Raises
    ------
    AnalysisError
        When the data cannot answer it; the sentence says what is missing and what was found.
    RunglassError
        When an option cannot have its value.
    Cancelled
        When `progress` says so.
    """
    missing = analysis.question.missing(data.store)
    if missing:
        raise AnalysisError(f"{analysis.id} {missing}.", remedy=f"Found: {found(data.store)}.")
    with using(engine, progress):
        question = analysis.question.from_json(dict(options)).resolved(data.store)
        return Answer(analysis, question, question.answer(data.store, engine=engine, progress=progress), data)


def catalogue_entry(analysis: Analysis) -> dict[str, Any]:
    """Give an analysis as plain JSON values: the document of ``runglass list``."""
    return {
        "id": analysis.id,
        "family": analysis.family,
        "title": analysis.title,
        "question": analysis.asks,
        "inputs": list(analysis.inputs),
        "options": [
            {
                "name": one.name,
                "type": one.type,
                "default": list(one.default) if isinstance(one.default, tuple) else one.default,
                "unit": one.unit,
                "help": one.help,
                "choices": list(one.fixed),
                "low": one.low,
                "high": one.high,
            }
            for one in analysis.question.options()
        ],
        "sources": list(analysis.sources),
    }
