"""Rows with a forecast, as every analysis of calibration needs them: chosen from the predictions, cut into series, resampled.

A *series* is what is compared with others: one version of a model, one checkpoint, one group. Series share their units of
resampling (items, or clusters of rows), so that differences between them are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ..models.engine import LOCAL, Engine
from ..models.errors import AnalysisError, TooLittleData
from ..models.partial import Part, folded, parts_of, survey
from ..models.progress import Progress, quiet
from ..models.question import Need, Question, option
from ..models.result import Estimate, counted
from ..models.selection import EVERYTHING, All, Clause, is_in
from ..models.store import RunStore
from .answers import at_epoch, in_natural_order, present, refuse_repeats, rightness
from .forecast_tally import CELLS, Tally, cell_edges, row_scores, without_outcomes
from .forecasts import Closed
from .resampling import DRAWS, Interval, bootstrap, centred_interval, percentile_interval

Target = Literal["top label", "class", "binary"]

MOST_SERIES = 8
_MANY_ROWS = 200_000
_SO_MANY_ROWS = 2_000_000
_CELLS_OF_A_BLOCK = 4_000_000
_CELLS_AT_ONCE = 40_000
_FEWEST_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Held:
    """What entries of a sample stand for.

    Attributes
    ----------
    sizes : ndarray of int, shape (n,)
        Rows.
    cell : ndarray of int, shape (n,)
        Number of the cell and class of weight, the same for both outcomes.
    scores : ndarray, shape (n, 4)
        Means of `forecast_tally.row_scores`.
    worst, floored : float, int
        Greatest weight times -log of a row, and how many rows gave less than 1e-12 to what happened.
    """

    sizes: np.ndarray
    cell: np.ndarray
    scores: np.ndarray
    worst: float
    floored: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Forecasts against what happened, as plain arrays, sorted by forecast.

    Attributes
    ----------
    f, y : ndarray, shape (n,)
        Forecast in [0, 1], increasing, and outcome, 0 or 1.
    weight : ndarray, shape (n,)
        Weight of each row.
    unit : ndarray of int, shape (n,)
        What is resampled: the number of the item or cluster each row belongs to.
    p : ndarray, shape (n, classes)
        Probabilities of all classes; no columns where they are not recorded.
    label : ndarray of int, shape (n,)
        Column of the right class in `p`; -1 where unknown.
    held : Held or None
        Where one entry stands for several rows: how many, and what else is known of them.
    """

    f: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    unit: np.ndarray
    p: np.ndarray
    label: np.ndarray
    held: Held | None = None

    @classmethod
    def of(cls, f: np.ndarray, y: np.ndarray) -> Sample:
        """Give the sample of forecasts and outcomes alone, each row a unit of weight 1."""
        order = np.argsort(f, kind="stable")
        n = len(order)
        nothing = np.empty((n, 0)), np.full(n, -1)
        return cls(np.asarray(f, float)[order], np.asarray(y, float)[order], np.ones(n), order, *nothing)

    @classmethod
    def held_together(cls, tally: Tally) -> Sample:
        """Give the sample of rows that are known by their sums alone: every entry has the mean forecast of its cell, so that
        outcomes are not ranked within it.
        """
        f = tally.forecasts()
        order = np.argsort(f, kind="stable")
        weight = tally.sums[:, 0] / tally.rows
        scores = tally.sums[:, 1:] / tally.sums[:, :1]
        n, cell = len(f), without_outcomes(tally.code)
        held = Held(tally.rows[order], cell[order], scores[order], tally.worst, tally.floored)
        nothing = np.empty((n, 0)), np.full(n, -1)
        return cls(f[order], tally.outcomes()[order], weight[order], np.arange(n), *nothing, held)

    @property
    def n(self) -> int:
        """Number of entries."""
        return len(self.f)

    @property
    def rows(self) -> int:
        """Number of rows they stand for."""
        return self.n if self.held is None else int(self.held.sizes.sum())

    @property
    def total_weight(self) -> np.ndarray:
        """Weight of all rows of each entry, shape (n,)."""
        return self.weight if self.held is None else self.weight * self.held.sizes

    @property
    def has_classes(self) -> bool:
        """Whether all probabilities and the right class of every row are known."""
        return self.p.shape[1] > 1 and bool((self.label >= 0).all() and np.isfinite(self.p).all())

    def scores(self) -> np.ndarray:
        """Give the mean of `forecast_tally.row_scores` over the rows of each entry, shape (n, 4)."""
        return row_scores(self.f, self.y) if self.held is None else self.held.scores

    def pooled(self, bins: int = 0, closed: Closed = "right") -> Sample:
        """Give the sample with rows of one outcome and about one weight within 1 / 4096 of one another of its range held as
        one, so that no edge of some bins of equal width comes between them.
        """
        if self.held is not None:
            return self
        # A score may leave [0, 1]; a forecast never does.
        start, end = min(0.0, float(self.f[0])), max(1.0, float(self.f[-1]))
        edges = cell_edges(bins) if (start, end) == (0.0, 1.0) else np.linspace(start, end, CELLS + 1)
        return Sample.held_together(Tally.of(self.f, self.y, self.weight, edges, closed))


@dataclass(frozen=True, slots=True)
class Series:
    """One of the things compared.

    Attributes
    ----------
    name : str
        As shown.
    x : float
        Its place where series are places on a number line (epoch, parameters); NaN where they are not.
    sample : Sample
        Its forecasts.
    frame : DataFrame
        The rows behind them, in the order of the sample.
    clauses : tuple of Clause
        What keeps these rows.
    column : str
        Column the forecast is read from; empty where it is computed.
    """

    name: str
    x: float
    sample: Sample
    frame: pd.DataFrame
    clauses: tuple[Clause, ...]
    column: str

    @property
    def clause(self) -> Clause:
        """The rows of the series."""
        return self.clauses[0] if len(self.clauses) == 1 else All(self.clauses)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The series of a question.

    Attributes
    ----------
    series : tuple of Series
        At least one.
    by : str
        What tells them apart, for an axis.
    classes : tuple of str
        Names of the classes; empty where probabilities are not recorded.
    unit : str
        What is resampled.
    units : int
        How many there are in all series together.
    clustered : bool
        Whether a unit can stand for several rows of a series.
    notes : tuple of str
        What was left out or pooled.
    """

    series: tuple[Series, ...]
    by: str
    classes: tuple[str, ...]
    unit: str
    units: int
    clustered: bool
    notes: tuple[str, ...]

    @property
    def along(self) -> bool:
        """Whether series are places on a number line."""
        return len(self.series) > 1 and all(math.isfinite(one.x) for one in self.series)

    @property
    def n(self) -> int:
        """Rows of all series."""
        return sum(one.sample.rows for one in self.series)

    @property
    def held_together(self) -> bool:
        """Whether draws take close rows together: there are many, and none shares a unit with another."""
        return not self.clustered and (self.n > _MANY_ROWS or any(one.sample.held for one in self.series))


@dataclass(frozen=True, kw_only=True)
class ForecastQuestion(Question):
    """Base of the questions about forecasts: which rows, and what is forecast."""

    needs: ClassVar = (Need("predictions"),)

    target: Literal["top label", "class", "binary"] = option(
        "top label",
        help="the answer given; a class against the rest; or binary: confidence is that of the positive label",
    )
    class_label: str = option(
        "", help="the class, or the positive label; the last one if empty", choices="predictions.label"
    )
    by: str = option(
        "", help="column whose values are compared; model and version if empty", choices="columns of predictions"
    )
    model: str = option("", help="only this model", choices="predictions.model")
    version: str = option("", help="only this version", choices="predictions.version")
    task: str = option("", help="only this task", choices="predictions.task")
    epoch: float | None = option(None, help="only this epoch; the last one if none", unit="epochs", advanced=True)
    confidence: str = option(
        "",
        help="column of the confidence; 'confidence', or the highest probability, if empty",
        choices="numbers of predictions",
        advanced=True,
    )
    weighted: bool = option(True, help="count rows by their weight, where there is one", advanced=True)
    cluster: str = option(
        "",
        help="column of rows that are resampled together; the item if empty",
        choices="columns of predictions",
        advanced=True,
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples", low=20, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the class, and model and version where something else is compared."""
        if not store.has_rows("predictions"):
            return self
        kept = {"model": self.model, "version": self.version}
        names_class = self.target != "top label" and not self.class_label
        one_of_each = self._shows_one()
        if not names_class and not one_of_each:
            return self
        compared = self.by if self.by in store.columns("predictions") else ""
        wanted = [*kept, *(["label"] if names_class else []), *(["epoch"] if self.by != "epoch" else []), compared]
        wanted = list(dict.fromkeys(filter(None, wanted)))
        # Of a model that was asked at many epochs, rows of the one that is shown count.
        frame = survey(store, "predictions", wanted)
        if self.by != "epoch":
            frame = at_epoch(frame, self.epoch)
        if compared and frame[compared].notna().any():
            frame = frame[frame[compared].notna()]
        for column, value in kept.items():
            if value and column in frame.columns:
                frame = frame[frame[column] == value]
        for column, value in kept.items() if one_of_each else ():
            if not value and self.by != column and present(frame, [column]):
                rows = frame.groupby(column, sort=False)["rows"].sum().sort_values(ascending=False, kind="stable")
                taken = str(rows.index[0]) if column == "model" else in_natural_order(rows.index)[-1]
                left = frame[frame[column].astype(str) == taken]
                # Where every model (or version) has a value of its own, as one of a size has, all are compared.
                if compared and left[compared].nunique() < 2 <= frame[compared].nunique():
                    continue
                kept[column] = taken
            if kept[column] and column in frame.columns:
                frame = frame[frame[column] == kept[column]]
        label = self.class_label
        if names_class and present(frame, ["label"]):
            label = in_natural_order(frame["label"].dropna().unique())[-1]
        return replace(self, class_label=label, model=kept["model"], version=kept["version"])

    def _shows_one(self) -> bool:
        """Whether one model and one version are taken where none is named."""
        return self.by not in ("", "model", "version")

    def chosen(
        self,
        store: RunStore,
        *,
        most: int = MOST_SERIES,
        any_score: bool = False,
        in_parts: bool = False,
        engine: Engine = LOCAL,
        progress: Progress = quiet,
    ) -> Chosen:
        """Give the series asked for; the question is resolved.

        Parameters
        ----------
        any_score : bool
            Whether forecasts may lie outside [0, 1].
        in_parts : bool
            Whether the analysis needs forecasts and outcomes alone: rows that stay in their files are then held together.

        Raises
        ------
        AnalysisError
            When no row has a forecast that is known to be right or wrong.
        TooLarge
            When rows stay in their files and all of them are needed.
        """
        if in_parts and (store.is_stored("predictions") or self._is_counted_at_once(store)):
            return self._chosen_in_parts(store, most, engine, progress)
        frame = store.rows("predictions")
        kept = self._kept_clauses(set(frame.columns))
        if kept:
            frame = frame[All(tuple(kept)).mask(frame)]
        for name in (self.by, self.cluster, self.confidence):
            if name and name not in frame.columns:
                raise AnalysisError(f"The predictions have no column called {name!r}.")
        if self.by != "epoch":
            frame = at_epoch(frame, self.epoch)
        if frame.empty:
            raise TooLittleData(needs="predictions", found="none that are kept")
        f, y, column = forecasts_of(frame, self.target, self.class_label, self.confidence)
        known = np.isfinite(f) & np.isfinite(y)
        notes = []
        if lost := int(len(f) - np.count_nonzero(known)):
            notes.append(f"{counted(lost, 'row')} left out: no confidence, or not known to be right or wrong.")
        if not known.any():
            raise TooLittleData(needs="rows with a confidence that are known to be right or wrong", found="0")
        if not any_score:
            refuse_out_of_range(f[known])
        frame, f, y = frame[known], f[known], y[known]
        apart = [self.by] if self.by else present(frame, ("model", "version"))
        key = present(frame, dict.fromkeys((*apart, "model", "version", "task", "item", "sample")))
        refuse_repeats(frame, key, self.model or "the predictions")
        unit_columns = [self.cluster] if self.cluster else present(frame, ("task", "item"))
        many = [name for name in ("task", "model", "version") if name in frame.columns and frame[name].nunique() > 1]
        if many := [name for name in many if name not in apart]:
            notes.append("Pooled over " + ", ".join(counted(frame[name].nunique(), name) for name in many) + ".")
        alone = len(frame) > _MANY_ROWS and not self.cluster and not frame.duplicated(unit_columns).any()
        codes = np.arange(len(frame)) if alone else numbered(frame, unit_columns)
        weight = np.ones(len(frame))
        if self.weighted and present(frame, ["weight"]):
            weight = frame["weight"].fillna(0).to_numpy(float)
            frame, f, y, codes, weight = (part[weight > 0] for part in (frame, f, y, codes, weight))
            notes.append("Rows count by their weight.")
        p, classes = probabilities(frame)
        label = places_of_labels(frame, classes)
        order = np.argsort(f, kind="stable")
        parts = _parts(frame, apart)
        if all(len(values) == 1 and math.isfinite(_number(values)) for values, _ in parts):
            most *= 5
        if len(parts) > most:
            notes.append(f"{len(parts)} values of {' and '.join(apart)}; the {most} with most rows are compared.")
            largest = sorted(parts, key=lambda part: -len(part[1]))[:most]
            parts = [part for part in parts if any(part is one for one in largest)]
        series = []
        inside = np.zeros(len(frame), dtype=bool)
        for values, rows in parts:
            inside[:] = False
            inside[rows] = True
            at = order[inside[order]]
            sample = Sample(f[at], y[at], weight[at], codes[at], p[at], label[at])
            clauses = (*kept, *self._own_clauses(apart, values))
            series.append(Series(_named(values), _number(values), sample, frame.iloc[at], clauses, column))
        if any(not one.clauses for one in series):
            # A clause of a million names is as good as none.
            many_items = len(frame) > _MANY_ROWS
            series = [
                replace(one, clauses=(EVERYTHING,) if many_items else (is_in("item", one.frame["item"].unique()),))
                for one in series
            ]
        series = _without_what_all_share(series, [values for values, _ in parts])
        clustered = any(len(np.unique(one.sample.unit)) < one.sample.n for one in series)
        unit = self.cluster or ("item" if unit_columns else "row")
        by = " and ".join(apart) or "model"
        units = int(codes.max()) + 1
        return Chosen(tuple(series), by, tuple(classes), unit, units, clustered, tuple(notes))

    def _is_counted_at_once(self, store: RunStore) -> bool:
        """Whether rows are so many that they are held together from the start: no item has several samples."""
        if self.cluster or "sample" in store.columns("predictions"):
            return False
        return store.number_of_rows("predictions") > _SO_MANY_ROWS

    def _chosen_in_parts(self, store: RunStore, most: int, engine: Engine, progress: Progress) -> Chosen:
        """Give the series of rows that stay in their files, or are very many, held together where they are close."""
        there = store.columns("predictions")
        for name in (self.by, self.cluster, self.confidence):
            if name and name not in there:
                raise AnalysisError(f"The predictions have no column called {name!r}.")
        if self.cluster:
            raise AnalysisError(
                "Rows of one cluster cannot be told while they stay in their files.", remedy="Leave cluster empty."
            )
        kept = self._kept_clauses(set(there))
        latest = "epoch" if "epoch" in there and self.by != "epoch" else ""
        names = tuple(dict.fromkeys(name for name in ("model", "version", "task", self.by) if name in there))
        found = survey(store, "predictions", names, latest=latest, engine=engine, progress=progress)
        apart = [self.by] if self.by else present(found, ("model", "version"))
        last = {}
        if latest and self.epoch is None and present(found, [latest]):
            whose = present(found, ("model", "version"))
            groups = found.groupby(whose, dropna=False)[latest].max().items() if whose else [((), found[latest].max())]
            last = {_key(key): float(value) for key, value in groups}
        forecast = [name for name in there if name.startswith(("prob.", "logit."))]
        if self.confidence or ("confidence" in there and self.target != "class"):
            forecast = [self.confidence or "confidence"]
        wanted = (*names, *forecast, "epoch", "weight", "label", "prediction", "correct", "source")
        parts = parts_of(store, "predictions", wanted=[name for name in wanted if name in there], only=All(tuple(kept)))
        counted_in = partial(_tallied, self, tuple(apart), last)
        together, lost, column, weighted = folded(counted_in, _both_tallied, parts, engine, progress)
        if not together:
            raise TooLittleData(needs="rows with a confidence that are known to be right or wrong", found="0")
        how = (
            f"stay in their files: counted in {counted(len(parts), 'part')}"
            if parts[0].whole is None
            else "are very many"
        )
        notes = [
            f"The rows {how}, close ones held together (within 1/{CELLS}, never across an edge of bins of equal width); each "
            "row is taken as a unit of its own, and repeated questions are not looked for."
        ]
        if lost:
            notes.append(f"{counted(lost, 'row')} left out: no confidence, or not known to be right or wrong.")
        for clause in kept:
            found = found[clause.mask(found)]
        many = [name for name in ("task", "model", "version") if name in found.columns and found[name].nunique() > 1]
        if many := [name for name in many if name not in apart]:
            notes.append("Pooled over " + ", ".join(counted(found[name].nunique(), name) for name in many) + ".")
        if weighted:
            notes.append("Rows count by their weight.")
        chosen = _in_order(list(together))
        if all(len(values) == 1 and math.isfinite(_number(values)) for values in chosen):
            most *= 5
        if len(chosen) > most:
            notes.append(f"{len(chosen)} values of {' and '.join(apart)}; the {most} with most rows are compared.")
            largest = {*sorted(chosen, key=lambda values: -int(together[values].rows.sum()))[:most]}
            chosen = [values for values in chosen if values in largest]
        nothing = store.first_rows("predictions")[:0]
        series = [
            Series(_named(values), _number(values), Sample.held_together(together[values]), nothing,
                   (*kept, *self._own_clauses(apart, values)) or (EVERYTHING,), column)
            for values in chosen
        ]  # fmt: skip
        series = _without_what_all_share(series, chosen)
        units = sum(one.sample.rows for one in series)
        return Chosen(tuple(series), " and ".join(apart) or "model", (), "row", units, False, tuple(notes))

    def _kept_clauses(self, there: set[Any]) -> list[Clause]:
        """Give the clauses that keep the rows of one model, version or task."""
        return [is_in(name, (getattr(self, name),)) for name in ("model", "version", "task")
                if getattr(self, name) and name in there]  # fmt: skip

    def _own_clauses(self, apart: Sequence[str], values: Sequence[Any]) -> tuple[Clause, ...]:
        """Give the clauses that tell one series from the others."""
        return tuple(
            is_in(name, (value,)) for name, value in zip(apart, values, strict=True) if name not in self._kept()
        )

    def _kept(self) -> set[str]:
        return {name for name in ("model", "version", "task") if getattr(self, name)}


_Tallied = tuple[dict[tuple[Any, ...], Tally], int, str, bool]


def _tallied(
    asked: ForecastQuestion, apart: tuple[str, ...], last: dict[tuple[Any, ...], float], part: Part
) -> _Tallied:
    """Give the sums of every series in a part, rows left out, the column forecasts are read from, and whether rows have
    weights.
    """
    frame = part.rows()
    if "epoch" in frame.columns and asked.by != "epoch":
        epochs = frame["epoch"].to_numpy(float)
        if asked.epoch is not None:
            frame = frame[np.isnan(epochs) | (epochs == asked.epoch)]
        elif last:
            whose = [name for name in ("model", "version") if name in frame.columns]
            own = np.full(len(frame), last.get((), math.nan))
            for values, rows in _parts(frame, whose):
                own[rows] = last.get(values, own[rows[0]])
            frame = frame[np.isnan(epochs) | (epochs == own)]
    if frame.empty:
        return {}, 0, "", False
    f, y, column = forecasts_of(frame, asked.target, asked.class_label, asked.confidence)
    known = np.isfinite(f) & np.isfinite(y)
    refuse_out_of_range(f[known])
    weight, weighted = np.ones(len(frame)), False
    if asked.weighted and present(frame, ["weight"]):
        weight, weighted = frame["weight"].fillna(0).to_numpy(float), True
    inside = known & (weight > 0)
    edges, closed = cell_edges(_bins_of(asked)[0]), _bins_of(asked)[1]
    kept = frame[inside]
    tallies = {}
    for values, rows in _parts(kept, [name for name in apart if name in kept.columns]) if len(kept) else ():
        at = np.flatnonzero(inside)[rows]
        tallies[values] = Tally.of(f[at], y[at], weight[at], edges, closed)
    return tallies, int(len(f) - np.count_nonzero(known)), column, weighted


def _both_tallied(one: _Tallied, other: _Tallied) -> _Tallied:
    """Give the sums of two parts."""
    together = dict(one[0])
    for values, tally in other[0].items():
        together[values] = together[values].merged(tally) if values in together else tally
    return together, one[1] + other[1], other[2] or one[2], one[3] or other[3]


def _key(key: Any) -> tuple[Any, ...]:
    """Give a key of groups as a tuple, with None for what is missing."""
    values = key if isinstance(key, tuple) else (key,)
    return tuple(None if value is pd.NA or value != value else value for value in values)


def numbered(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Give every row the number of its values in some columns."""
    if not columns:
        return np.arange(len(frame))
    codes = np.zeros(len(frame), dtype=np.int64)
    for name in columns:
        own, values = pd.factorize(frame[name], use_na_sentinel=False)
        codes = codes * len(values) + own
    return np.unique(codes, return_inverse=True)[1] if len(columns) > 1 else codes


def _parts(frame: pd.DataFrame, apart: Sequence[str]) -> list[tuple[tuple[Any, ...], np.ndarray]]:
    """Give the values that tell series apart, and the positions of their rows, in natural order."""
    if not apart:
        return [((), np.arange(len(frame)))]
    groups = frame.groupby(list(apart), dropna=False, observed=True).indices
    found = {_key(key): np.asarray(rows) for key, rows in groups.items()}
    return [(values, found[values]) for values in _in_order(list(found))]


def _in_order(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Give values that tell series apart in natural order."""
    if all(len(values) == 1 and isinstance(values[0], int | float | np.number) for values in found):
        return sorted(found, key=lambda values: float(values[0]))
    names = in_natural_order(" ".join(str(value) for value in values) for values in found)
    places = {name: place for place, name in enumerate(names)}
    return sorted(found, key=lambda values: places[" ".join(str(value) for value in values)])


def _named(values: Sequence[Any]) -> str:
    return " ".join(_written(value) for value in values if value is not None) or "all predictions"


def _without_what_all_share(series: list[Series], values: Sequence[tuple[Any, ...]]) -> list[Series]:
    """Give series of one model and several versions the names of the versions alone."""
    if len(series) < 2 or len(values[0]) != 2 or len({own[0] for own in values}) > 1:
        return series
    return [replace(one, name=str(own[1])) for one, own in zip(series, values, strict=True)]


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _number(values: Sequence[Any]) -> float:
    if len(values) == 1 and isinstance(values[0], int | float | np.number) and not isinstance(values[0], bool):
        return float(values[0])
    return math.nan


# What a forecast is.


def forecasts_of(
    frame: pd.DataFrame, target: Target, class_label: str = "", confidence: str = ""
) -> tuple[np.ndarray, np.ndarray, str]:
    """Give forecasts and outcomes, shape (n,) each, and the column the forecasts are (empty where computed).

    Parameters
    ----------
    target : {'top label', 'class', 'binary'}
        The answer given against whether it is right; or a class against whether it is the label.
    confidence : str
        Column to read; empty takes 'confidence', else the highest of the columns ``prob.*`` or ``logit.*``.

    Raises
    ------
    AnalysisError
        When nothing says how confident the model was, or which class is meant.
    """
    if target == "top label":
        column = confidence or ("confidence" if present(frame, ["confidence"]) else "")
        if column:
            return frame[column].to_numpy(float), outcomes(frame), column
        p, classes = probabilities(frame)
        if not classes:
            raise AnalysisError(
                "Nothing says how confident the model was.",
                remedy="Map a column onto 'confidence' (or name columns prob.*).",
            )
        if not present(frame, ["correct"]) and not present(frame, ["prediction"]) and present(frame, ["label"]):
            best = np.array(classes)[p.argmax(axis=1)]
            right = (best == frame["label"].astype(str).to_numpy()).astype(float)
            return p.max(axis=1), np.where(frame["label"].isna(), np.nan, right), ""
        return p.max(axis=1), outcomes(frame), ""
    if not present(frame, ["label"]):
        raise AnalysisError("A class needs the right answers.", remedy="Map a column onto 'label'.")
    p, classes = probabilities(frame)
    y = np.where(frame["label"].isna(), np.nan, (frame["label"].astype(str) == class_label).to_numpy(float))
    column = confidence or ("confidence" if present(frame, ["confidence"]) else "")
    if target == "binary" and column and (confidence or not classes):
        return frame[column].to_numpy(float), y, column
    if class_label not in classes:
        raise AnalysisError(
            f"There is no probability of the class {class_label!r}.",
            remedy=f"Classes: {', '.join(classes[:12])}."
            if classes
            else "Name the columns of probabilities prob.CLASS.",
        )
    column = f"prob.{class_label}"
    return p[:, classes.index(class_label)], y, column if column in frame.columns else ""


def outcomes(frame: pd.DataFrame) -> np.ndarray:
    """Give 1 for a right answer, 0 for a wrong one, NaN where that is not known.

    Raises
    ------
    AnalysisError
        When answers are scored in between.
    """
    if "correct" in frame.columns:
        scores = frame["correct"].dropna()
        if not scores.isin([0, 1]).all():
            raise AnalysisError(
                "Calibration needs answers that are right or wrong; 'correct' holds scores in between.",
                remedy="Derive a column that is 1 from some score on (--let correct='score >= 0.5').",
            )
    return rightness(frame)


def probabilities(frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Give the probability of each class, shape (n, classes), from columns ``prob.*`` or ``logit.*``, and the classes.

    Log-likelihoods of the choices of a question are logits: their softmax is the model's choice among them.

    Raises
    ------
    AnalysisError
        When probabilities of a row do not add up to 1.
    """
    named = {
        prefix: [str(name) for name in frame.columns if str(name).startswith(prefix)] for prefix in ("prob.", "logit.")
    }
    prefix = "prob." if named["prob."] else "logit."
    classes = [name.removeprefix(prefix) for name in named[prefix]]
    if not classes:
        return np.empty((len(frame), 0)), []
    p = frame[named[prefix]].to_numpy(float, copy=True)
    if prefix == "logit.":
        return _softmax(p), classes
    if len(classes) > 1 and (np.abs(p.sum(axis=1) - 1) > 1e-3).any():
        raise AnalysisError(
            "Probabilities of a row do not add up to 1.", remedy="If they are logits, name their columns logit.*."
        )
    if {name.removeprefix("logit.") for name in named["logit."]} == set(classes):
        # One source states probabilities, another logits.
        empty = np.isnan(p).any(axis=1)
        p[empty] = _softmax(frame.loc[empty, [f"logit.{name}" for name in classes]].to_numpy(float))
    return p, classes


def _softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def places_of_labels(frame: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Give the position of each row's label among the classes; -1 where it is none of them."""
    if not classes or "label" not in frame.columns:
        return np.full(len(frame), -1)
    place = {name: number for number, name in enumerate(classes)}
    labels = frame["label"]
    codes, values = pd.factorize(labels.astype(object), use_na_sentinel=True)
    known = np.array([place.get(str(value), -1) for value in values] + [-1])
    return known[codes]


def refuse_out_of_range(f: np.ndarray) -> None:
    """Check that forecasts lie in [0, 1].

    Raises
    ------
    AnalysisError
        Naming the first that does not.
    """
    outside = (f < 0) | (f > 1)
    if outside.any():
        raise AnalysisError(
            f"{int(outside.sum()):,} confidences lie outside [0, 1], first {f[outside][0]:g}.",
            remedy="Are they percentages or logits? Derive a probability first (--let confidence='stated / 100').",
        )


# Resampling.

Statistic = Callable[[Sample, np.ndarray], np.ndarray]
"""Takes a sample and weights of its rows, shape (k, n); gives an array whose first axis is k."""


def _together(statistic: Statistic, samples: Sequence[Sample], counts: np.ndarray) -> np.ndarray:
    found = [of_resamples(statistic, sample, counts, sample.unit) for sample in samples]
    return np.concatenate([one.reshape(len(counts), -1) for one in found], axis=1)


def _alone(statistic: Statistic, sample: Sample, counts: np.ndarray) -> np.ndarray:
    return of_resamples(statistic, sample, counts, slice(None))


def of_resamples(statistic: Statistic, sample: Sample, counts: np.ndarray, unit: np.ndarray | slice) -> np.ndarray:
    """Give a statistic of a sample whose units were drawn so often, counts of shape (k, units); `unit` is that of each row."""
    # Few resamples at a time stay in the cache, where a statistic of many passes takes a third of the time.
    size = max(_FEWEST_AT_ONCE, _CELLS_AT_ONCE // max(sample.n, 1))
    parts = [counts[start : start + size] for start in range(0, len(counts), size)]
    return np.concatenate([statistic(sample, part[:, unit] * sample.weight) for part in parts])


def value_of(statistic: Statistic, sample: Sample) -> np.ndarray:
    """Give a statistic of a sample as it is."""
    return np.asarray(statistic(sample, sample.total_weight[None, :])[0])


def total_of(weights: np.ndarray) -> np.ndarray:
    """Give the sum of weights of each resample, shape (k,); NaN where none of the units of a series was drawn."""
    total = weights.sum(axis=1)
    return np.where(total > 0, total, np.nan)


def drawn(
    chosen: Chosen,
    statistic: Statistic,
    asked: ForecastQuestion,
    *,
    draws: int = 0,
    engine: Engine = LOCAL,
    progress: Progress = quiet,
) -> list[np.ndarray]:
    """Give a statistic of resamples of every series, shape (draws, ...) each.

    Units are drawn once for all series, so that differences are paired. Above 200,000 rows in all, where no unit has
    several rows and the statistic needs forecast and outcome alone, rows of one outcome within 1 / 4096 of one another are
    drawn as one, and series apart.

    Parameters
    ----------
    draws : int
        How many; 0 takes as many as asked for.
    """
    samples = [one.sample for one in chosen.series]
    draws = draws or asked.draws
    if chosen.held_together:
        found = []
        for sample in samples:
            pooled = sample.pooled(*_bins_of(asked))
            assert pooled.held is not None
            sizes = pooled.held.sizes
            size = max(1, min(200, _CELLS_OF_A_BLOCK // pooled.n))
            function = partial(_alone, statistic, pooled)
            found.append(
                bootstrap(
                    function, sizes, draws=draws, seed=asked.seed, engine=engine, progress=progress, block_size=size
                )
            )
        return found
    shape = [value_of(statistic, sample).shape for sample in samples]
    size = max(1, min(200, _CELLS_OF_A_BLOCK // max(chosen.n, chosen.units)))
    function = partial(_together, statistic, samples)
    all_of_them = bootstrap(
        function, chosen.units, draws=draws, seed=asked.seed, engine=engine, progress=progress, block_size=size
    )
    ends = np.cumsum([int(np.prod(one, initial=1)) for one in shape])[:-1]
    return [part.reshape(draws, *one) for part, one in zip(np.split(all_of_them, ends, axis=1), shape, strict=True)]


def null_draws(
    sample: Sample,
    statistic: Callable[[Sample, np.ndarray, np.ndarray], np.ndarray],
    asked: ForecastQuestion,
    draws: int,
    rate: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Give a statistic of outcomes redrawn as if every forecast were true, shape (draws, ...).

    Above 200,000 rows, forecasts within 1 / 4096 of one another are drawn as one.

    Parameters
    ----------
    statistic : callable
        Takes a sample, outcomes of shape (k, n) and weights of shape (n,).
    rate : callable, optional
        Gives the chance of each forecast in place of the forecast itself.
    """
    generator = np.random.default_rng(np.random.SeedSequence(asked.seed, spawn_key=(1,)))
    together = sample.pooled(*_bins_of(asked)) if sample.n > _MANY_ROWS else sample
    f, weight, sizes = together.f, together.weight, np.ones(together.n, dtype=np.int64)
    if together.held is not None:
        # Outcomes are drawn anew: both of a cell are one.
        _, first, place = np.unique(together.held.cell, return_index=True, return_inverse=True)
        f, total = f[first], np.bincount(place, together.total_weight)
        sizes = np.bincount(place, together.held.sizes).astype(np.int64)
        weight = total / sizes
        held = Held(sizes, np.arange(len(f)), np.zeros((len(f), 4)), 0.0, 0)
        together = replace(Sample.of(f, np.zeros(len(f))), weight=weight, held=held)
    size = max(1, min(draws, _CELLS_OF_A_BLOCK // together.n))
    chance = f if rate is None else np.clip(rate(f), 0, 1)
    found = []
    for start in range(0, draws, size):
        k = min(size, draws - start)
        if sizes.max() > 1:
            y = generator.binomial(sizes, np.minimum(chance, 1.0), size=(k, len(f))) / sizes
        else:
            y = (generator.random((k, len(f))) < chance).astype(float)
        found.append(statistic(together, y, weight * sizes))
    return np.concatenate(found)


def _bins_of(asked: ForecastQuestion) -> tuple[int, Closed]:
    """Give the bins a question asks for, where it asks for any."""
    return int(getattr(asked, "bins", 0)), getattr(asked, "closed", "right")


# Names.


def named(chosen: Chosen, number: int, name: str) -> str:
    """Give the name of an estimate of a series: plain for the only one, with the series before it where there are
    several.
    """
    return name if len(chosen.series) == 1 else f"{chosen.series[number].name}/{name}"


def estimate_of(value: float, draws: np.ndarray, level: float, unit: str = "", centred: bool = False) -> Estimate:
    """Give an estimate with the percentile interval of its draws; `centred` where a resample raises it."""
    interval: Interval = centred_interval(value, draws, level) if centred else percentile_interval(draws, level)
    why = "" if math.isfinite(float(interval.low)) else "no resample has a value"
    return Estimate(float(value), float(interval.low), float(interval.high), level, unit, why)


def unit_note(chosen: Chosen, asked: ForecastQuestion, draws: int = 0, *, together: bool = True) -> str:
    """Say what was resampled and how often; `together` where series share their draws."""
    paired = ""
    if len(chosen.series) > 1:
        paired = (
            "; series are drawn together, so that their differences are paired"
            if together
            else "; series are drawn apart"
        )
    if chosen.held_together:
        paired = "; rows within 1/4096 of one another are drawn as one" + (
            "; series are drawn apart" if len(chosen.series) > 1 else ""
        )
    sizes = ", ".join(f"{one.sample.rows:,}" for one in chosen.series[:6]) + (" ..." if len(chosen.series) > 6 else "")
    return (
        f"Unit: the {chosen.unit}; n = {sizes} rows. Intervals: {100 * asked.level:g} % bootstrap, "
        f"{draws or asked.draws} draws, seed {asked.seed}, percentiles (errors: round the value){paired}."
    )
