"""``health.noise-scale``: whether the batch is too small or wastefully big, from gradient norms at two batch sizes.

The squared norm of a mean gradient is that of the true one plus noise that falls with the batch; two sizes tell them apart.
Estimates of single steps are useless (even negative): numerator and denominator are averaged before they are divided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Keys, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, significant
from ...models.store import RunStore
from .. import resampling
from ..alignment import aligned
from ..curve_marks import drawable

_FEWEST = 20


def true_and_noise(
    small: np.ndarray, big: np.ndarray, small_batch: float, big_batch: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give unbiased estimates of the squared norm of the true gradient, and of the trace of its covariance.

    Parameters
    ----------
    small, big : ndarray
        Squared norms of mean gradients over `small_batch` and `big_batch` examples.

    Notes
    -----
    McCandlish et al. (2018), *An Empirical Model of Large-Batch Training*, appendix A.1.
    """
    true = (big_batch * big - small_batch * small) / (big_batch - small_batch)
    noise = (small - big) / (1 / small_batch - 1 / big_batch)
    return np.asarray(true), np.asarray(noise)


@dataclass(frozen=True, slots=True)
class NoiseScale:
    """The noise scale of one run.

    Attributes
    ----------
    run, name, hue : str
    step : ndarray, shape (blocks,)
        Middle of each block.
    value, low, high : ndarray, shape (blocks,)
        Noise scale of each block; infinite or NaN where the true gradient is lost in noise.
    whole : tuple of (float, float, float)
        Over all steps.
    coherence : float
        Squared norm of the true gradient over the mean squared norm of a single example's.
    negative : float
        Share of steps whose own estimate of the true gradient is negative.
    """

    run: str
    name: str
    hue: str
    step: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    whole: tuple[float, float, float]
    coherence: float
    negative: float


@dataclass(frozen=True, kw_only=True)
class NoiseScales(Result):
    """Runs and their gradient noise scale.

    Attributes
    ----------
    runs : tuple of NoiseScale
    batch : float
        Batch that is trained with.
    """

    runs: tuple[NoiseScale, ...]
    batch: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = [f"{shortened(one.name, 30)} {significant(one.whole[0], 3)}" for one in self.runs[:3]]
        more = f" and {len(self.runs) - 3} more" if len(self.runs) > 3 else ""
        return f"Gradient noise scale (examples), against a batch of {self.batch:,.6g}: {', '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class NoiseScaleQuestion(Question):
    """Is the batch too small, or wastefully big?"""

    needs: ClassVar = (Need("scalars"),)

    small: str = option("", help="norm of the gradient of the small batch", choices="tags")
    big: str = option("", help="norm of the gradient of the big batch", choices="tags")
    small_batch: float = option(
        1.0, help="examples in the small batch; 1 for norms of single examples", unit="examples", low=1.0
    )
    big_batch: float = option(0.0, help="examples in the big batch", unit="examples", low=0.0)
    batch: float = option(0.0, help="batch that is trained with; 0 takes the big one", unit="examples", low=0.0)
    squared: bool = option(False, help="the tags hold squared norms already")
    blocks: int = option(20, help="blocks of steps that are averaged", low=1, high=1000)
    theta: float = option(
        1.0, help="norm test: noise of the batch over the true gradient that is allowed", low=0.01, advanced=True
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(1000, help="draws of the bootstrap over steps", low=100, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", advanced=True)
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the batch that is trained with."""
        return replace(self, batch=self.batch or self.big_batch)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> NoiseScales:
        """Average both estimates over blocks of steps, and divide."""
        asked = self.resolved(store)
        if not asked.small or not asked.big or not asked.small_batch < asked.big_batch:
            raise AnalysisError(
                "Gradient norms at two batch sizes are needed, the small one below the big one.",
                remedy="Set small, big, small_batch and big_batch. Tags: " + ", ".join(list(store.tags())[:12]) + ".",
            )
        bigs = {one.run.key: one.latest() for one in aligned(store, asked.big, "step", asked.runs)}
        runs: list[NoiseScale] = []
        most = 0
        for one in aligned(store, asked.small, "step", asked.runs):
            if one.run.key in bigs:
                x, y = one.latest()
                step, i, j = np.intersect1d(x, bigs[one.run.key][0], return_indices=True)
                most = max(most, len(step))
                if len(step) >= _FEWEST:
                    progress(len(runs), len(bigs), "averaging norms")
                    power = 1 if asked.squared else 2
                    pair = (y[i] ** power, bigs[one.run.key][1][j] ** power)
                    runs.append(_scale(one.run.key, one.run.name, one.run.ordinal, step, *pair, asked))
        if not runs:
            raise TooLittleData(needs=f"at least {_FEWEST} steps with both norms", found=f"at most {most}")
        return NoiseScales(
            runs=tuple(runs),
            batch=asked.batch,
            estimates=_estimates(runs, asked),
            tables=_tables(runs, asked),
            notes=tuple(_notes(runs, asked)),
        )


def _ratio(noise: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Give noise over true, infinite where the mean of the true gradient is not above 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(true > 0, noise / true, np.inf))


def _scale(
    key: str, name: str, ordinal: int, step: np.ndarray, small: np.ndarray, big: np.ndarray, asked: NoiseScaleQuestion
) -> NoiseScale:
    true, noise = true_and_noise(small, big, asked.small_batch, asked.big_batch)
    generator = resampling.DrawBlock(asked.seed, 0, asked.draws).generator()

    def with_ends(places: np.ndarray) -> tuple[float, float, float]:
        value = float(_ratio(noise[places].mean(), true[places].mean()))
        # Blocks of neighbouring steps, whose gradients are alike.
        length = max(1, round(len(places) ** (1 / 3)))
        starts = generator.integers(len(places) - length + 1, size=(asked.draws, -(-len(places) // length)))
        picked = places[(starts[..., None] + np.arange(length)).reshape(asked.draws, -1)[:, : len(places)]]
        drawn = np.sort(_ratio(noise[picked].mean(axis=1), true[picked].mean(axis=1)))
        low = drawn[int((1 - asked.level) / 2 * (len(drawn) - 1))]
        high = drawn[math.ceil((1 + asked.level) / 2 * (len(drawn) - 1))]
        return value, float(low), float(high)

    parts = [part for part in np.array_split(np.arange(len(step)), min(asked.blocks, len(step) // 10)) if len(part)]
    ends = np.array([with_ends(part) for part in parts])
    single = float(true.mean() + noise.mean())
    return NoiseScale(
        key, name, f"c{ordinal}", np.array([float(step[part].mean()) for part in parts]), ends[:, 0], ends[:, 1], ends[:, 2],
        with_ends(np.arange(len(step))), float(true.mean()) / single if single > 0 else math.nan, float(np.mean(true < 0)),
    )  # fmt: skip


def _estimates(runs: list[NoiseScale], asked: NoiseScaleQuestion) -> dict[str, Estimate]:
    estimates = {}
    for one in runs if len(runs) <= 20 else []:
        prefix = f"{one.run}/" if len(runs) > 1 else ""
        value, low, high = one.whole
        known = math.isfinite(high)
        ends, why = (
            ((low, high), "")
            if known
            else ((math.nan, math.nan), "its upper end is open: the gradient is lost in noise")
        )
        estimates[f"{prefix}noise_scale"] = Estimate(value, *ends, asked.level, "examples", why)
        estimates[f"{prefix}coherence"] = Estimate(one.coherence, why_no_interval="1 / (1 + noise scale): see there")
        norm_test = value / asked.theta**2
        at = tuple(end / asked.theta**2 for end in ends)
        estimates[f"{prefix}norm_test_batch"] = Estimate(norm_test, at[0], at[1], asked.level, "examples", why)
    return estimates


def _tables(runs: list[NoiseScale], asked: NoiseScaleQuestion) -> dict[str, pd.DataFrame]:
    rows = [
        {
            "run": one.run, "name": one.name, "noise_scale": one.whole[0], "low": one.whole[1], "high": one.whole[2],
            "coherence": one.coherence, "batch": asked.batch, "batch_over_noise_scale": asked.batch / one.whole[0],
            "share_of_steps_negative": one.negative,
        }
        for one in runs
    ]  # fmt: skip
    along = [
        pd.DataFrame({"run": one.run, "step": one.step, "noise_scale": one.value, "low": one.low, "high": one.high})
        for one in runs
    ]
    return {"runs": pd.DataFrame(rows), "blocks": pd.concat(along, ignore_index=True)}


def _notes(runs: list[NoiseScale], asked: NoiseScaleQuestion) -> list[str]:
    notes = [
        f"Noise scale: trace of the covariance over the squared norm of the true gradient, from norms at {asked.small_batch:g} "
        f"and {asked.big_batch:g} examples; both averaged over steps, then divided.",
        f"Intervals: moving-block bootstrap of steps, {asked.draws:,} draws (unit: a block of neighbouring steps).",
        "A batch far below it gains from growing almost in proportion; far above it hardly at all. Norms after clipping tell "
        "nothing.",
    ]
    worst = max(one.negative for one in runs)
    if worst > 0:
        notes.append(
            f"In up to {100 * worst:.0f} % of the steps of a run its own estimate of the true gradient is negative."
        )
    if lost := sum(not math.isfinite(one.whole[0]) for one in runs):
        notes.append(f"The true gradient of {counted(lost, 'run')} is lost in noise: the scale is infinite.")
    return notes


def figure(question: NoiseScaleQuestion, result: NoiseScales) -> FigureSpec:
    """Draw the noise scale along training, and the batch."""
    marks: list[Mark] = []
    for one in result.runs[:12]:
        behind = Keys("run", (one.run,))
        low, high = drawable(one.low, log=True), drawable(one.high, log=True)
        marks.append(Band(key=f"{one.run}/band", x=one.step, low=low, high=high, hue=one.hue, origin=behind))
        label = f"{shortened(one.name, 30)}: {significant(one.whole[0], 3)}"
        y = drawable(one.value, log=True)
        marks.append(Line(key=one.run, x=one.step, y=y, hue=one.hue, width=1.8, label=label, origin=behind))
    marks.append(Rule(key="batch", axis="y", at=result.batch, hue="accent", label="batch", option="batch"))
    panel = Panel(
        key="scale",
        x=Axis(label="step", column="step"),
        y=Axis(label="noise scale (examples)", scale="log"),
        marks=tuple(marks),
    )
    return FigureSpec(
        title="Gradient noise scale and batch",
        subtitle=f"means over blocks of steps; band: {100 * question.level:g} % interval, bootstrap of blocks of steps",
        panels=(panel,),
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )


ANALYSIS = Analysis(
    id="health.noise-scale",
    title="Gradient noise scale",
    asks="Is the batch too small, or wastefully big?",
    question=NoiseScaleQuestion,
    figure=figure,
    sources=(
        "McCandlish et al. (2018), An Empirical Model of Large-Batch Training",
        "Byrd et al. (2012), Sample size selection in optimization methods for machine learning: norm test",
    ),
    definition="""\
With $g_i$ the squared norm of a mean gradient over $B_i$ examples: $\\|G\\|^2=\\frac{B_2g_2-B_1g_1}{B_2-B_1}$,
$\\mathrm{tr}\\,\\Sigma=\\frac{g_1-g_2}{1/B_1-1/B_2}$, noise scale $\\mathrm{tr}\\,\\Sigma/\\|G\\|^2$; with $B_1=1$
these are the norms of single examples. Coherence: $\\|G\\|^2/(\\|G\\|^2+\\mathrm{tr}\\,\\Sigma)=1/(1+\\text{scale})$. The
norm test asks for $b\\ge\\mathrm{tr}\\,\\Sigma/(\\theta^2\\|G\\|^2)$.

Averaged over steps before dividing. Unit: a block of neighbouring steps (moving-block bootstrap).
""",
)
