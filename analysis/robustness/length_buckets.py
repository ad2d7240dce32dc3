"""``robust.length-buckets``: how fast a score fades with length, or with distance from what was trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, significant
from ...models.selection import All, Between, is_in
from ...models.store import RunStore
from ..answer_sheet import AnswersQuestion, answer_sheet
from ..answers import present
from ..grouped_answers import accuracy_table, counted_by, drawn_accuracies
from ..resampling import DRAWS, percentile_interval

_USUAL = (
    "length",
    "context_length",
    "n_tokens",
    "tokens",
    "input_length",
    "prompt_length",
    "chars",
    "distance",
    "similarity",
)
_MOST_SERIES = 8
_AS_THEY_ARE = 10
"""Different lengths up to which each is a bucket of its own."""


@dataclass(frozen=True, kw_only=True)
class LengthBuckets(Result):
    """Accuracy by bucket of length.

    Attributes
    ----------
    length, by : str
        Columns of the length and of the versions.
    versions : tuple of str
        What was looked at.
    edges : ndarray, shape (buckets, 2)
        Least and greatest length of each bucket.
    log : bool
        Whether the axis is logarithmic.
    level : float
        Coverage of the intervals.
    """

    length: str
    by: str
    versions: tuple[str, ...]
    edges: np.ndarray
    log: bool
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        table = self.tables["buckets"]
        ends = table[table["bucket"] == table["bucket"].max()].sort_values("retention")
        worst = ends.iloc[0]
        return (
            f"From {self.length} {significant(self.edges[0].mean(), 3)} to {significant(self.edges[-1].mean(), 3)}, "
            f"{worst['version']} retains {100 * worst['retention']:.1f} % [{100 * worst['retention_low']:.1f}, "
            f"{100 * worst['retention_high']:.1f}] of its score ({100 * worst['accuracy']:.1f} % at the end)."
        )


@dataclass(frozen=True, kw_only=True)
class LengthQuestion(AnswersQuestion):
    """How fast does it fade with length or distance from training?"""

    length: str = option(
        "",
        help="column of lengths or distances; length, n_tokens, similarity ... if empty",
        choices="numbers of predictions",
    )
    versions: tuple[str, ...] = option(
        (), help="versions to look at; all if empty", choices="predictions.version|predictions.model"
    )
    buckets: int = option(6, help="buckets of equal numbers of items, where there are many lengths", low=2, high=40)
    retain: float = option(0.9, help="share of the first score whose loss is looked for", low=0.05, high=0.99)
    claimed: float | None = option(None, help="length that is claimed to be supported; marked in the figure", low=0.0)
    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in what tells versions apart (a single one will do) and the column of lengths."""
        asked = super().resolved(store)
        if not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        by = asked.by or next(iter(present(frame, ("version", "model"))), "")
        numbers = [name for name in present(frame, _USUAL) if frame[name].dtype.kind in "fiu"]
        return replace(asked, by=by, length=asked.length or next(iter(numbers), ""))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> LengthBuckets:
        """Count right answers by bucket and resample items within buckets."""
        asked = self.resolved(store)
        if not asked.length:
            raise TooLittleData(needs="a column of lengths or distances", found="none", remedy="Choose it (length).")
        # One item may be asked at several lengths, and be of another length to another tokenizer.
        key = (asked.length,) if asked.length in store.columns("predictions") else ()
        sheet = answer_sheet(
            store, asked, asked.versions, about=(asked.length, asked.cluster), key=key, common=False, least=1
        )
        numbers = pd.to_numeric(sheet.items[asked.length], errors="coerce").to_numpy(float)
        known = np.isfinite(numbers)
        if not known.any():
            raise AnalysisError(f"{asked.length!r} holds no numbers.", remedy="Choose another column (length).")
        lost = int((~known).sum())
        sheet, numbers = sheet.taking(known), numbers[known]
        code, edges = bucketed(numbers, asked.buckets)
        if len(edges) < 2:
            raise TooLittleData(needs="items of different lengths", found=f"one value of {asked.length}")
        counts = counted_by(sheet, asked.length, code, [f"{low:g} to {high:g}" for low, high in edges])
        log = bool(numbers.min() > 0 and numbers.max() / numbers.min() >= 8)
        at = np.array([_centre(numbers[code == bucket], log) for bucket in range(len(edges))])
        drawn = drawn_accuracies(counts, asked, engine=engine, progress=progress)
        table = accuracy_table(counts, asked.level)
        versions, k = len(sheet.names), len(edges)
        table = table.rename(columns={"group": "lengths"}).assign(
            bucket=np.tile(np.arange(k), versions), at=np.tile(at, versions), least=np.tile(edges[:, 0], versions),
            greatest=np.tile(edges[:, 1], versions),
        )  # fmt: skip
        if asked.cluster:
            low, high = percentile_interval(drawn, asked.level)
            table = table.assign(low=np.ravel(low), high=np.ravel(high))
        with np.errstate(divide="ignore", invalid="ignore"):
            retention = counts.accuracy / counts.accuracy[:, :1]
            kept = drawn / drawn[:, :, :1]
        kept = np.where(np.isfinite(kept), kept, np.nan)
        low, high = percentile_interval(kept, asked.level)
        table = table.assign(retention=retention.ravel(), retention_low=np.ravel(low), retention_high=np.ravel(high))
        estimates: dict[str, Estimate] = {}
        x = np.log2(at) if log else at
        for v, version in enumerate(sheet.names):
            prefix = f"{version}/" if versions > 1 else ""
            own = _of_version(x, counts.n[v], counts.accuracy[v], drawn[:, v], asked, log)
            estimates |= {prefix + key: one for key, one in own.items()}
        notes = [
            f"Unit: {f'the {asked.cluster}, resampled whole' if asked.cluster else 'the item, resampled within its bucket'}; "
            f"n = {len(sheet):,} items in {k} buckets of {asked.length}. Accuracies: "
            f"{'bootstrap' if asked.cluster else f'{100 * asked.level:g} % Wilson'}; the rest: percentile bootstrap, "
            f"{asked.draws} draws, seed {asked.seed}.",
            *sheet.notes,
            "Buckets hold different items: unless the same questions were asked at each length, difficulty may differ too.",
        ]
        if lost:
            notes.append(f"{lost:,} items left out: no {asked.length}.")
        return LengthBuckets(
            length=asked.length, by=asked.by, versions=sheet.names, edges=edges, log=log, level=asked.level,
            estimates=estimates, tables={"buckets": table}, notes=tuple(notes),
        )  # fmt: skip


def bucketed(numbers: np.ndarray, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the bucket of each number, and the ends of the buckets, shape (buckets, 2).

    Few different numbers are buckets of their own; many fall into buckets of about equal counts, equal numbers together.
    """
    values, code = np.unique(numbers, return_inverse=True)
    if len(values) > _AS_THEY_ARE:
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, buckets + 1)[1:-1]))
        code = np.unique(np.searchsorted(edges, numbers, side="left"), return_inverse=True)[1]
    number = int(code.max()) + 1
    return code, np.array([[numbers[code == i].min(), numbers[code == i].max()] for i in range(number)])


def _centre(numbers: np.ndarray, log: bool) -> float:
    return float(np.exp(np.log(numbers).mean())) if log else float(numbers.mean())


def slope_of(x: np.ndarray, n: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Give the slope of accuracies, shape (..., buckets), over x by least squares weighted with n."""
    w = n / n.sum()
    centred = x - w @ x
    slope: np.ndarray = (accuracy * (w * centred)).sum(axis=-1) / float(w @ centred**2)
    return slope


def crossing(x: np.ndarray, accuracy: np.ndarray, retain: float) -> float:
    """Give where accuracies, joined by lines, first fall below `retain` of the first; NaN where they do not."""
    level = retain * accuracy[0]
    below = np.flatnonzero(accuracy < level)
    if not len(below) or not accuracy[0] > 0:
        return math.nan
    i = int(below[0])
    share = (accuracy[i - 1] - level) / (accuracy[i - 1] - accuracy[i])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))


def _of_version(
    x: np.ndarray, n: np.ndarray, accuracy: np.ndarray, drawn: np.ndarray, asked: LengthQuestion, log: bool
) -> dict[str, Estimate]:
    used = n > 0
    x, n, accuracy, drawn = x[used], n[used], accuracy[used], drawn[:, used]
    if len(x) < 2:
        return {"slope": Estimate(math.nan, why_no_interval="one bucket")}
    unit = "accuracy a doubling" if log else f"accuracy a unit of {asked.length}"
    low, high = percentile_interval(slope_of(x, n, drawn), asked.level)
    with np.errstate(divide="ignore", invalid="ignore"):
        last = drawn[:, -1] / drawn[:, 0]
    ends = percentile_interval(np.where(np.isfinite(last), last, np.nan), asked.level)
    estimates = {
        "slope": Estimate(float(slope_of(x, n, accuracy)), float(low), float(high), asked.level, unit),
        "retention": Estimate(
            float(accuracy[-1] / accuracy[0]) if accuracy[0] else math.nan, float(ends[0]), float(ends[1]), asked.level,
            "of the first score", "the first score is 0",
        ),
    }  # fmt: skip
    at = crossing(x, accuracy, asked.retain)
    places = np.array([crossing(x, row, asked.retain) for row in drawn])
    share = float(np.isfinite(places).mean())
    low, high = percentile_interval(places, asked.level)
    here, start, end = ((2.0**value if log else value) for value in (at, float(low), float(high)))
    why = f"it stays above {100 * asked.retain:g} % in {100 * (1 - share):.0f} % of resamples"
    if share < 0.975 or math.isnan(at):
        start = end = math.nan
    estimates["crossing"] = Estimate(here, start, end, asked.level, asked.length, why)
    return estimates


def figure(question: LengthQuestion, result: LengthBuckets) -> FigureSpec:
    """Draw accuracy and retention against length, a line with its band a version."""
    table = result.tables["buckets"]
    shown = result.versions[-_MOST_SERIES:]
    panels = []
    for key, label, title in (
        ("accuracy", "right answers (%)", "Score"),
        ("retention", "of the first score (%)", "Retention"),
    ):
        low_key, high_key = ("low", "high") if key == "accuracy" else ("retention_low", "retention_high")
        marks: list[Mark] = []
        if key == "retention":
            marks.append(Rule(key="retain", axis="y", at=100 * question.retain, hue="muted", dash="dotted", option=""))
        for version in shown:
            own = table[(table["version"] == version) & (table["n"] > 0)]
            x, value, low, high = (own[name].to_numpy(float) for name in ("at", key, low_key, high_key))
            hue = f"c{result.versions.index(version)}"
            clauses = tuple(
                All((is_in(result.by, (version,)), Between(result.length, a, b)))
                for a, b in zip(own["least"], own["greatest"], strict=True)
            )
            notes = tuple(
                f"{version}, {lengths}: {100 * v:.1f} %, n = {n:,}"
                for lengths, v, n in zip(own["lengths"], value, own["n"], strict=True)
            )
            marks += [
                Band(key=f"{version} band", x=x, low=100 * low, high=100 * high, hue=hue),
                Line(key=version, x=x, y=100 * value, hue=hue, label=version if len(shown) > 1 else "", width=1.6),
                Points(
                    key=f"{version} buckets",
                    x=x,
                    y=100 * value,
                    hue=hue,
                    origin=Clauses("predictions", clauses),
                    notes=notes,
                ),
            ]
        if question.claimed is not None:
            marks.append(
                Rule(key="claimed", axis="x", at=question.claimed, hue="accent", label="claimed", option="claimed")
            )
        x_axis = Axis(label=result.length, scale="log" if result.log else "linear", column=result.length)
        panels.append(
            Panel(key=key, x=x_axis, y=Axis(label=label), marks=tuple(marks), title=title, legend=key == "accuracy")
        )
    how = "bootstrap" if question.cluster else "Wilson"
    return FigureSpec(
        title=f"Score by {result.length}",
        subtitle=f"{len(result.edges)} buckets; bands: {100 * result.level:g} % {how}, of retention bootstrap over items",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="robust.length-buckets",
    title="Score by length",
    asks="How fast does it fade with length or distance from training?",
    question=LengthQuestion,
    figure=figure,
    sources=(
        "Yuan et al. (2024), LV-Eval: A Balanced Long-Context Benchmark with 5 Length Levels Up to 256K",
        "Zhan et al. (2022), Evaluating Interpolation and Extrapolation Performance of Neural Retrieval Models",
        "Wilson (1927)",
    ),
    definition="""\
Items fall into buckets of their length: each length its own where there are at most ten, else of equal counts. retention =
score of a bucket / score of the first; slope = least squares of the scores over log2 of the length (over the length itself
where it spans less than a factor of 8), weighted by n; crossing = where the scores, joined by lines, first fall below `retain`
of the first.

Unit: the item, drawn within its bucket (or the cluster, drawn whole; the item itself where it was asked at several lengths).
Trap: buckets hold different items; unless the same questions are asked at each length, difficulty may differ too. """,
)
