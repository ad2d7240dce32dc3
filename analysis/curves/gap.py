"""``curve.gap``: how far validation lies from training, along a run, and for which recipe.

The training value is a mean of what was logged up to an evaluation, since the one before: a training loss is logged far
more often than it is evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError
from ...models.figure import Axis, Band, Bars, Clauses, FigureSpec, Keys, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.reductions import higher_is_better
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.run_groups import EXCEPT_AT_FIRST
from ...models.selection import is_in
from ...models.store import RunStore
from ...models.tag_order import by_usefulness
from .. import resampling
from ..alignment import axis_along, default_x, interpolated
from ..common_range import CommonRange, common_range
from ..curve_marks import run_line
from ..seed_curves import SeedCurves, seed_curves

_SPLITS = (("validation", "train"), ("val", "train"), ("eval", "train"), ("test", "train"))
_MOST_PLACES = 400


def means_up_to(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give the mean of y over the x after the place before and up to each place; interpolated where none lies there.

    Parameters
    ----------
    at : ndarray, shape (k,)
        Increasing places.
    x, y : ndarray, shape (n,)
        x increases.
    """
    ends = np.searchsorted(x, at, side="right")
    # Before the first place as far back as the second lies ahead.
    before = np.concatenate([[2 * at[0] - at[1] if len(at) > 1 else -math.inf], at[:-1]])
    starts = np.searchsorted(x, before, side="right")
    sums = np.concatenate([[0.0], np.cumsum(y)])
    n = ends - starts
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums[ends] - sums[starts]) / n
    return np.where(n > 0, means, interpolated(at, x, y))


def pair_of_tags(tags: dict[str, int], tag: str) -> tuple[str, str]:
    """Give the validation and the training tag of one metric; ('', '') where no such pair is logged.

    ``val/loss`` goes with ``train/loss``, ``val_loss`` with ``train_loss`` or, as Keras writes it, ``loss``.
    """
    for held_out in [tag] if tag else by_usefulness(tags):
        for evaluated, trained in _SPLITS:
            for separator in ("/", "_", "."):
                start = f"{evaluated}{separator}"
                if held_out.startswith(start):
                    rest = held_out.removeprefix(start)
                    for name in (f"{trained}{separator}{rest}", f"training{separator}{rest}", rest):
                        if name in tags:
                            return held_out, name
    return "", ""


@dataclass(frozen=True, slots=True)
class Gap:
    """The gap of one group.

    Attributes
    ----------
    group : SeedCurves
        Validation curves.
    train : tuple of (ndarray, ndarray)
        Training points of each run.
    grid : ndarray, shape (k,)
    values : ndarray, shape (runs, k)
        Gap of each run; positive where validation is worse.
    mean, low, high : ndarray, shape (k,)
        Over seeds; NaN ends below three.
    final : tuple of (float, float, float)
        Gap at the end.
    """

    group: SeedCurves
    train: tuple[tuple[np.ndarray, np.ndarray], ...]
    grid: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    final: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class GeneralisationGap(Result):
    """Groups and their gaps.

    Attributes
    ----------
    gaps : tuple of Gap
    tag, train_tag, x : str
    terms : DataFrame
        Parts of the gap of accuracies where the tags for them are named; empty otherwise.
    """

    gaps: tuple[Gap, ...]
    tag: str
    train_tag: str
    x: str
    terms: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = [
            (f"{shortened(one.group.name, 30)} " if len(self.gaps) > 1 else "") + with_interval(*one.final)
            for one in self.gaps[:4]
        ]
        more = f" and {len(self.gaps) - 4} more" if len(self.gaps) > 4 else ""
        return f"{self.tag} is worse than {self.train_tag} at the end by {', '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class GapQuestion(Question):
    """Is it overfitting, and for which recipe?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option("", help="metric on held-out data; empty looks for one", choices="tags")
    train_tag: str = option("", help="the same metric on training data; empty looks for it", choices="tags")
    noised_tag: str = option(
        "", help="accuracy on the noised items, noisy labels: splits the gap", choices="tags", advanced=True
    )
    true_tag: str = option(
        "", help="accuracy on the noised items, true labels: splits the gap", choices="tags", advanced=True
    )
    group_by: tuple[str, ...] = option((), help="columns whose values make a group", choices="columns of runs")
    everything_except: tuple[str, ...] = option(
        (), help="or: what may differ within a group (seed, time, host, output, columns)", choices="columns of runs"
    )
    direction: Literal["auto", "falling", "rising"] = option("auto", help="way that is better; auto reads the name")
    x: str = option("", help="step, relative, or a tag such as tokens or epoch", choices="x axes")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    log_x: bool = option(False, help="logarithmic x axis")
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the pair of metrics, the axis and the grouping."""
        held_out, trained = pair_of_tags(store.tags(), self.tag)
        tag = self.tag or held_out
        asked = replace(self, tag=tag, train_tag=self.train_tag or trained, x=self.x or default_x(store, tag))
        if self.group_by or self.everything_except or not tag:
            return asked
        return replace(asked, everything_except=EXCEPT_AT_FIRST)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> GeneralisationGap:
        """Subtract training from validation at every evaluation of every run, and average over seeds."""
        asked = self.resolved(store)
        if not asked.tag or not asked.train_tag:
            raise AnalysisError(
                "No metric is logged both on training and on held-out data.",
                remedy="Name them: tag = val/loss, train_tag = train/loss. Tags: "
                + ", ".join(list(store.tags())[:10])
                + ".",
            )
        sign = (
            -1.0 if (higher_is_better(asked.tag) if asked.direction == "auto" else asked.direction == "rising") else 1.0
        )
        held = seed_curves(store, asked.tag, asked.x, asked.runs, asked.group_by, asked.everything_except)
        trained = {
            curve.run.key: points
            for group in seed_curves(store, asked.train_tag, asked.x, asked.runs)
            for curve, points in zip(group.curves, group.points, strict=True)
        }
        gaps, left = [], 0
        for group in held:
            kept = [i for i, key in enumerate(group.runs) if key in trained]
            left += len(group.runs) - len(kept)
            if kept:
                both = replace(
                    group, curves=tuple(group.curves[i] for i in kept), points=tuple(group.points[i] for i in kept)
                )
                gaps.append(_gap(both, tuple(trained[key] for key in both.runs), sign, asked.level))
        if not gaps:
            raise AnalysisError(f"No run logs both {asked.tag!r} and {asked.train_tag!r} twice or more.")
        terms = _terms(store, gaps, asked)
        return GeneralisationGap(
            gaps=tuple(gaps),
            tag=asked.tag,
            train_tag=asked.train_tag,
            x=asked.x,
            terms=terms,
            estimates=_estimates(gaps, asked),
            tables=_tables(gaps, terms),
            notes=tuple(_notes(gaps, asked, left, terms)),
        )


def _gap(group: SeedCurves, trained: tuple[tuple[np.ndarray, np.ndarray], ...], sign: float, level: float) -> Gap:
    own = []
    for (x, y), (train_x, train_y) in zip(group.points, trained, strict=True):
        gap = sign * (y - means_up_to(x, train_x, train_y))
        kept = np.isfinite(gap)
        own.append((x[kept], gap[kept]))
    grid = np.unique(np.concatenate([x for x, _ in own]))
    if len(grid) > _MOST_PLACES:
        grid = np.linspace(grid[0], grid[-1], _MOST_PLACES)
    values = np.stack([interpolated(grid, x, gap) for x, gap in own])
    n = np.count_nonzero(np.isfinite(values), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / n
        sd = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / (n - 1))
        half = np.where(n >= 3, resampling.t_quantile(level, n - 1) * sd / np.sqrt(n), np.nan)
    finals = np.array([gap[-1] for _, gap in own if len(gap)])
    ends = resampling.t_interval(finals, level) if len(finals) >= 2 else (math.nan, math.nan)
    final = (float(finals.mean()) if len(finals) else math.nan, float(ends[0]), float(ends[1]))
    return Gap(group, trained, grid, values, mean, mean - half, mean + half, final)


def _terms(store: RunStore, gaps: list[Gap], asked: GapQuestion) -> pd.DataFrame:
    """Give the three parts of the gap of accuracies at the end, which add up to it, for runs that log what they need."""
    rows = []
    if asked.noised_tag and asked.true_tag:
        for one in gaps:
            for curve in one.group.curves:
                tags = (asked.train_tag, asked.noised_tag, asked.true_tag, asked.tag)
                if all(tag in curve.run.curves for tag in tags):
                    train, noised, true, test = (float(curve.run.curves[tag].value[-1]) for tag in tags)
                    rows.append(
                        {
                            "run": curve.run.key, "group": one.group.name, "gap": train - test,
                            "robustness": train - noised, "rationality": noised - true, "memorization": true - test,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def _estimates(gaps: list[Gap], asked: GapQuestion) -> dict[str, Estimate]:
    estimates = {}
    for one in gaps:
        name = f"{one.group.name}/final_gap" if len(gaps) > 1 else "final_gap"
        why = "" if math.isfinite(one.final[1]) else "one seed"
        estimates[name] = Estimate(*one.final, asked.level, "", why)
    return estimates


def _tables(gaps: list[Gap], terms: pd.DataFrame) -> dict[str, pd.DataFrame]:
    by_group = pd.DataFrame(
        {
            "group": one.group.name, "runs": len(one.group.runs), "final_gap": one.final[0], "low": one.final[1],
            "high": one.final[2], "widest_gap": float(np.nanmax(one.mean)),
            "widest_at": float(one.grid[int(np.nanargmax(one.mean))]),
        }
        for one in gaps
    )  # fmt: skip
    along = [
        pd.DataFrame({"group": one.group.name, "x": one.grid, "gap": one.mean, "low": one.low, "high": one.high})
        for one in gaps
    ]
    tables = {"groups": by_group, "along": pd.concat(along, ignore_index=True)}
    return tables | ({"parts": terms} if len(terms) else {})


def _notes(gaps: list[Gap], asked: GapQuestion, left: int, terms: pd.DataFrame) -> list[str]:
    sizes = [len(one.group.runs) for one in gaps]
    n = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else f"{sizes[0]}"
    notes = [
        f"Positive: {asked.tag} is worse than {asked.train_tag}, which is the mean of what was logged since the evaluation "
        "before. Student's t over seeds (unit: the run), n = " + n + ".",
        "Training values logged under dropout, or as running averages while the model improves, are worse than the model's "
        "own: the gap is then too small, or negative.",
    ]
    if left:
        notes.append(f"{counted(left, 'run')} left out: no {asked.train_tag}.")
    if asked.noised_tag and asked.true_tag:
        notes.append(
            f"Parts (last values of {counted(len(terms), 'run')}): robustness = train - noised, rationality = noised - true, "
            "memorization = true - held-out; they add up to the gap."
        )
    return notes


def figure(question: GapQuestion, result: GeneralisationGap) -> FigureSpec:
    """Draw validation over faint training curves, and below the gap with its band."""
    longest = max(float(one.grid[-1]) for one in result.gaps)
    axis, unit = axis_along(result.x, longest, log=question.log_x)
    curves: list[Mark] = []
    gaps: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    for place, one in enumerate(result.gaps):
        hue = one.group.hue if len({gap.group.hue for gap in result.gaps}) == len(result.gaps) else f"c{place}"
        behind = Clauses("runs", (is_in("run", one.group.runs),))
        for number, (curve, train) in enumerate(zip(one.group.curves, one.train, strict=True)):
            key = curve.run.key
            x = np.where((train[0] > 0) | (not question.log_x), train[0] / unit, np.nan)
            faint = Line(
                key=f"{key}/train", x=x, y=train[1], hue=hue, opacity=0.22, origin=Keys("run", (key,)), faint_of=key
            )
            label = f"{one.group.name}, {counted(len(one.group.runs), 'run')}" if number == 0 else ""
            curves += [faint, run_line(curve, unit, hue=hue, label=label, width=1.4, log_x=question.log_x)]
        x = np.where((one.grid > 0) | (not question.log_x), one.grid / unit, np.nan)
        if np.isfinite(one.low).any():
            gaps.append(Band(key=f"{one.group.name}/band", x=x, low=one.low, high=one.high, hue=hue, origin=behind))
        label = f"{shortened(one.group.name, 30)}: {with_interval(*one.final)}"
        gaps.append(Line(key=one.group.name, x=x, y=one.mean, hue=hue, width=2.0, label=label, origin=behind))
    limits = _limits(result)
    above = Axis(label=result.tag, column=result.tag, low=limits.low, high=limits.high)
    shared = common_range([np.concatenate([one.mean, one.low, one.high]) for one in result.gaps], also=(0.0,))
    below = Axis(label="held-out worse by", low=shared.low, high=shared.high)
    panels = [
        Panel(key="curves", x=axis, y=above, marks=tuple(curves)),
        Panel(key="gap", x=axis, y=below, marks=tuple(gaps), shares_x_with="curves"),
    ]
    out = max((limits, shared), key=lambda one: one.beyond).said(len(result.gaps))
    if len(result.terms):
        panels.append(_parts(result.terms))
    return FigureSpec(
        title=f"Gap between {result.tag} and {result.train_tag}",
        subtitle=f"{counted(len(result.gaps), 'group')}{out}; faint: {result.train_tag}; band: {100 * question.level:g} % "
        "t interval over seeds, from three on",
        panels=tuple(panels),
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _limits(result: GeneralisationGap) -> CommonRange:
    """Give limits that hold validation, of most where a few run away; noise of single batches does not set the scale."""
    most = common_range([np.concatenate([y for _, y in one.group.points]) for one in result.gaps])
    if most.beyond:
        return most
    values = np.concatenate([y for one in result.gaps for _, y in one.group.points])
    trained = np.concatenate([y for one in result.gaps for _, y in one.train])
    low, high = min(values.min(), np.percentile(trained, 1)), values.max()
    air = 0.05 * float(high - low)
    return CommonRange(float(low) - air, float(high) + air) if air else CommonRange()


def _parts(terms: pd.DataFrame) -> Panel:
    names = ("robustness", "rationality", "memorization")
    by_group = terms.groupby("group", sort=False)[list(names)].mean()
    base = np.zeros(len(by_group))
    marks: list[Mark] = []
    for place, name in enumerate(names):
        height = by_group[name].to_numpy(float)
        at = np.arange(len(by_group), dtype=float)
        marks.append(Bars(key=name, at=at, base=base, height=base + height, hue=f"c{place}", label=name))
        base = base + height
    axis = Axis(scale="category", names=tuple(map(str, by_group.index)))
    return Panel(key="parts", x=axis, y=Axis(label="parts of the gap"), marks=tuple(marks), height=0.8)


ANALYSIS = Analysis(
    id="curve.gap",
    title="Generalisation gap",
    asks="Is it overfitting, and for which recipe?",
    question=GapQuestion,
    figure=figure,
    sources=(
        "Bansal, Kaplun and Barak (2021), For self-supervised learning, Rationality implies generalization, provably",
    ),
    definition="""\
Gap: held-out minus training loss (for a score, training minus held-out), at every evaluation; the training value is the
mean of what was logged since the evaluation before. Over seeds: mean and Student's t interval (unit: the run, from three
on along the curve, from two on at the end).

Where accuracies on noised training items are logged, the gap of the last values splits into robustness (train - noised,
noisy labels), rationality (noised labels - true labels, on the noised items) and memorization (true - held-out), which add
up to it exactly; no such tags, no split. Not comparable: training values under dropout or augmentation.
""",
)
