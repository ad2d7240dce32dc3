"""``labelfree.cbpe``: accuracy, F1 and AUROC in production, before labels arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result
from ...models.selection import is_in
from ...models.store import RunStore
from ..answers import at_epoch, in_natural_order, present
from ..forecast_rows import Sample, numbered, places_of_labels, probabilities
from ..forecast_sums import isotonic_rates
from ..forecasts import pooled
from ..recalibration import folds_of
from ..resampling import DRAWS, percentile_interval
from ..selective import ranking

Metric = Literal["accuracy", "f1", "precision", "recall", "auroc"]

_METRICS: tuple[Metric, ...] = ("accuracy", "f1", "precision", "recall", "auroc")


@dataclass(frozen=True, kw_only=True)
class EstimatedPerformance(Result):
    """Performance foretold chunk by chunk.

    Attributes
    ----------
    chunks : DataFrame
        One row a chunk and metric: chunk, metric, n, estimated, low, high, realised (NaN without labels), reference.
    reference : dict of str to (float, float, float)
        Realised value on the reference rows, and the range that chunks of that size have there.
    unit : str
        What was resampled.
    """

    chunks: pd.DataFrame
    reference: dict[str, tuple[float, float, float]]
    unit: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        rows = self.chunks[self.chunks["metric"] == "accuracy"]
        low = rows.iloc[int(rows["estimated"].to_numpy().argmin())]
        realised = f" (in fact {100 * low['realised']:.1f} %)" if math.isfinite(low["realised"]) else ""
        return (
            f"Accuracy estimated for {len(rows)} chunks; lowest {100 * low['estimated']:.1f} % [{100 * low['low']:.1f}, "
            f"{100 * low['high']:.1f}] in {low['chunk']}{realised}; reference {100 * self.reference['accuracy'][0]:.1f} %."
        )


@dataclass(frozen=True, kw_only=True)
class CbpeQuestion(Question):
    """What accuracy, F1 and AUROC does production have, before labels arrive?"""

    needs: ClassVar = (Need("predictions"),)

    split: str = option(
        "", help="column that tells reference from production; split if empty", choices="columns of predictions"
    )
    reference: str = option("", help="its value on the labelled reference rows; 'reference' if empty")
    chunk: str = option(
        "", help="column of chunks of production; the split's values if empty", choices="columns of predictions"
    )
    metric: Literal["accuracy", "f1", "precision", "recall", "auroc"] = option("accuracy", help="metric that is drawn")
    calibrate: bool = option(
        True, help="calibrate probabilities on the reference, cross-fitted there, by isotonic regression"
    )
    shift: str = option(
        "", help="column of groups by whose shares the reference is weighed to each chunk first (M-CBPE)",
        choices="columns of predictions",
    )  # fmt: skip
    model: str = option("", help="model; the one with most rows if empty", choices="predictions.model")
    version: str = option("", help="version; the last one if empty", choices="predictions.version")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(500, help="outcomes redrawn", low=20, high=DRAWS * 10, advanced=True)
    seed: int = option(0, help="seed", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> EstimatedPerformance:
        """Calibrate on the reference, expect the confusion matrix of every chunk."""
        frame = self._frame(store)
        column = self.split or "split"
        if column not in frame.columns:
            raise AnalysisError("Nothing tells the reference from production.", remedy="Name a column with --split.")
        names = frame[column].astype(str)
        reference = self.reference or "reference"
        p, classes = probabilities(frame)
        if len(classes) < 2:
            raise AnalysisError("This needs the probabilities of all classes.", remedy="Name their columns prob.*.")
        label = places_of_labels(frame, classes)
        inside = (names == reference).to_numpy(dtype=bool) & (label >= 0)
        if not inside.any():
            raise TooLittleData(needs=f"labelled rows with {column} = {reference}", found="0")
        production = (names != reference).to_numpy(dtype=bool)
        if not production.any():
            raise TooLittleData(needs=f"rows with another {column} than {reference}", found="0")
        answer = p.argmax(axis=1)
        weights = np.ones(len(frame))
        chunk = (frame[self.chunk] if self.chunk else frame[column]).astype(str).to_numpy()
        generator = np.random.default_rng(self.seed)
        unit = numbered(frame, present(frame, ("task", "item")))
        rows: list[dict[str, Any]] = []
        everywhere = in_natural_order(np.unique(chunk[production]))
        base = _metrics(p[inside], answer[inside], label[inside])
        sizes = []
        for number, name in enumerate(everywhere):
            progress(number, len(everywhere), name)
            own = production & (chunk == name)
            if self.shift:
                weights = _share_ratio(frame, self.shift, inside, own)
            q = self._calibrated(p, label, inside, own, weights, unit)
            estimated = _expected(q, p[own], answer[own])
            known = own & (label >= 0)
            realised = (
                _metrics(p[known], answer[known], label[known]) if known.any() else dict.fromkeys(_METRICS, math.nan)
            )
            draws = _redrawn(q, p[own], answer[own], self.draws, generator)
            sizes.append(int(own.sum()))
            for metric in _METRICS:
                low, high = percentile_interval(draws[metric], self.level)
                rows.append(
                    {"chunk": name, "metric": metric, "n": int(own.sum()), "estimated": estimated[metric], "low": float(low),
                     "high": float(high), "realised": realised[metric], "reference": base[metric]}
                )  # fmt: skip
        chunks = pd.DataFrame(rows)
        spread = _reference_range(p[inside], answer[inside], label[inside], int(np.median(sizes)), self, generator)
        estimates = {
            f"{row['chunk']}/{row['metric']}": Estimate(row["estimated"], row["low"], row["high"], self.level)
            for row in rows
            if math.isfinite(row["estimated"])
        }
        known_rows = chunks.dropna(subset=["realised"])
        for kind, part in known_rows.groupby("metric", sort=False):
            error = float((part["estimated"] - part["realised"]).abs().mean())
            estimates[f"mae/{kind}"] = Estimate(error, why_no_interval=f"over {len(part)} chunks")
        notes = [
            f"Reference: {column} = {reference}, n = {int(inside.sum()):,}. "
            + ("Probabilities calibrated there class by class (isotonic), then normed." if self.calibrate else
               "Probabilities are taken as they are."),
            f"Intervals: labels redrawn from the probabilities, {self.draws} draws, seed {self.seed}; "
            "that the calibration itself is uncertain is not in them.",
            "Blind to concept drift: if what a confidence means has changed, no estimate without labels can see it.",
        ]  # fmt: skip
        if self.shift:
            notes.append(
                f"Reference rows weighed by the share of their {self.shift} in the chunk over that in the reference."
            )
        return EstimatedPerformance(chunks=chunks, reference={name: (base[name], *spread[name]) for name in _METRICS},
                                    unit="row", estimates=estimates, tables={"chunks": chunks}, notes=tuple(notes))  # fmt: skip

    def _frame(self, store: RunStore) -> pd.DataFrame:
        frame = at_epoch(store.rows("predictions"), None)
        for name, value in (("model", self.model), ("version", self.version)):
            if present(frame, [name]):
                rows = frame[name].value_counts()
                chosen = value or (str(rows.index[0]) if name == "model" else in_natural_order(rows.index)[-1])
                frame = frame[frame[name] == chosen]
        if frame.empty:
            raise TooLittleData(needs="predictions", found="none that are kept")
        return frame.reset_index(drop=True)

    def _calibrated(
        self,
        p: np.ndarray,
        label: np.ndarray,
        inside: np.ndarray,
        own: np.ndarray,
        weights: np.ndarray,
        unit: np.ndarray,
    ) -> np.ndarray:
        """Give calibrated probabilities of the rows `own`, shape (rows, classes)."""
        if not self.calibrate:
            return np.asarray(p[own])
        found = np.empty((int(own.sum()), p.shape[1]))
        # Chunks of the reference itself are mapped by the folds they are not in.
        shared = np.isin(unit[own], unit[inside])
        for k in range(p.shape[1]):
            hit = (label[inside] == k).astype(float)
            at, n, hits, _ = pooled(p[inside, k], hit, weights[inside])
            found[:, k] = np.interp(p[own, k], at, isotonic_rates(n, hits))
        if shared.any():
            fold = folds_of(unit, 5, self.seed)
            for number in range(5):
                mine = shared & (fold[own] == number)
                fit = inside & (fold != number)
                for k in range(p.shape[1]):
                    at, n, hits, _ = pooled(p[fit, k], (label[fit] == k).astype(float), weights[fit])
                    found[mine, k] = np.interp(p[own][mine, k], at, isotonic_rates(n, hits))
        total = found.sum(axis=1, keepdims=True)
        return np.where(total > 0, found / np.where(total > 0, total, 1), p[own])


def _share_ratio(frame: pd.DataFrame, column: str, inside: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Give weights of reference rows: the share of their group in the chunk over that in the reference."""
    if column not in frame.columns:
        raise AnalysisError(f"The predictions have no column called {column!r}.")
    groups = frame[column].astype(str)
    here, there = groups[own].value_counts(normalize=True), groups[inside].value_counts(normalize=True)
    return np.asarray(groups.map(here / there).fillna(0).to_numpy(float))


def _from_counts(true: np.ndarray, false: np.ndarray, missed: np.ndarray) -> dict[str, np.ndarray]:
    """Give macro precision, recall and F1 from counts by class, shape (..., classes); classes nobody has are left out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(true + false > 0, true / (true + false), 0.0)
        recall = np.where(true + missed > 0, true / (true + missed), np.nan)
        f1 = np.where(true + missed > 0, 2 * true / (2 * true + false + missed), np.nan)
    precision = np.where(true + missed > 0, precision, np.nan)
    if true.shape[-1] == 2:
        return {"precision": precision[..., 1], "recall": recall[..., 1], "f1": f1[..., 1]}
    return {
        "precision": np.nanmean(precision, axis=-1),
        "recall": np.nanmean(recall, axis=-1),
        "f1": np.nanmean(f1, axis=-1),
    }


def _expected(q: np.ndarray, p: np.ndarray, answer: np.ndarray) -> dict[str, float]:
    """Give metrics from the expected confusion matrix under probabilities `q` of the answers."""
    classes = q.shape[1]
    chosen = np.zeros_like(q)
    chosen[np.arange(len(q)), answer] = 1
    true = (q * chosen).sum(axis=0)
    false, missed = chosen.sum(axis=0) - true, q.sum(axis=0) - true
    found = {name: float(value) for name, value in _from_counts(true, false, missed).items()}
    found["accuracy"] = float(true.sum() / len(q))
    areas = np.array([_soft_auroc(p[:, k], q[:, k]) for k in ([1] if classes == 2 else range(classes))])
    known = areas[~np.isnan(areas)]
    found["auroc"] = float(known.mean()) if len(known) else math.nan
    return found


def _soft_auroc(score: np.ndarray, rate: np.ndarray) -> float:
    """Give the AUROC where row i is positive with chance rate_i, pairs of a row with itself left out of neither side."""
    sample = Sample.of(score, np.zeros(len(score)))
    ordered = rate[np.argsort(score, kind="stable")]
    soft = Sample(sample.f, ordered, sample.weight, sample.unit, sample.p, sample.label)
    if ordered.sum() <= 0 or ordered.sum() >= len(ordered):
        return math.nan
    return float(ranking(soft, soft.weight[None])[0, 0])


def _metrics(p: np.ndarray, answer: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Give realised metrics."""
    q = np.zeros_like(p)
    q[np.arange(len(p)), label] = 1
    return _expected(q, p, answer)


def _redrawn(
    q: np.ndarray, p: np.ndarray, answer: np.ndarray, draws: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Give realised metrics of labels drawn from `q`."""
    reached = q.cumsum(axis=1)
    found: dict[str, list[float]] = {name: [] for name in _METRICS}
    draws = int(np.clip(40_000_000 // q.size, 20, draws))
    for _ in range(draws):
        label = np.minimum((generator.random((len(q), 1)) > reached).sum(axis=1), q.shape[1] - 1)
        for name, value in _metrics(p, answer, label).items():
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def _reference_range(
    p: np.ndarray, answer: np.ndarray, label: np.ndarray, size: int, asked: CbpeQuestion, generator: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Give the range of each metric over reference samples of the size of a chunk."""
    found: dict[str, list[float]] = {name: [] for name in _METRICS}
    for _ in range(200):
        at = generator.integers(len(p), size=max(size, 2))
        for name, value in _metrics(p[at], answer[at], label[at]).items():
            found[name].append(value)
    ranges = {}
    for name, values in found.items():
        low, high = percentile_interval(np.array(values), asked.level)
        ranges[name] = (float(low), float(high))
    return ranges


def figure(question: CbpeQuestion, result: EstimatedPerformance) -> FigureSpec:
    """Draw the metric over chunks with what the reference would show, and what was realised where labels are known."""
    rows = result.chunks[result.chunks["metric"] == question.metric]
    x = np.arange(len(rows), dtype=float)
    value, low, high = result.reference[question.metric]
    edge = np.array([-0.5, len(rows) - 0.5])
    column = question.chunk or question.split or "split"
    origin = Clauses("predictions", tuple(is_in(column, (str(name),)) for name in rows["chunk"]))
    marks: list[Mark] = [
        Band(key="reference", x=edge, low=np.full(2, low), high=np.full(2, high), hue="muted",
             label=f"{100 * question.level:g} % of reference samples of this size"),
        Line(key="reference-value", x=edge, y=np.full(2, value), hue="muted", dash="dashed", label="reference"),
        Points(key="estimated", x=x, y=rows["estimated"].to_numpy(float), low=rows["low"].to_numpy(float),
               high=rows["high"].to_numpy(float), hue="c0", size=7.0, label="estimated", origin=origin),
    ]  # fmt: skip
    known = rows["realised"].notna().to_numpy()
    if known.any():
        marks.append(Points(key="realised", x=x[known] + 0.12, y=rows["realised"].to_numpy(float)[known], hue="c1",
                            symbol="diamond", size=7.0, label="realised"))  # fmt: skip
    axis = Axis(
        label=column, scale="category", names=tuple(str(name) for name in rows["chunk"]), low=-0.6, high=len(rows) - 0.4
    )
    panel = Panel(key="chunks", x=axis, y=Axis(label=question.metric), marks=tuple(marks))
    return FigureSpec(title="Estimated performance", subtitle=f"{question.metric}, {len(rows)} chunks", panels=(panel,),
                      caption=f"{result.summary()} Labels redrawn from calibrated probabilities.")  # fmt: skip


ANALYSIS = Analysis(
    id="labelfree.cbpe",
    title="Performance before labels",
    asks="What accuracy, F1 and AUROC does production have, before labels arrive?",
    question=CbpeQuestion,
    figure=figure,
    sources=("Białek et al. (2024), Estimating Model Performance Under Covariate Shift Without Labels: CBPE, M-CBPE",),
    definition="""\
Probabilities are calibrated class by class on the labelled reference (isotonic; reference rows by the folds they are
not in), then normed. In expectation a row answered k adds p_k to the true positives of k and 1 - p_k to its false
ones; the rest of p is missed. Metrics come from these expected counts (macro over classes; of the second class where
there are two); AUROC from each row being positive with its probability. With `shift`, reference rows are weighed to
the chunk's share of each group first.

Intervals redraw labels from the probabilities. Concept drift cannot be seen.""",
)
