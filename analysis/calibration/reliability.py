"""``calibration.reliability``: when the model says 80 %, is it right 80 % of the time?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Bars, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, Between, Clause, is_in
from ...models.store import RunStore
from ..answers import at_epoch, clause_of_items, in_natural_order, present, refuse_repeats
from ..forecast_rows import forecasts_of
from ..forecasts import Binned, IsotonicFit, SmoothFit, bins_of, fit_isotonic, fit_smooth, mass_edges, width_edges
from ..resampling import DRAWS, bootstrap, centred_interval, p_of_draws, percentile_interval, wilson

_CELLS = 1024
_FEW = 10
_MOST_GROUPS = 6


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Forecasts of one group against what happened.

    Attributes
    ----------
    name : str
        The group, or an empty text for all rows.
    edges : ndarray, shape (bins + 1,)
        Edges of the bins.
    bins : DataFrame
        One row a bin that holds anything: low, high, n, right, confidence, accuracy, accuracy_low, accuracy_high
        (Wilson), consistent_low, consistent_high (where a calibrated model would lie).
    origins : tuple of Clause
        The rows of each bin.
    isotonic, smooth : IsotonicFit or None, SmoothFit or None
        The other two estimates of the same curve.
    estimates : dict of str to Estimate
        Its numbers.
    """

    name: str
    edges: np.ndarray
    bins: pd.DataFrame
    origins: tuple[Clause, ...]
    isotonic: IsotonicFit | None
    smooth: SmoothFit | None
    estimates: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Reliability(Result):
    """Confidence against accuracy.

    Attributes
    ----------
    curves : tuple of ReliabilityCurve
        All rows; or one a group, the largest first.
    histogram : DataFrame
        Rows by width bin: low, high, right, wrong.
    whose : str
        Model and version, as shown.
    target : {'top label', 'class', 'binary'}
        What is forecast.
    unit : str
        What was resampled.
    """

    curves: tuple[ReliabilityCurve, ...]
    histogram: pd.DataFrame
    whose: str
    target: str
    unit: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        f, y = 100 * e["mean_confidence"].value, 100 * e["accuracy"].value
        if self.target == "top label":
            means = f"mean confidence {f:.1f} %, right {y:.1f} % ({'over' if f > y else 'under'}-confident)"
        else:
            means = f"mean probability of the class {f:.1f} %, its share {y:.1f} %"
        ece = with_interval(e["ece"].value, e["ece"].low, e["ece"].high)
        floor = significant(e["ece_floor"].value, 2)
        return f"{self.whose}: {means}; ECE {ece} against {floor} for a calibrated model, n = {e['n'].value:,.0f}."


@dataclass(frozen=True, kw_only=True)
class ReliabilityQuestion(Question):
    """When the model says 80 %, is it right 80 % of the time?"""

    needs: ClassVar = (Need("predictions"),)

    target: Literal["top label", "class", "binary"] = option(
        "top label",
        help="the answer given; a class against the rest; or binary: confidence is that of the positive label",
    )
    class_label: str = option(
        "", help="the class, or the positive label; the last one if empty", choices="predictions.label"
    )
    model: str = option("", help="model; the one with most rows if empty", choices="predictions.model")
    version: str = option("", help="version; the last one if empty", choices="predictions.version")
    task: str = option("", help="only this task", choices="predictions.task")
    epoch: float | None = option(None, help="only this epoch; the last one if none", unit="epochs", advanced=True)
    group: str = option("", help="column to split by", choices="columns of predictions")
    bins: int = option(15, help="bins", low=1, high=200)
    binning: Literal["width", "mass"] = option("width", help="bins of equal width, or of about equal counts")
    closed: Literal["right", "left"] = option(
        "right", help="edge that belongs to a bin: (a, b] is right, [a, b) left", advanced=True
    )
    isotonic: bool = option(True, help="draw the isotonic (CORP) curve")
    kernel: bool = option(False, help="draw the kernel curve at the smECE bandwidth")
    cluster: str = option(
        "",
        help="column of rows that are resampled together; the item where it repeats",
        choices="columns of predictions",
    )
    level: float = option(0.95, help="coverage of the intervals and of the consistency band", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in model, version and class."""
        if not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")
        chosen = {"model": self.model, "version": self.version}
        for column, value in chosen.items():
            if not value and self.group != column and present(frame, [column]):
                rows = at_epoch(frame, self.epoch)[column].value_counts()
                chosen[column] = str(rows.index[0]) if column == "model" else in_natural_order(rows.index)[-1]
            if chosen[column] and column in frame.columns:
                frame = frame[frame[column] == chosen[column]]
        label = self.class_label
        if self.target != "top label" and not label and present(frame, ["label"]):
            label = in_natural_order(frame["label"].dropna().unique())[-1]
        return replace(self, model=chosen["model"], version=chosen["version"], class_label=label)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Reliability:
        """Bin, fit and resample."""
        asked = self.resolved(store)
        frame, column, kept, notes = _forecasts(store, asked)
        repeats = "item" in frame.columns and bool(frame["item"].duplicated().any())
        cluster = asked.cluster or ("item" if repeats else "")
        unit = cluster or "row (one item)"
        parts = {"": frame}
        if asked.group:
            sizes = frame[asked.group].value_counts()
            parts |= {str(name): frame[frame[asked.group] == name] for name in sizes.index[:_MOST_GROUPS]}
            if len(sizes) > _MOST_GROUPS:
                notes.append(f"{len(sizes)} groups; the {_MOST_GROUPS} largest are shown.")
        curves = []
        for number, (name, part) in enumerate(parts.items()):
            progress(number, len(parts), name or "all rows")
            clauses = (*kept, is_in(asked.group, (name,))) if name else kept
            curves.append(_curve(name, part, column, clauses, cluster, asked, engine, progress))
        whole = curves[0]
        estimates = dict(whole.estimates)
        for curve in curves[1:]:
            estimates |= {f"{curve.name}/{name}": estimate for name, estimate in curve.estimates.items()}
        shown = tuple(curves[1:] or curves)
        level = f"{100 * asked.level:g} %"
        notes = [
            f"Unit: the {unit}; n = {len(frame):,} rows. {level} percentile bootstrap, of ECE and MCE round the value, "
            f"{asked.draws} draws, seed {asked.seed}; forecasts of a bin within 1/{_CELLS} of one another are drawn as one.",
            f"Bins of equal {asked.binning}, {'(a, b]' if asked.closed == 'right' else '[a, b)'}; rates: Wilson intervals.",
            "The binned error is biased upwards: ece_floor is the mean error of a calibrated model with these confidences.",
            f"Consistency band: outcomes redrawn from the confidences, {level}, rows taken as independent.",
            *notes,
        ]
        return Reliability(
            curves=shown,
            histogram=_histogram(frame, asked),
            whose=" ".join(filter(None, (asked.model, asked.version))) or "All predictions",
            target=asked.target,
            unit=unit,
            estimates=estimates,
            tables={"bins": pd.concat([curve.bins.assign(group=curve.name) for curve in shown], ignore_index=True)},
            notes=tuple(notes),
        )


def _forecasts(store: RunStore, asked: ReliabilityQuestion) -> tuple[pd.DataFrame, str, tuple[Clause, ...], list[str]]:
    """Give rows with a forecast `f` and an outcome `y`, the column `f` is, the clauses that keep the rows, and what was
    left out.
    """
    frame = store.rows("predictions")
    kept: list[Clause] = []
    for name in ("model", "version", "task"):
        value = getattr(asked, name)
        if value and name in frame.columns:
            kept.append(is_in(name, (value,)))
    if kept:
        frame = frame[All(tuple(kept)).mask(frame)]
    for name in (asked.group, asked.cluster):
        if name and name not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {name!r}.")
    frame = at_epoch(frame, asked.epoch)
    if frame.empty:
        raise TooLittleData(needs="predictions", found="none that are kept")
    key = present(frame, ("model", "version", "task", "item", "sample"))
    refuse_repeats(frame, key, asked.model or "the predictions")
    f, y, column = forecasts_of(frame, asked.target, asked.class_label)
    known = np.isfinite(f) & np.isfinite(y)
    notes = []
    if lost := int(len(f) - np.count_nonzero(known)):
        notes.append(f"{counted(lost, 'row')} left out: no confidence, or not known to be right or wrong.")
    if not known.any():
        raise TooLittleData(needs="rows with a confidence that are known to be right or wrong", found="0")
    many = [name for name in ("task", "model", "version") if name in key and frame[name].nunique() > 1]
    if many := [name for name in many if name != asked.group]:
        notes.append("Pooled over " + ", ".join(counted(frame[name].nunique(), name) for name in many) + ".")
    return frame.assign(f=f, y=y)[known].reset_index(drop=True), column, tuple(kept), notes


def _curve(
    name: str, frame: pd.DataFrame, column: str, kept: tuple[Clause, ...], cluster: str, asked: ReliabilityQuestion,
    engine: Engine, progress: Progress,
) -> ReliabilityCurve:  # fmt: skip
    f, y = frame["f"].to_numpy(float), frame["y"].to_numpy(float)
    both = [width_edges(asked.bins), mass_edges(f, asked.bins)]
    places = [bins_of(f, edges, asked.closed) for edges in both]
    chosen = 0 if asked.binning == "width" else 1
    counts = [len(edges) - 1 for edges in both]
    binned = [Binned.of(f, y, place, count) for place, count in zip(places, counts, strict=True)]
    units, sizes = _units(frame, f, y, places, counts, cluster)
    statistic = partial(_statistics, units, counts[0], chosen)
    drawn = bootstrap(statistic, sizes, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress)
    values = _statistics(units, counts[0], chosen, sizes[None, :])[0]
    null = _calibrated(f, places[chosen], counts[chosen], asked)
    isotonic = fit_isotonic(f, y)
    estimates = {"n": Estimate(len(f), unit="rows", why_no_interval="a count")}
    for number, label in enumerate(STATISTICS):
        own, value = drawn[:, number], float(values[number])
        raised = label in ("ece", "ece_mass", "mce")
        low, high = centred_interval(value, own, asked.level) if raised else percentile_interval(own, asked.level)
        estimates[label] = Estimate(float(values[number]), float(low), float(high), asked.level)
    ece = float(binned[chosen].ece())
    floor = null.ece()
    low, high = percentile_interval(floor, asked.level)
    estimates["ece_floor"] = Estimate(float(floor.mean()), float(low), float(high), asked.level)
    p = p_of_draws(int(np.count_nonzero(floor >= ece)), len(floor))
    estimates["p_calibrated"] = Estimate(p, why_no_interval="a p-value")
    why = "a part of the Brier score in-sample, whose interval is given"
    for label in ("miscalibration", "discrimination", "uncertainty"):
        estimates[label] = Estimate(getattr(isotonic, label), why_no_interval=why)
    smooth = fit_smooth(f, y) if asked.kernel else None
    if smooth is not None:
        estimates["smece"] = Estimate(smooth.error, why_no_interval="the bandwidth of the kernel curve, solved once")
    table, filled = _bin_table(binned[chosen], null, both[chosen], asked)
    origins = tuple(
        _origin(column, both[chosen], int(b), kept, frame, places[chosen], asked) for b in np.flatnonzero(filled)
    )
    shown = isotonic if asked.isotonic else None
    return ReliabilityCurve(name, both[chosen], table, origins, shown, smooth, estimates)


STATISTICS = ("ece", "ece_mass", "mce", "brier", "accuracy", "mean_confidence")


def _units(
    frame: pd.DataFrame, f: np.ndarray, y: np.ndarray, places: list[np.ndarray], counts: list[int], cluster: str
) -> tuple[np.ndarray, np.ndarray]:
    """Give what a unit adds to the sums of every bin (n, f, y by width bin, then by mass bin, then Brier), and how many
    such there are.

    Rows are held together where they share both bins, the outcome and the forecast to within 1 / 1024: what a draw then
    loses is the spread within a cell, less than a thousandth of the error of the mean.
    """
    if cluster:
        codes, names = pd.factorize(frame[cluster], use_na_sentinel=False)
        held, sizes = codes, np.ones(len(names), dtype=np.int64)
    else:
        cells = (places[0] * counts[1] + places[1]) * _CELLS + np.minimum((f * _CELLS).astype(np.int64), _CELLS - 1)
        _, held, sizes = np.unique(2 * cells + (y > 0), return_inverse=True, return_counts=True)
    units = np.zeros((len(sizes), 3 * sum(counts) + 1))
    start = 0
    for place, count in zip(places, counts, strict=True):
        for weights in (np.ones(len(f)), f, y):
            np.add.at(units, (held, start + place), weights)
            start += count
    units[:, -1] = np.bincount(held, (f - y) ** 2, len(sizes))
    return units if cluster else units / sizes[:, None], sizes


def _statistics(units: np.ndarray, width_bins: int, chosen: int, counts: np.ndarray) -> np.ndarray:
    """Give `STATISTICS` of draws, shape (k, 6), from how often each unit was drawn, shape (k, units)."""
    sums = counts @ units
    width = Binned(*np.split(sums[:, : 3 * width_bins], 3, axis=1))
    mass = Binned(*np.split(sums[:, 3 * width_bins : -1], 3, axis=1))
    n = width.n.sum(axis=1)
    parts = (width.ece(), mass.ece(), (width, mass)[chosen].mce(), sums[:, -1] / n)
    return np.stack([*parts, width.y.sum(axis=1) / n, width.f.sum(axis=1) / n], axis=1)


def _calibrated(f: np.ndarray, place: np.ndarray, count: int, asked: ReliabilityQuestion) -> Binned:
    """Give bins of outcomes redrawn as if every forecast were true, shape (draws, bins)."""
    cells = place * _CELLS + np.minimum((f * _CELLS).astype(np.int64), _CELLS - 1)
    distinct, held, sizes = np.unique(cells, return_inverse=True, return_counts=True)
    means = np.clip(np.bincount(held, f) / sizes, 0, 1)
    generator = np.random.default_rng(asked.seed)
    hits = generator.binomial(sizes, means, size=(asked.draws, len(sizes)))
    into = np.zeros((len(sizes), count))
    into[np.arange(len(sizes)), distinct // _CELLS] = 1
    n, sums = sizes @ into, (sizes * means) @ into
    return Binned(np.broadcast_to(n, (asked.draws, count)), np.broadcast_to(sums, (asked.draws, count)), hits @ into)


def _bin_table(
    binned: Binned, null: Binned, edges: np.ndarray, asked: ReliabilityQuestion
) -> tuple[pd.DataFrame, np.ndarray]:
    filled = binned.n > 0
    n, right = binned.n[filled], binned.y[filled]
    low, high = wilson(right, n, asked.level)
    rates = null.y[:, filled] / n
    band = percentile_interval(rates, asked.level)
    columns = {
        "low": edges[:-1][filled], "high": edges[1:][filled], "n": n.astype(int), "right": right.astype(int),
        "confidence": binned.f[filled] / n, "accuracy": right / n, "accuracy_low": low, "accuracy_high": high,
        "consistent_low": band.low, "consistent_high": band.high,
    }  # fmt: skip
    return pd.DataFrame(columns), filled


def _origin(
    column: str, edges: np.ndarray, b: int, kept: tuple[Clause, ...], frame: pd.DataFrame, place: np.ndarray,
    asked: ReliabilityQuestion,
) -> Clause:  # fmt: skip
    """Give the clause of the rows of a bin; an edge that belongs to the neighbour is moved by one last bit."""
    if not column:
        inside: Clause = clause_of_items(frame[place == b], frame)
    else:
        low, high = float(edges[b]), float(edges[b + 1])
        if asked.closed == "right" and b > 0:
            low = math.nextafter(low, math.inf)
        if asked.closed == "left" and b < len(edges) - 2:
            high = math.nextafter(high, -math.inf)
        inside = Between(column, low, high)
    return All((*kept, inside)) if kept else inside


def _histogram(frame: pd.DataFrame, asked: ReliabilityQuestion) -> pd.DataFrame:
    edges = width_edges(max(asked.bins, 20))
    place = bins_of(frame["f"].to_numpy(float), edges, asked.closed)
    right = np.bincount(place, frame["y"].to_numpy(float), len(edges) - 1)
    n = np.bincount(place, minlength=len(edges) - 1)
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "right": right.astype(int), "wrong": (n - right).astype(int)}
    )


def figure(question: ReliabilityQuestion, result: Reliability) -> FigureSpec:
    """Draw accuracy against confidence round the diagonal, and the histogram of confidence split right and wrong
    below.
    """
    several = len(result.curves) > 1 or bool(result.curves[0].name)
    marks: list[Mark] = [Rule(key="diagonal", axis="diagonal", label="calibrated")]
    level = f"{100 * question.level:g} %"
    for number, curve in enumerate(result.curves):
        hue, table = f"c{number}", curve.bins
        name = f"{curve.name}: " if several else ""
        x, y = table["confidence"].to_numpy(), table["accuracy"].to_numpy()
        if not several:
            low, high = table["consistent_low"].to_numpy(), table["consistent_high"].to_numpy()
            label = f"{level} consistency band"
            marks.append(Band(key="consistency", x=x, low=low, high=high, hue="muted", label=label))
        if curve.isotonic is not None:
            fit = curve.isotonic
            marks.append(Line(key=f"{curve.name}/isotonic", x=fit.f, y=fit.rate, hue=hue, label=f"{name}isotonic"))
        if curve.smooth is not None:
            marks.append(
                Line(
                    key=f"{curve.name}/kernel", x=curve.smooth.at, y=curve.smooth.rate, hue=hue, dash="dashed",
                    label=f"{name}kernel, bandwidth {significant(curve.smooth.error, 2)}",
                )
            )  # fmt: skip
        n = table["n"].to_numpy()
        for hollow in (False, True):
            at = np.flatnonzero((n < _FEW) == hollow)
            if not len(at):
                continue
            said = f"fewer than {_FEW} rows" if hollow else f"bins, {level} Wilson"
            marks.append(
                Points(
                    key=f"{curve.name}/{'few' if hollow else 'bins'}", x=x[at], y=y[at], hue=hue, label=name + said,
                    size=4 + 14 * np.sqrt(n[at] / n.max()), low=table["accuracy_low"].to_numpy()[at],
                    high=table["accuracy_high"].to_numpy()[at], hollow=hollow, notes=_tooltips(table.iloc[at]),
                    origin=Clauses("predictions", tuple(curve.origins[i] for i in at)),
                )
            )  # fmt: skip
    what = "confidence" if question.target == "top label" else "probability of the class"
    x_axis = Axis(label=what, low=0.0, high=1.0, column="confidence")
    diagram = Panel(
        key="reliability",
        x=x_axis,
        y=Axis(label="share right" if question.target == "top label" else "share of the class", low=0.0, high=1.0),
        marks=tuple(marks),
        height=3.0,
        square=True,
    )
    bars = result.histogram
    width = (bars["high"] - bars["low"]).to_numpy()
    at = ((bars["low"] + bars["high"]) / 2).to_numpy()
    right, wrong = bars["right"].to_numpy(float), bars["wrong"].to_numpy(float)
    hit, miss = ("right", "wrong") if question.target == "top label" else ("of the class", "not of the class")
    counts = (
        Bars(key="right", at=at, height=right, width=0.95 * width, hue="good", label=hit),
        Bars(key="wrong", at=at, height=right + wrong, base=right, width=0.95 * width, hue="bad", label=miss),
    )
    histogram = Panel(
        key="histogram", x=x_axis, y=Axis(label="rows", low=0.0), marks=counts, shares_x_with="reliability"
    )
    e = result.estimates
    subtitle = (
        f"{question.target}, {question.bins} bins of equal {question.binning}, n = {e['n'].value:,.0f}, "
        f"ECE {with_interval(e['ece'].value, e['ece'].low, e['ece'].high)}"
    )
    caption = (
        f"{result.summary()} Points: {question.bins} bins of equal {question.binning}, area by count, {level} Wilson "
        f"intervals, hollow below {_FEW} rows. Band: where a calibrated model lies ({level}). ECE: bootstrap over the "
        f"{result.unit}."
    )
    return FigureSpec(
        title=f"Reliability of {result.whose}", subtitle=subtitle, panels=(diagram, histogram), caption=caption
    )


def _tooltips(table: pd.DataFrame) -> tuple[str, ...]:
    columns = (table[name].tolist() for name in ("low", "high", "right", "n"))
    return tuple(
        f"confidence {low:.3g} to {high:.3g}: {right:,} of {n:,} right ({100 * right / n:.1f} %)"
        for low, high, right, n in zip(*columns, strict=True)
    )


ANALYSIS = Analysis(
    id="calibration.reliability",
    title="Reliability diagram",
    asks="When the model says 80 %, is it right 80 % of the time?",
    question=ReliabilityQuestion,
    figure=figure,
    sources=(
        "Guo et al. (2017), On Calibration of Modern Neural Networks; Naeini et al. (2015): ECE, MCE",
        "Bröcker and Smith (2007), Increasing the Reliability of Reliability Diagrams: consistency band",
        "Dimitriadis, Gneiting and Jordan (2021), Stable reliability diagrams: isotonic curve, MCB, DSC, UNC",
        "Blasiok and Nakkiran (2024), Smooth ECE: kernel curve",
    ),
    definition="""\
ECE = $\\sum_b \\frac{n_b}{n}|acc_b - conf_b|$ over bins of equal width (`ece`) and of about equal counts
(`ece_mass`); MCE the greatest gap in the binning drawn. Edges are (a, b] unless 'left' is asked for: the choice alone
can move ECE by a third on few rows. Brier of the top label: mean (confidence − right)², = miscalibration −
discrimination + uncertainty by the isotonic fit.

Unit: the row, or the item where it has several rows. Plug-in ECE is biased upwards, so `ece_floor`, the mean ECE of a
calibrated model with the same confidences, stands beside it, and `p_calibrated` is the share of such models with an
ECE as large. Top-label and class-wise diagrams cannot be compared. With confidence piled up at 1, bins of equal width
hide everything: look at the histogram.""",
)
