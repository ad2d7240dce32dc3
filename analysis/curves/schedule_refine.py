"""``health.schedule-refine``: the learning-rate schedule that the gradient norms of a run suggest for the next one.

Where gradients grow the rate should be lower, and it should end at zero: a weight for every step from the smoothed norm, and
the weight still to come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Keys, Line, Mark, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, significant
from ...models.run_groups import EXCEPT_AT_FIRST
from ...models.selection import is_in
from ...models.store import RunStore
from ...models.tag_order import usefulness
from .. import resampling
from ..alignment import interpolated
from ..curve_marks import drawable
from ..health import gradient_tag
from ..seed_curves import SeedCurves, seed_curves

_FEWEST = 100
_PLACES = 400
_MOST_DRAWN = 6


def refined(norm: np.ndarray, power: float, window: float = 0.1) -> np.ndarray:
    """Give the refined schedule for gradient norms, its greatest value 1, shape (n,).

    Parameters
    ----------
    norm : ndarray, shape (n,)
        Positive, at equal distances of steps.
    power : float
        2 for SGD and the L2 norm, 1 for Adam and the L1 norm.
    window : float
        Width of the median filter as a share of n.

    Notes
    -----
    Defazio, Cutkosky, Mehta and Mishchenko (2023), *When, Why and How Much? Adaptive Learning Rate Scheduling by
    Refinement*, algorithm 1; a median filter of width ``2 floor(floor(window n) / 2) + 1``, padded by reflection.
    """
    from scipy.ndimage import median_filter

    width = 2 * (math.floor(window * len(norm)) // 2) + 1
    # 'mirror' reflects about the last value without repeating it, as numpy's 'reflect' does.
    weight = median_filter(norm, size=width, mode="mirror") ** -power
    to_come = np.cumsum(weight[::-1])[::-1] - weight
    rate = weight * to_come
    return np.asarray(rate / rate.max())


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedules of one group.

    Attributes
    ----------
    group : SeedCurves
        Gradient norms.
    at : ndarray, shape (k,)
        Share of training done.
    refined : ndarray, shape (runs, k)
    used : ndarray, shape (k,)
        Schedule that was used (of the first run that logs one), its greatest value 1; NaN without.
    warmup, peak : ndarray, shape (runs,)
        Share of training at which the refined schedule passes 90 % of its greatest value, and at which it is greatest.
    """

    group: SeedCurves
    at: np.ndarray
    refined: np.ndarray
    used: np.ndarray
    warmup: np.ndarray
    peak: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RefinedSchedules(Result):
    """Refined schedules by group.

    Attributes
    ----------
    schedules : tuple of Schedule
    tag : str
        Gradient norm.
    """

    schedules: tuple[Schedule, ...]
    tag: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = [
            f"{shortened(one.group.name, 30)} warm up over {100 * float(one.warmup.mean()):.0f} %"
            for one in self.schedules[:3]
        ]
        more = f" and {len(self.schedules) - 3} more" if len(self.schedules) > 3 else ""
        return f"Schedules refined from {self.tag}: {', '.join(said)}{more}, then fall to zero; advice for a rerun."


@dataclass(frozen=True, kw_only=True)
class ScheduleRefineQuestion(Question):
    """What schedule do the gradients of a run suggest for the next?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option("", help="norm of the gradient before clipping; empty looks for it", choices="tags")
    optimizer: Literal["adam", "sgd"] = option("adam", help="adam: weight 1/norm (L1); sgd: 1/norm squared (L2)")
    window: float = option(0.1, help="width of the median filter, as a share of training", low=0.0, high=0.5)
    group_by: tuple[str, ...] = option((), help="columns whose values make a group", choices="columns of runs")
    everything_except: tuple[str, ...] = option(
        (), help="or: what may differ within a group (seed, time, host, output, columns)", choices="columns of runs"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the gradient norm and the grouping."""
        tags: dict[str, int] = {}
        for run in store.kept_runs.values():
            if tag := gradient_tag(run):
                tags[tag] = tags.get(tag, 0) + 1
        but = () if self.group_by else self.everything_except or EXCEPT_AT_FIRST
        return replace(self, tag=self.tag or max(tags, key=lambda tag: tags[tag], default=""), everything_except=but)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> RefinedSchedules:
        """Smooth every norm, weigh every step, and put the schedules of a group together."""
        asked = self.resolved(store)
        if not asked.tag:
            raise AnalysisError("No run logs the norm of its gradient.", remedy="Name its tag.")
        found = seed_curves(store, asked.tag, "step", asked.runs, asked.group_by, asked.everything_except)
        most = max((len(x) for group in found for x, _ in group.points), default=0)
        schedules: list[Schedule] = []
        left = 0
        for group in found:
            kept = [i for i, (x, y) in enumerate(group.points) if len(x) >= _FEWEST and bool(np.all(y > 0))]
            left += len(group.runs) - len(kept)
            if kept:
                progress(len(schedules), len(found), "refining schedules")
                curves, points = tuple(group.curves[i] for i in kept), tuple(group.points[i] for i in kept)
                schedules.append(_schedule(replace(group, curves=curves, points=points), asked))
        if not schedules:
            raise TooLittleData(needs=f"at least {_FEWEST} positive gradient norms in a run", found=f"at most {most}")
        estimates = {}
        for one in schedules if len(schedules) <= 20 else []:
            prefix = f"{one.group.name}/" if len(schedules) > 1 else ""
            for name, values in (("warmup_share", one.warmup), ("peak_at_share", one.peak)):
                low, high = resampling.t_interval(values, asked.level)
                why = "" if len(values) > 1 else "one seed"
                estimates[prefix + name] = Estimate(float(values.mean()), float(low), float(high), asked.level, "", why)
        clipped = [one.group.name for one in schedules if _clipped(one)]
        return RefinedSchedules(
            schedules=tuple(schedules),
            tag=asked.tag,
            estimates=estimates,
            tables=_tables(schedules),
            notes=tuple(_notes(schedules, asked, left, clipped)),
        )


def _schedule(group: SeedCurves, asked: ScheduleRefineQuestion) -> Schedule:
    at = np.linspace(0, 1, _PLACES)
    rows, warmup, peak = [], [], []
    for x, y in group.points:
        even = np.linspace(x[0], x[-1], len(x))
        norm = y if np.allclose(even, x) else interpolated(even, x, y)
        rate = refined(norm, 1.0 if asked.optimizer == "adam" else 2.0, asked.window)
        done = np.linspace(0, 1, len(rate))
        rows.append(np.interp(at, done, rate))
        warmup.append(float(done[int(np.argmax(rate >= 0.9))]))
        peak.append(float(done[int(np.argmax(rate))]))
    return Schedule(group, at, np.stack(rows), _used(group, at), np.array(warmup), np.array(peak))


def _used(group: SeedCurves, at: np.ndarray) -> np.ndarray:
    for curve, (x, _) in zip(group.curves, group.points, strict=True):
        for tag, rate in curve.run.curves.items():
            if usefulness(tag) == 6 and len(rate) > 1:
                steps, values = np.asarray(rate.step, float), np.asarray(rate.value, float)
                kept = np.isfinite(values)
                if kept.sum() > 1 and bool(np.all(np.diff(steps[kept]) > 0)) and values[kept].max() > 0:
                    places = x[0] + at * (x[-1] - x[0])
                    return interpolated(places, steps[kept], values[kept] / values[kept].max())
    return np.full(len(at), np.nan)


def _clipped(one: Schedule) -> bool:
    """Whether the norms stop at a value, as those logged after clipping do: a tenth or more equal the greatest."""
    return any(float(np.mean(y >= y.max() * (1 - 1e-6))) > 0.1 for _, y in one.group.points)


def _tables(schedules: list[Schedule]) -> dict[str, pd.DataFrame]:
    rows = [
        {
            "group": one.group.name, "runs": len(one.group.runs), "warmup_share": float(one.warmup.mean()),
            "peak_at_share": float(one.peak.mean()),
            "largest_difference_to_used": float(np.nanmax(np.abs(one.refined.mean(axis=0) - one.used)))
            if np.isfinite(one.used).any() else math.nan,
        }
        for one in schedules
    ]  # fmt: skip
    along = [
        pd.DataFrame(
            {
                "group": one.group.name,
                "share_done": one.at,
                "refined": one.refined.mean(axis=0),
                "used": one.used,
                "linear": 1 - one.at,
            }
        )
        for one in schedules
    ]
    return {"groups": pd.DataFrame(rows), "schedule": pd.concat(along, ignore_index=True)}


def _notes(schedules: list[Schedule], asked: ScheduleRefineQuestion, left: int, clipped: list[str]) -> list[str]:
    power = "1 / norm" if asked.optimizer == "adam" else "1 / norm squared"
    notes = [
        f"Weight {power} of the median-filtered norm ({100 * asked.window:g} % of training); rate: weight times the weight "
        "still to come, its greatest value 1. The value of the rate itself has to be found by other means.",
        "The theory asks for the L1 norm with Adam and the L2 norm with SGD, before clipping; it is advice for a rerun, since "
        "norms depend on the schedule used.",
        "Intervals: Student's t over seeds (unit: the run).",
    ]
    if clipped:
        notes.append(
            f"The norms of {', '.join(clipped[:3])} stop at one value: logged after clipping, they tell nothing."
        )
    if left:
        notes.append(f"{counted(left, 'run')} left out: fewer than {_FEWEST} norms, or one that is not positive.")
    return notes


def figure(question: ScheduleRefineQuestion, result: RefinedSchedules) -> FigureSpec:
    """Draw the refined schedules with the used one and linear decay, and below the norms they come from."""
    marks: list[Mark] = []
    norms: list[Mark] = []
    drawn = result.schedules[:_MOST_DRAWN]
    for place, one in enumerate(drawn):
        hue = f"c{place}"
        behind = Clauses("runs", (is_in("run", one.group.runs),))
        mean = one.refined.mean(axis=0)
        if len(one.refined) >= 3:
            half = float(resampling.t_quantile(question.level, len(one.refined) - 1)) * one.refined.std(axis=0, ddof=1)
            half = half / math.sqrt(len(one.refined))
            marks.append(
                Band(key=f"{one.group.name}/band", x=one.at, low=mean - half, high=mean + half, hue=hue, origin=behind)
            )
        label = f"{shortened(one.group.name, 28)}: refined"
        marks.append(Line(key=one.group.name, x=one.at, y=mean, hue=hue, width=2.0, label=label, origin=behind))
        if np.isfinite(one.used).any():
            label = "used" if len(drawn) == 1 else ""
            marks.append(Line(key=f"{one.group.name}/used", x=one.at, y=one.used, hue=hue, dash="dotted", label=label))
        for key, (x, y) in zip(one.group.runs, one.group.points, strict=True):
            share = (x - x[0]) / (x[-1] - x[0])
            norms.append(
                Line(key=key, x=share, y=drawable(y, log=True), hue=hue, opacity=0.5, origin=Keys("run", (key,)))
            )
    linear = np.array([0.0, 1.0])
    marks.append(Line(key="linear", x=linear, y=1 - linear, hue="muted", dash="dashed", label="linear decay"))
    axis = Axis(label="share of training done")
    panels = (
        Panel(key="schedules", x=axis, y=Axis(label="rate over its greatest", low=0.0), marks=tuple(marks), height=1.4),
        Panel(
            key="norms", x=axis, y=Axis(label=result.tag, scale="log"), marks=tuple(norms), shares_x_with="schedules"
        ),
    )
    more = f"; {_MOST_DRAWN} of {len(result.schedules)} groups drawn" if len(result.schedules) > _MOST_DRAWN else ""
    return FigureSpec(
        title="Schedule refined from gradient norms",
        subtitle=f"dotted: used; band: {significant(100 * question.level)} % t interval over seeds, from three on{more}",
        panels=panels,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="health.schedule-refine",
    title="Refined schedule",
    asks="What schedule do the gradients of a run suggest for the next?",
    question=ScheduleRefineQuestion,
    figure=figure,
    sources=("Defazio et al. (2023), When, Why and How Much? Adaptive Learning Rate Scheduling by Refinement",),
    definition="""\
$\\hat G$: median filter of the gradient norm, width $2\\lfloor\\lfloor0.1T\\rfloor/2\\rfloor+1$, reflected at the ends;
$w=\\hat G^{-2}$ (SGD, L2) or $\\hat G^{-1}$ (Adam, L1); $\\eta_t\\propto w_t\\sum_{p>t}w_p$, its greatest value 1. A constant
norm gives linear decay, $1-t/T$. Over seeds: mean and t interval (unit: the run).

Needs norms before clipping. It gives the shape, not the height, of the schedule, and it is advice for a rerun.
""",
)
