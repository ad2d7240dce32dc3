"""``dynamics.data-map``: which training examples are easy, ambiguous, hard or mislabelled?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError
from ...models.figure import Axis, Band, Cells, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule, Symbol
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.selection import Clause
from ...models.store import RunStore
from ..resampling import DRAWS, t_interval, wilson
from ..training_dynamics import (
    Dynamics,
    default_truth,
    dynamics_of,
    found_by,
    spearman_of_draws,
    traces,
    truth_of,
)

REGIONS = ("easy", "ambiguous", "hard", "between")
_HUES = {"easy": "c0", "ambiguous": "c3", "hard": "c1", "between": "muted"}
_CORRECTNESS: tuple[tuple[str, str, Symbol], ...] = (
    ("0–20 %", "bad", "triangle_down"), ("20–40 %", "c1", "diamond"), ("40–60 %", "c3", "square"),
    ("60–80 %", "c2", "triangle"), ("80–100 %", "c0", "circle"),
)  # fmt: skip
_MOST_POINTS = 50_000
_GRID = 80


@dataclass(frozen=True, kw_only=True)
class DataMap:
    """Where items lie; one row an item in `frame`: confidence, variability, correctness, region.

    Attributes
    ----------
    frame : DataFrame
        One row an item.
    ambiguous_from, easy_from, hard_to : float
        The cuts.
    """

    frame: pd.DataFrame
    ambiguous_from: float
    easy_from: float
    hard_to: float


@dataclass(frozen=True, kw_only=True)
class DataMapResult(Result):
    """The map of the training items.

    Attributes
    ----------
    dynamics : Dynamics
        Probability of the label by run, item and epoch.
    map : DataMap
        Means over runs.
    changes : ndarray, shape (4, 4), or None
        Items by region in the first run (rows) and the last, where there are several runs.
    """

    dynamics: Dynamics
    map: DataMap
    changes: np.ndarray | None

    def summary(self) -> str:
        """Give the answer in one sentence."""
        sizes = self.map.frame["region"].value_counts()
        said = ", ".join(f"{int(sizes.get(region, 0)):,} {region}" for region in REGIONS if sizes.get(region, 0))
        found = self.estimates.get("auc_of_low_confidence")
        known = ""
        if found is not None and found.has_interval:
            area = with_interval(found.value, found.low, found.high)
            known = f"; low confidence finds the labels known to be wrong with an area under the ROC of {area}"
        epochs = counted(len(self.dynamics.epochs), "epoch")
        return f"Of {counted(len(self.map.frame), 'training item')} over {epochs}: {said}{known}."


@dataclass(frozen=True, kw_only=True)
class DataMapQuestion(Question):
    """Which training examples are easy, ambiguous, hard or mislabelled?"""

    needs: ClassVar = (Need("predictions", ("epoch",)),)

    task: str = option("", help="only this task", choices="predictions.task")
    p_gold: str = option(
        "", help="column with the probability of the label; from prob.* or logit.* if empty",
        choices="numbers of predictions",
    )  # fmt: skip
    until: float | None = option(None, help="last epoch that counts; all if none", unit="epochs", low=0)
    ambiguous_from: float | None = option(
        None, help="variability from which an item is ambiguous; the upper tercile if none", low=0.0, high=0.5
    )
    easy_from: float | None = option(
        None, help="confidence from which a steady item is easy; the upper tercile if none", low=0.0, high=1.0
    )
    hard_to: float | None = option(
        None, help="confidence up to which a steady item is hard; the lower tercile if none", low=0.0, high=1.0
    )
    truth: str = option(
        "", help="column that is 1 where the label is known to be wrong", choices="numbers of predictions"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Take the column that says which labels are wrong, where there is one of that name."""
        return self if self.truth else replace(self, truth=default_truth(store))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> DataMapResult:
        """Average the probability of the label over epochs and cut the map."""
        asked = self.resolved(store)
        keep = (asked.truth,) if asked.truth else ()
        gold = dynamics_of(store, "gold", task=asked.task, until=asked.until, column=asked.p_gold, keep=keep)
        progress(1, 3)
        correct, steady = _correctness(store, asked, gold)
        p = gold.values
        mu, s = p.mean(axis=2), p.std(axis=2)
        found = _mapped(mu.mean(axis=0), s.mean(axis=0), correct.mean(axis=0), asked)
        table = gold.items.assign(**{name: found.frame[name] for name in found.frame.columns})
        progress(2, 3)
        estimates = _estimates(found.frame, asked)
        tables = {"items": table.sort_values("confidence", kind="stable", ignore_index=True)}
        notes = [
            f"Confidence is the mean over {counted(len(gold.epochs), 'epoch')} of the probability of the label, variability "
            "its standard deviation (ddof 0), correctness the share of epochs at which it was predicted.",
            f"Unit: the item, n = {len(table):,}, in {counted(len(gold.names), 'run')}; means have {100 * asked.level:g} % t "
            f"intervals, the others a percentile bootstrap, {asked.draws} draws, seed {asked.seed}.",
            f"Ambiguous: variability ≥ {found.ambiguous_from:.4g}. Of the others: easy where confidence ≥ "
            f"{found.easy_from:.4g}, hard where it is ≤ {found.hard_to:.4g}.",
            *steady, *gold.notes,
        ]  # fmt: skip
        if len(gold.epochs) < 3:
            notes.insert(3, "Attention: fewer than 3 epochs; variability means little.")
        if asked.truth:
            wrong = truth_of(gold.items, asked.truth)
            estimates["auc_of_low_confidence"] = found_by(
                -found.frame["confidence"].to_numpy(), wrong, draws=asked.draws, seed=asked.seed, level=asked.level
            )
            tables["regions"] = _regions(found.frame, wrong)
        else:
            tables["regions"] = _regions(found.frame, None)
        changes = None
        if len(gold.names) > 1:
            each = [_mapped(mu[i], s[i], correct[i], asked).frame["region"].to_numpy() for i in (0, -1)]
            changes = np.array([[np.sum((each[0] == a) & (each[1] == b)) for b in REGIONS] for a in REGIONS], float)
            for name, values in (("confidence", mu), ("variability", s)):
                estimates[f"spearman_{name}"] = spearman_of_draws(
                    values[0], values[-1], draws=asked.draws, seed=asked.seed, level=asked.level
                )
            stay = float(np.trace(changes) / changes.sum())
            estimates["same_region"] = Estimate(stay, *_share(stay, len(table), asked.level), asked.level, "of items")
            notes.append(f"Runs compared: {gold.names[0]} and {gold.names[-1]}.")
        progress(3, 3)
        return DataMapResult(
            dynamics=gold, map=found, changes=changes, estimates=estimates, tables=tables, notes=tuple(notes)
        )


def _share(share: float, n: int, level: float) -> tuple[float, float]:

    low, high = wilson(share * n, n, level)
    return float(low), float(high)


def _correctness(store: RunStore, asked: DataMapQuestion, gold: Dynamics) -> tuple[np.ndarray, list[str]]:
    """Give the share of epochs at which each item was right; p > 1/2 stands for it where no prediction is known."""
    try:
        right = dynamics_of(store, "right", task=asked.task, until=asked.until)
    except AnalysisError:
        return (gold.values > 0.5).mean(axis=2), ["Right where the label has more than half of the probability."]
    if right.values.shape != gold.values.shape or not right.items["item"].equals(gold.items["item"]):
        return (gold.values > 0.5).mean(axis=2), ["Right where the label has more than half of the probability."]
    return right.values.mean(axis=2), []


def _mapped(mu: np.ndarray, s: np.ndarray, correct: np.ndarray, asked: DataMapQuestion) -> DataMap:
    ambiguous = float(np.quantile(s, 2 / 3)) if asked.ambiguous_from is None else asked.ambiguous_from
    easy = float(np.quantile(mu, 2 / 3)) if asked.easy_from is None else asked.easy_from
    hard = float(np.quantile(mu, 1 / 3)) if asked.hard_to is None else asked.hard_to
    region = np.select([(s >= ambiguous) & (s > 0), mu >= easy, mu <= hard], ["ambiguous", "easy", "hard"], "between")
    frame = pd.DataFrame(
        {"confidence": mu, "variability": s, "correctness": correct, "closeness": mu * (1 - mu), "region": region}
    )
    return DataMap(frame=frame, ambiguous_from=ambiguous, easy_from=easy, hard_to=hard)


def _estimates(frame: pd.DataFrame, asked: DataMapQuestion) -> dict[str, Estimate]:
    estimates = {"n": Estimate(float(len(frame)), unit="items", why_no_interval="a count")}
    for name in ("confidence", "variability", "correctness"):
        values = frame[name].to_numpy(float)
        low, high = t_interval(values, asked.level)
        why = "" if len(values) > 1 else "one item"
        estimates[f"mean_{name}"] = Estimate(float(values.mean()), float(low), float(high), asked.level, "", why)
    for region in REGIONS:
        share = float((frame["region"] == region).mean())
        given = asked.ambiguous_from is not None or asked.easy_from is not None or asked.hard_to is not None
        low, high = _share(share, len(frame), asked.level)
        estimates[region] = (
            Estimate(share, low, high, asked.level, "of items")
            if given
            else Estimate(share, unit="of items", why_no_interval="the cuts are quantiles of the same items")
        )
    return estimates


def _regions(frame: pd.DataFrame, wrong: np.ndarray | None) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for region in REGIONS:
        own = (frame["region"] == region).to_numpy()
        row: dict[str, Any] = {"region": region, "items": int(own.sum())}
        if wrong is not None:
            row |= {
                "known_wrong": int(wrong[own].sum()),
                "share_wrong": float(wrong[own].mean()) if own.any() else np.nan,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def figure(question: DataMapQuestion, result: DataMapResult) -> FigureSpec:
    """Draw the map with its cuts, and how the regions were learned."""
    frame, found = result.map.frame, result.map
    x, y = frame["variability"].to_numpy(), frame["confidence"].to_numpy()
    bins = np.clip((frame["correctness"].to_numpy() * 5).astype(int), 0, 4)
    marks: list[Mark] = []
    for number, (label, hue, symbol) in enumerate(_CORRECTNESS):
        own = np.flatnonzero(bins == number)
        if len(own):
            marks.append(_points(result, own, x, y, f"right at {label}", hue, symbol))
    marks += [
        Rule(key="ambiguous", axis="x", at=found.ambiguous_from, option="ambiguous_from"),
        Rule(key="easy", axis="y", at=found.easy_from, option="easy_from", dash="dotted"),
        Rule(key="hard", axis="y", at=found.hard_to, option="hard_to", dash="dotted"),
    ]
    if question.truth and len(frame) <= _MOST_POINTS:
        wrong = np.flatnonzero(truth_of(result.dynamics.items, question.truth))
        if len(wrong):
            marks.append(
                Points(key="known wrong", x=x[wrong], y=y[wrong], hue="ink", hollow=True, size=9.0,
                       label=f"{question.truth} ({len(wrong)})", origin=result.dynamics.each(wrong))
            )  # fmt: skip
    panels = [
        Panel(
            key="map", x=Axis(label="variability", low=0.0, column="variability"),
            y=Axis(label="confidence: mean probability of the label", low=0.0, high=1.0), marks=tuple(marks), height=2.0,
        ),
        _traces(result),
    ]  # fmt: skip
    if result.changes is not None:
        total = result.changes.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = 100 * result.changes / total
        texts = tuple(tuple("" if np.isnan(v) else f"{v:.0f}" for v in row) for row in shares.tolist())
        names = result.dynamics.names
        panels.append(
            Panel(
                key="changes", x=Axis(label=names[-1], scale="category", names=REGIONS),
                y=Axis(label=names[0], scale="category", names=REGIONS, inverted=True), square=True,
                marks=(Cells(key="changes", values=shares, rows=REGIONS, columns=REGIONS, texts=texts, low=0.0, high=100.0,
                             label="% of the row"),), title="Region in two runs", height=1.2,
            )
        )  # fmt: skip
    epochs = counted(len(result.dynamics.epochs), "epoch")
    return FigureSpec(
        title="Data map",
        subtitle=f"{counted(len(frame), 'training item')}, {epochs}, {counted(len(result.dynamics.names), 'run')}",
        panels=tuple(panels),
        caption=f"{result.summary()} {result.notes[0]} {result.notes[2]}",
    )


def _points(
    result: DataMapResult, own: np.ndarray, x: np.ndarray, y: np.ndarray, label: str, hue: str, symbol: Symbol
) -> Points:
    """Give the items as points; above 50,000 items one point a small cell, its area the count."""
    label = f"{label} ({len(own):,})"
    if len(x) <= _MOST_POINTS:
        items = result.dynamics.items["item"].to_numpy()
        notes = tuple(f"{items[i]}: confidence {y[i]:.3f}, variability {x[i]:.3f}" for i in own)
        return Points(key=label, x=x[own], y=y[own], hue=hue, symbol=symbol, size=4.0, opacity=0.7, label=label,
                      origin=result.dynamics.each(own), notes=notes)  # fmt: skip
    cell = np.floor(x[own] * 2 * _GRID).astype(int) * (_GRID + 1) + np.floor(y[own] * _GRID).astype(int)
    order = np.argsort(cell, kind="stable")
    _, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    at_x, at_y = (np.add.reduceat(values[own][order], starts) / counts for values in (x, y))
    clauses: tuple[Clause, ...] = tuple(
        result.dynamics.clause(own[order][start : start + count]) for start, count in zip(starts, counts, strict=True)
    )
    return Points(key=label, x=at_x, y=at_y, hue=hue, symbol=symbol, size=np.clip(np.sqrt(counts), 2, 14), opacity=0.7,
                  label=label, origin=Clauses("predictions", clauses),
                  notes=tuple(counted(int(count), "item") for count in counts))  # fmt: skip


def _traces(result: DataMapResult) -> Panel:
    region = result.map.frame["region"].to_numpy()
    groups = {name: region == name for name in REGIONS[:3]}
    marks: list[Mark] = []
    for name, (low, middle, high) in traces(result.dynamics, groups).items():
        hue, epochs = _HUES[name], result.dynamics.epochs
        marks.append(Band(key=f"{name}/band", x=epochs, low=low, high=high, hue=hue))
        behind = Clauses("predictions", (result.dynamics.clause(groups[name]),))
        marks.append(Line(key=name, x=epochs, y=middle, hue=hue, width=2.0, label=f"{name}, n = {int(groups[name].sum()):,}",
                          origin=behind))  # fmt: skip
    return Panel(
        key="traces", x=Axis(label="epoch", column="epoch"), y=Axis(label="probability of the label", low=0.0, high=1.0),
        marks=tuple(marks), title="Median and quartiles over items",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="dynamics.data-map",
    title="Data map of training items",
    asks="Which training examples are easy, ambiguous, hard or mislabelled?",
    question=DataMapQuestion,
    figure=figure,
    sources=("Swayamdipta et al. (2020), Dataset Cartography; code allenai/cartography",),
    definition="""\
With $p_e$ the probability of the label at epoch $e$: confidence $\\mu=\\text{mean}_e\\,p_e$, variability
$s=\\sqrt{\\text{mean}_e(p_e-\\mu)^2}\\le\\sqrt{\\mu(1-\\mu)}$, correctness the share of epochs at which the label was
predicted, closeness $\\mu(1-\\mu)$. Ambiguous: $s$ in its upper third; of the steady ones easy where $\\mu$ is in its upper
third, hard in its lower; the cuts can be moved.

Unit: the item; with several runs, Spearman correlations and the change of region between them. Traps: the predictions must be
made on the training items during training; the hard and steady corner is label errors, not information. """,
)
