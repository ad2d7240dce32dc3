"""Runglass from Python: open data, ask a question, write the figure; the same answers as the window and the command line.

::

    import runglass

    data = runglass.open("runs/")
    answer = data.ask("curve.seed-band", tag="val_loss", group_by=["optimizer"])
    answer.estimates
    answer.save("band.pdf", style="neurips")

This is the public interface: its names stay, everything below it may change.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..models.engine import Engine, engine_named
from ..models.errors import RunglassError
from ..models.inspection import all_problems, found
from ..models.store import RunStore
from . import asking, registry
from .report.export import export_figure, figure_bytes
from .report.styles import style_named
from .report.tables import estimates_table, export_table


def open(  # noqa: A001 - what a user says: runglass.open
    *paths: str | Path,
    map: Mapping[str, str] | None = None,  # noqa: A002 - the word of the command line
    let: Mapping[str, str] | None = None,
    where: str | Sequence[str] = (),
) -> Data:
    """Read everything at some paths.

    Parameters
    ----------
    *paths : str or Path
        Folders, files, patterns or addresses.
    map : mapping of str to str, optional
        Columns to read under other names: ``{"params": "Model Size"}``.
    let : mapping of str to str, optional
        Columns to derive: ``{"tokens": "flops / (6 * params)"}``.
    where : str or sequence of str
        Conditions that rows must hold: ``"loss < 4"``.

    Raises
    ------
    RunglassError
        When a map, an expression or a condition cannot be understood, or names a column nothing has.
    """
    names = [f"{column}={name}" for column, name in (map or {}).items()]
    derived = [f"{name}={text}" for name, text in (let or {}).items()]
    clause = asking.conditions([where] if isinstance(where, str) else list(where))
    return Data(asking.opened([str(path) for path in paths], asking.column_map(names, derived), clause))


def engine(name: str) -> Engine:
    """Give where heavy work runs by name, to be handed to `Data.ask`; close it when it is no longer needed.

    Parameters
    ----------
    name : str
        ``local``, ``processes`` or ``dask://HOST:PORT``, the scheduler of a Dask cluster.

    Raises
    ------
    RunglassError
        When there is none of that name. A cluster is connected to when it is first used.
    """
    return engine_named(name)


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """What was read."""

    _opened: asking.Opened

    @property
    def _store(self) -> RunStore:
        return self._opened.store

    @property
    def runs(self) -> pd.DataFrame:
        """The runs: key, name, status, configuration ...; one row a run."""
        return self._store.rows("runs")

    @property
    def scalars(self) -> pd.DataFrame:
        """What was logged: run, tag, step, value ...; one row a point."""
        return self._store.rows("scalars")

    @property
    def scores(self) -> pd.DataFrame:
        """Scores of models on tasks."""
        return self._store.rows("scores")

    @property
    def predictions(self) -> pd.DataFrame:
        """Answers of models to items."""
        return self._store.rows("predictions")

    @property
    def comparisons(self) -> pd.DataFrame:
        """Judgements of pairs."""
        return self._store.rows("comparisons")

    @property
    def problems(self) -> list[str]:
        """What could not be read, a sentence each."""
        return [f"{one.source}: {one.what}" for one in all_problems(self._store)]

    def where(self, condition: str) -> Data:
        """Give the data narrowed to the rows for which a condition holds.

        Raises
        ------
        RunglassError
            When it cannot be understood.
        """
        kept = self._store.keeping(asking.conditions([condition]))
        return Data(asking.Opened(kept, self._opened.files))

    def questions(self) -> pd.DataFrame:
        """Give what can be asked: id, question, and what these data lack for it (empty: nothing)."""
        rows = [(one.id, one.asks, one.question.missing(self._store)) for one in registry.catalogue()]
        return pd.DataFrame(rows, columns=["id", "question", "lacks"])

    def ask(self, identifier: str, *, engine: str | Engine = "local", **options: Any) -> Answer:
        """Answer a question.

        Parameters
        ----------
        identifier : str
            Id of the analysis; `questions` lists them.
        engine : str or Engine
            Where heavy work runs, as on the command line: ``local``, ``processes`` or ``dask://HOST:PORT``. Of many questions,
            give them the same `runglass.engine`: a cluster is then connected to once.
        **options
            Options by name, as ``runglass ask ID --help`` lists them with dashes; what is left out the data decide.

        Raises
        ------
        AnalysisError
            When the data cannot answer; the sentence says what is missing.
        RunglassError
            When there is no such analysis or option, or an option cannot have its value.
        """
        analysis = registry.analysis(identifier)
        known = {option.name for option in analysis.question.options()}
        unknown = sorted(set(options) - known)
        if unknown:
            raise RunglassError(
                f"{identifier} has no option {unknown[0]!r}.", remedy=f"Options: {', '.join(sorted(known))}."
            )
        if not isinstance(engine, str):
            return Answer(asking.ask(analysis, options, self._opened, engine=engine))
        own = engine_named(engine)
        try:
            return Answer(asking.ask(analysis, options, self._opened, engine=own))
        finally:
            own.close()

    def __repr__(self) -> str:
        return f"<runglass.Data: {found(self._store)}>"


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """What came out of a question."""

    _answer: asking.Answer = field(repr=False)

    @property
    def summary(self) -> str:
        """The answer in one sentence."""
        return self._answer.result.summary()

    @property
    def estimates(self) -> pd.DataFrame:
        """Estimates by name: value, low, high, level, unit."""
        return estimates_table(self._answer.result).set_index("estimate")

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by name."""
        return dict(self._answer.result.tables)

    @property
    def notes(self) -> tuple[str, ...]:
        """Method, resampled unit, n, what was left out."""
        return self._answer.result.notes

    @property
    def question(self) -> dict[str, Any]:
        """Every option, as it was resolved."""
        return self._answer.question.to_json()

    def to_json(self) -> dict[str, Any]:
        """Give all of it, with provenance, as ``runglass ask --json`` does."""
        return self._answer.to_json()

    def save(self, path: str | Path, *, style: str = "wide", palette: str = "", table: str = "") -> None:
        """Write the figure, or a table, to a file; its ending says the format.

        Parameters
        ----------
        path : str or Path
            ``.pdf``, ``.svg``, ``.png`` or ``.eps`` for the figure; ``.csv``, ``.md``, ``.tex`` or ``.parquet`` for a table.
        style : str
            Venue whose width and type the figure has (``neurips``, ``icml-double`` ...).
        palette : str
            Colours of runs and groups (``okabe-ito``, ``print`` ...); empty takes those of the window at its first start.
        table : str
            Name of the table; empty takes the first, or the estimates where there is none.

        Raises
        ------
        ExportError
            When it cannot be written so.
        """
        path = Path(path)
        if path.suffix.lower() in (".csv", ".md", ".tex", ".parquet"):
            tables = self.tables
            first = next(iter(tables.values()), estimates_table(self._answer.result))
            export_table(tables[table] if table else first, path)
        else:
            export_figure(self._answer.figure(), path, style_named(style, palette))

    def _repr_svg_(self) -> str:
        return figure_bytes(self._answer.figure(), "svg").decode("utf-8")

    def _repr_html_(self) -> str:
        # A notebook takes the richest form it knows; the figure alone would leave out how sure it is.
        svg = self._repr_svg_()
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<p>{html.escape(self.summary)}</p>{svg[svg.index('<svg') :]}<ul>{notes}</ul>"

    def __repr__(self) -> str:
        return f"<runglass.Answer {self._answer.analysis.id}: {self.summary}>"


def analyses() -> pd.DataFrame:
    """Give every analysis: id, title, question."""
    return pd.DataFrame(
        [(one.id, one.title, one.asks) for one in registry.catalogue()], columns=["id", "title", "question"]
    )
