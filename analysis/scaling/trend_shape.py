"""``scaling.trend-shape``: does a task improve with scale, worsen, turn, or break through?"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened
from ...models.selection import is_in
from ...models.store import RunStore
from ..resampling import t_quantile
from ..score_table import chosen_scores

_SIZES, _SHOWN = 5, 7
_CAP = 100.0
_LEAST_RISE = 0.1
_SCALE = re.compile(r"flop|compute|param|size|tokens|scale|n_train", re.IGNORECASE)


def linearity(scores: np.ndarray) -> float:
    """Give the linearity of scores ordered by scale, L = (I / n) / sqrt(mean of squared steps), n the number of scores.

    I is the sign of (place of the highest - place of the lowest) times their difference (Srivastava et al. 2022, *Beyond the
    imitation game*, appendix C). 0 where nothing moves.

    Notes
    -----
    The example of the catalogue, (0, 1/3, 2/3, 1), has L = 0.75 with n = 4 scores, which fixes the normaliser.
    """
    steps = np.diff(scores)
    mean = float(np.mean(steps**2))
    return _improvement(scores) / len(scores) / math.sqrt(mean) if mean > 0 else 0.0


def breakthroughness(scores: np.ndarray) -> float:
    """Give B = I / sqrt(median of squared steps), at most 100 in size; 0 where nothing moves."""
    steps = np.diff(scores)
    improvement = _improvement(scores)
    middle = math.sqrt(float(np.median(steps**2)))
    if improvement == 0:
        return 0.0
    return float(np.clip(improvement / middle if middle > 0 else math.copysign(_CAP, improvement), -_CAP, _CAP))


def _improvement(scores: np.ndarray) -> float:
    high, low = int(np.argmax(scores)), int(np.argmin(scores))
    return float(np.sign(high - low) * (scores[high] - scores[low]))


def composed(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Give the accuracy of a task that is right where two skills are both right or both wrong, p q + (1 - p)(1 - q)."""
    return np.asarray(p * q + (1 - p) * (1 - q))


@dataclass(frozen=True, slots=True)
class Shape:
    """The trend of one task in one family.

    Attributes
    ----------
    task, family : str
    label : {'improves', 'worsens', 'U', 'inverted U', 'breakthrough', 'flat', 'too few sizes'}
    tau, p : float
        Kendall's tau-b of score and scale, and its p.
    slope, low, high : float
        Score per decade of scale, and its t interval.
    vertex : float
        Scale at which it turns; NaN where it does not.
    linearity, breakthroughness : float
    """

    task: str
    family: str
    label: str
    n: int
    tau: float
    p: float
    slope: float
    low: float
    high: float
    vertex: float
    linearity: float
    breakthroughness: float
    quadratic: tuple[float, float, float]


def shape_of(task: str, family: str, scale: np.ndarray, scores: np.ndarray, level: float = 0.95) -> Shape:
    """Type the trend of scores, shape (n,), over a positive scale.

    It turns ('U', 'inverted U') where a parabola in log scale has a lower AICc than the line, its curvature differs from
    zero, and the interval of its vertex (delta method) lies inside the sizes. Else it goes by the interval of the slope; a
    rise is a breakthrough where B >= 20 and it is at least 0.1, more than half of it in one step. The thresholds are ours.
    """
    from scipy.stats import kendalltau

    order = np.argsort(scale, kind="stable")
    x, y = np.log10(scale[order]), scores[order]
    n = len(x)
    nothing = (math.nan, math.nan, math.nan)
    if len(np.unique(x.round(9))) < _SIZES:
        return Shape(
            task, family, "too few sizes", n, math.nan, math.nan, *nothing, math.nan, math.nan, math.nan, nothing
        )
    if np.ptp(y) == 0:
        return Shape(task, family, "flat", n, math.nan, 1.0, 0.0, 0.0, 0.0, math.nan, 0.0, 0.0, (float(y[0]), 0.0, 0.0))
    tau, p = kendalltau(x, y)
    u = x - x.mean()
    line, spread_line, cost_line = _least_squares(np.stack([np.ones(n), u], axis=1), y)
    t = float(t_quantile(level, n - 2))
    half = t * math.sqrt(spread_line[1, 1])
    curve, spread, cost = _least_squares(np.stack([np.ones(n), u, u**2], axis=1), y)
    vertex = math.nan
    turned = False
    if n > 5 and curve[2] != 0:
        t3 = float(t_quantile(level, n - 3))
        centre = -curve[1] / (2 * curve[2])
        gradient = np.array([0.0, -1 / (2 * curve[2]), curve[1] / (2 * curve[2] ** 2)])
        width = t3 * math.sqrt(max(float(gradient @ spread @ gradient), 0.0))
        inside = u.min() < centre - width and centre + width < u.max()
        curved = abs(curve[2]) > t3 * math.sqrt(spread[2, 2])
        turned = bool(inside and curved and _aicc(cost, n, 4) < _aicc(cost_line, n, 3))
        if turned:
            vertex = float(10 ** (centre + x.mean()))
    B, L = breakthroughness(y), linearity(y)
    steps = np.diff(y)
    if B >= 20 and np.ptp(y) >= _LEAST_RISE and steps.max() > 0.5 * np.ptp(y) + 1e-12:
        label, turned, vertex = "breakthrough", False, math.nan
    elif turned:
        label = "U" if curve[2] > 0 else "inverted U"
    else:
        label = "improves" if line[1] - half > 0 else "worsens" if line[1] + half < 0 else "flat"
    shift = float(x.mean())
    c = (
        float(curve[0] - curve[1] * shift + curve[2] * shift**2),
        float(curve[1] - 2 * curve[2] * shift),
        float(curve[2]),
    )
    straight = (float(line[0] - line[1] * shift), float(line[1]), 0.0)
    return Shape(
        task, family, label, n, float(tau), float(p), float(line[1]), float(line[1] - half), float(line[1] + half), vertex,
        L, B, c if turned else straight,
    )  # fmt: skip


def _least_squares(design: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Give coefficients, their covariance and the sum of squares."""
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ coefficients
    cost = float(residual @ residual)
    return coefficients, np.linalg.inv(design.T @ design) * cost / max(len(y) - design.shape[1], 1), cost


def _aicc(cost: float, n: int, k: int) -> float:
    penalty = 2 * k + 2 * k * (k + 1) / (n - k - 1) if n - k - 1 > 0 else math.inf
    return n * math.log(max(cost, 1e-300) / n) + penalty


@dataclass(frozen=True, kw_only=True)
class TrendShapes(Result):
    """Trends of tasks.

    Attributes
    ----------
    shapes : tuple of Shape
    points : DataFrame
        model, task, family, scale, value (normalised where chance is known).
    scale : str
    """

    shapes: tuple[Shape, ...]
    points: pd.DataFrame
    scale: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        counts = pd.Series([shape.label for shape in self.shapes]).value_counts()
        said = ", ".join(f"{count} {label}" for label, count in counts.items())
        return f"Of {counted(len(self.shapes), 'trend')} over {self.scale}: {said}."


@dataclass(frozen=True, kw_only=True)
class TrendShapeQuestion(Question):
    """Does the task improve with scale, worsen, or turn?"""

    needs: ClassVar = (Need("scores"),)

    scale: str = option("", help="size axis: a numeric column of the scores, or of the runs called as the models",
                        choices="numbers of scores|numbers of runs")  # fmt: skip
    family: str = option("", help="column of the scores within which trends are typed; all models together if empty",
                         choices="columns of scores")  # fmt: skip
    metric: str = option("", help="metric of the scores; the first of each task if empty", choices="scores.metric")
    tasks: tuple[str, ...] = option((), help="tasks; all if empty", choices="scores.task")
    chance: float | None = option(
        None, help="score of guessing: scores are then (score − chance) / (1 − chance)", low=0, high=0.99
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the size axis and the family."""
        frame = store.rows("scores")
        asked = self
        if not asked.scale:
            numbers = [str(name) for name in frame.columns if frame[name].dtype.kind in "fiu"]
            named = [name for name in numbers if _SCALE.search(name) and name not in ("n", "value")]
            named.sort(key=lambda name: not re.search(r"flop|compute", name, re.IGNORECASE))
            found = next(iter(named), "")
            if not found and store.has_rows("runs"):
                runs = store.rows("runs")
                runs = runs[runs["run"].isin(set(frame["model"].astype(str)))]
                found = next(
                    (name for name in ("flops", "params", "tokens") if name in runs and runs[name].notna().any()), ""
                )
            asked = replace(asked, scale=found or ("step" if "step" in numbers else ""))
        if not asked.family:
            named = [str(name) for name in frame.columns if re.search("famil", str(name), re.IGNORECASE)]
            family = next(iter(named), "model" if asked.scale == "step" else "")
            asked = replace(asked, family=family)
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> TrendShapes:
        """Type the trend of every task in every family."""
        from ..resampling import holm

        asked = self.resolved(store)
        points, notes = _points(store, asked)
        shapes = []
        groups = list(points.groupby(["task", "family"], sort=False))
        for number, ((task, family), own) in enumerate(groups):
            progress(number, len(groups))
            mean = own.groupby("scale", as_index=False)["value"].mean()
            shapes.append(
                shape_of(
                    str(task), str(family), mean["scale"].to_numpy(float), mean["value"].to_numpy(float), asked.level
                )
            )
        typed = [shape for shape in shapes if shape.label != "too few sizes"]
        if not typed:
            most = max((shape.n for shape in shapes), default=0)
            raise TooLittleData(needs=f"at least {_SIZES} sizes of a family", found=str(most))
        if left := len(shapes) - len(typed):
            notes.append(f"{counted(left, 'trend')} of fewer than {_SIZES} sizes are not typed.")
        adjusted = holm(np.array([shape.p for shape in typed]))
        table = pd.DataFrame([{key: getattr(shape, key) for key in (
            "task", "family", "label", "n", "tau", "p", "slope", "low", "high", "vertex", "linearity", "breakthroughness"
        )} for shape in typed]).assign(p_holm=adjusted)  # fmt: skip
        estimates: dict[str, Estimate] = {}
        for shape in typed[:200]:
            name = f"{shape.task}/{shape.family}" if points["family"].nunique() > 1 else shape.task
            estimates[f"{name}/slope"] = Estimate(
                shape.slope, shape.low, shape.high, asked.level, "score per decade", "the scores do not move"
            )
            estimates[f"{name}/tau"] = Estimate(shape.tau, why_no_interval="see its p")
        return TrendShapes(
            shapes=tuple(typed), points=points, scale=asked.scale, estimates=estimates,
            tables={"trends": table, "points": points},
            notes=(
                f"Slope of the score per decade of {asked.scale}, {100 * asked.level:g} % t interval over sizes; models of one "
                f"size are averaged; turned where a parabola has the lower AICc and its vertex, with its interval, lies inside "
                f"the sizes; p of tau-b adjusted by Holm for {len(typed)} tests.",
                "One noisy last point makes a breakthrough, and thresholded metrics create it: look at the metric chain.",
                *notes,
            ),
        )  # fmt: skip


def _points(store: RunStore, asked: TrendShapeQuestion) -> tuple[pd.DataFrame, list[str]]:
    rows = store.rows("scores")
    by_step = asked.scale == "step"
    scores = chosen_scores(store, metric=asked.metric, apart=("step",) if by_step else ())
    frame = scores.frame
    if asked.tasks:
        frame = frame[frame["task"].isin(asked.tasks)]
    first = rows.assign(model=rows["model"].astype(str)).groupby("model", sort=False)
    if by_step:
        scale: Any = frame["step"]
    elif asked.scale in rows.columns:
        scale = frame["model"].astype(str).map(first[asked.scale].first())
    elif store.has_rows("runs") and asked.scale in store.columns("runs"):
        runs = store.rows("runs").drop_duplicates("run").set_index("run")
        scale = frame["model"].astype(str).map(runs[asked.scale])
    else:
        raise AnalysisError(
            f"Nothing says how large the models are{f' ({asked.scale!r})' if asked.scale else ''}.",
            remedy="Name a numeric column of the scores with --scale.",
        )
    if asked.family == "model":
        family: Any = frame["model"].astype(str)
    elif asked.family:
        if asked.family not in rows.columns:
            raise AnalysisError(f"The scores have no column called {asked.family!r}.", remedy="Choose another family.")
        family = frame["model"].astype(str).map(first[asked.family].first()).astype(str)
    else:
        family = "all"
    value = frame["value"].astype(float)
    if asked.chance is not None:
        value = (value - asked.chance) / (1 - asked.chance)
    points = pd.DataFrame(
        {"model": frame["model"].astype(str), "task": frame["task"].astype(str), "family": family,
         "scale": pd.to_numeric(scale, errors="coerce").astype(float), "value": value}
    )  # fmt: skip
    known = np.isfinite(points[["scale", "value"]].to_numpy(float)).all(axis=1) & (points["scale"] > 0).to_numpy()
    notes = [note for note in scores.notes if "direction" not in note]
    if lost := int((~known).sum()):
        notes.append(f"{counted(lost, 'score')} left out: no size above 0.")
    return points[known].reset_index(drop=True), notes


_HUES = {"improves": "good", "worsens": "bad", "U": "c0", "inverted U": "c1", "breakthrough": "accent", "flat": "muted"}


def figure(question: TrendShapeQuestion, result: TrendShapes) -> FigureSpec:
    """Draw the most telling trends as small multiples, and linearity against breakthroughness of all."""
    several = len({shape.family for shape in result.shapes}) > 1
    ranked = sorted(
        result.shapes, key=lambda shape: (shape.label == "flat", -abs(shape.tau if shape.tau == shape.tau else 0))
    )
    chosen: list[Shape] = []
    for label in ("inverted U", "U", "breakthrough", "worsens", "improves", "flat"):
        chosen += [shape for shape in ranked if shape.label == label][: 3 if label == "improves" else 2]
    panels = []
    for shape in chosen[:_SHOWN]:
        own = result.points[(result.points["task"] == shape.task) & (result.points["family"] == shape.family)]
        x, y = own["scale"].to_numpy(float), own["value"].to_numpy(float)
        through = np.geomspace(x.min(), x.max(), 60)
        logs = np.log10(through)
        fitted = shape.quadratic[0] + shape.quadratic[1] * logs + shape.quadratic[2] * logs**2
        hue = _HUES[shape.label]
        marks: tuple[Mark, ...] = (
            Points(
                key="scores",
                x=x,
                y=y,
                hue=hue,
                size=5.0,
                origin=Keys("model", tuple(own["model"])),
                notes=tuple(own["model"]),
            ),
            Line(key="trend", x=through, y=fitted, hue=hue, width=1.5),
            *([Rule(key="vertex", axis="x", at=shape.vertex)] if shape.vertex == shape.vertex else []),
        )
        name = f"{shape.task}, {shape.family}" if several else shape.task
        panels.append(
            Panel(
                key=f"{shape.task}/{shape.family}", x=Axis(label=result.scale, scale="log", column=result.scale),
                y=Axis(label="score"), marks=marks, title=f"{shortened(name, 26)}: {shape.label}", legend=False,
            )
        )  # fmt: skip
    plane: list[Mark] = []
    for label, hue in _HUES.items():
        own_shapes = [shape for shape in result.shapes if shape.label == label]
        if own_shapes:
            plane.append(
                Points(
                    key=label, x=np.array([shape.linearity for shape in own_shapes]),
                    y=np.array([shape.breakthroughness for shape in own_shapes]), hue=hue, size=6.0,
                    label=f"{label}, {len(own_shapes)}", notes=tuple(f"{one.task}, {one.family}" for one in own_shapes),
                    origin=Clauses("scores", tuple(is_in("task", (one.task,)) for one in own_shapes)),
                )
            )  # fmt: skip
    panels.append(
        Panel(key="plane", x=Axis(label="linearity L"), y=Axis(label="breakthroughness B"), marks=tuple(plane))
    )
    return FigureSpec(
        title=f"Trends over {result.scale}", subtitle=result.summary(), panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.trend-shape",
    title="Trend typing",
    asks="Does the task improve with scale, worsen, turn, or break through?",
    question=TrendShapeQuestion,
    figure=figure,
    sources=("Srivastava et al. (2022), Beyond the imitation game", "McKenzie et al. (2023), Inverse scaling"),
    definition="""\
Score against $\\log_{10}$ scale within a family: slope with t interval, Kendall's $\\tau_b$ (Holm over all tests). U
and inverted U:
a parabola with lower AICc than the line, curvature that differs from 0, and the vertex with its interval inside the sizes.
$I = \\mathrm{sign}(\\arg\\max - \\arg\\min)(\\max - \\min)$, $B = I / \\sqrt{\\mathrm{median}\\,\\Delta^2}$ (at most
100), $L = (I/n) /
\\sqrt{\\mathrm{mean}\\,\\Delta^2}$. With `chance`, scores are $(s - chance)/(1 - chance)$. At least five sizes.

Traps: one noisy last point makes a breakthrough; thresholded metrics create it.
""",
)
