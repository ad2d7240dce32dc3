"""``reward.overoptimisation``: how far a policy can be pushed along a proxy reward before real quality falls.

Gold score (and proxy) against d, the square root of the divergence from the start, with the two laws that were found for
best-of-n and for reinforcement learning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.run_groups import EXCEPT_AT_FIRST
from ...models.selection import is_in
from ...models.store import RunStore
from .. import resampling
from ..alignment import aligned, interpolated
from ..grouping import grouped

_FEWEST = 5


def best_of_n_divergence(n: np.ndarray | float) -> np.ndarray:
    """Give the divergence of best-of-n from its start, ``ln n - (n - 1) / n`` (an upper bound for discrete outputs).

    Stiennon et al. (2020), *Learning to summarize from human feedback*, appendix G.3.
    """
    n = np.asarray(n, float)
    return np.asarray(np.log(n) - (n - 1) / n)


def law_terms(d: np.ndarray, law: str) -> np.ndarray:
    """Give what alpha and -beta are multiplied with, shape (n, 2): d and d squared, or d and d ln d."""
    with np.errstate(divide="ignore", invalid="ignore"):
        second = d**2 if law == "best-of-n" else np.where(d > 0, d * np.log(d), 0.0)
    return np.stack([d, -second], axis=-1)


def peak_at(alpha: float, beta: float, law: str) -> float:
    """Give the d at which a law is greatest: alpha / (2 beta), or exp(alpha / beta - 1); infinite where beta <= 0."""
    if beta <= 0:
        return math.inf
    return alpha / (2 * beta) if law == "best-of-n" else math.exp(min(alpha / beta - 1, 700.0))


@dataclass(frozen=True, slots=True)
class Pushed:
    """The runs of one group along d.

    Attributes
    ----------
    name, hue : str
    runs : tuple of str
    d, gold, proxy : ndarray, shape (n,)
        Points of all runs; proxy is NaN without one. Gold and proxy start at 0.
    alpha, beta, peak : tuple of (float, float, float)
        With intervals.
    peak_proxy : float
        Proxy where gold peaks; NaN where the peak is not reached.
    reached : bool
        Whether the peak lies within the data.
    """

    name: str
    hue: str
    runs: tuple[str, ...]
    d: np.ndarray
    gold: np.ndarray
    proxy: np.ndarray
    alpha: tuple[float, float, float]
    beta: tuple[float, float, float]
    peak: tuple[float, float, float]
    peak_proxy: float
    reached: bool


@dataclass(frozen=True, kw_only=True)
class Overoptimisation(Result):
    """Groups along d, with the law fitted to each.

    Attributes
    ----------
    groups : tuple of Pushed
    law, gold, proxy : str
    """

    groups: tuple[Pushed, ...]
    law: str
    gold: str
    proxy: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for one in self.groups[:3]:
            where = f"peaks at d = {with_interval(*one.peak)}" if one.reached else "does not peak within the data"
            said.append(f"{shortened(one.name, 30)} {where}" if len(self.groups) > 1 else where)
        return f"{self.gold} {'; '.join(said)} (d: square root of the divergence)."


@dataclass(frozen=True, kw_only=True)
class OveroptimisationQuestion(Question):
    """At what divergence, or proxy reward, does real quality peak?"""

    needs: ClassVar = (Need("scalars"),)

    gold: str = option("", help="score that counts; empty looks for a tag with 'gold'", choices="tags")
    proxy: str = option("", help="reward that was optimised; empty looks for 'proxy' or 'reward'", choices="tags")
    divergence: str = option("", help="KL from the start, a sequence; empty looks for a tag with 'kl'", choices="tags")
    samples: str = option("", help="or: tag with n of best-of-n, from which KL follows", choices="tags")
    law: Literal["rl", "best-of-n"] = option("rl", help="d (a - b ln d), or d (a - b d)")
    group_by: tuple[str, ...] = option((), help="columns whose values make a group", choices="columns of runs")
    everything_except: tuple[str, ...] = option(
        (), help="or: what may differ within a group (seed, time, host, output, columns)", choices="columns of runs"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(1000, help="draws of the bootstrap", low=100, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", advanced=True)
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the tags from their names, and the grouping."""

        def named(*words: str) -> str:
            return next((tag for word in words for tag in store.tags() if word in tag.lower()), "")

        gold = self.gold or named("gold")
        proxy = self.proxy or next(
            (t for w in ("proxy", "reward") for t in store.tags() if w in t.lower() and t != gold), ""
        )
        divergence = self.divergence or ("" if self.samples else named("kl"))
        but = () if self.group_by else self.everything_except or EXCEPT_AT_FIRST
        return replace(self, gold=gold, proxy=proxy, divergence=divergence, everything_except=but)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Overoptimisation:
        """Join gold, proxy and divergence on the step, and fit the law to every group."""
        asked = self.resolved(store)
        if not asked.gold or not (asked.divergence or asked.samples):
            raise AnalysisError(
                "A gold score and a divergence (or n of best-of-n) are needed.",
                remedy="Name them. Tags: " + ", ".join(list(store.tags())[:12]) + ".",
            )
        points, negative = _points(store, asked)
        most = max((len(np.unique(d)) for d, *_ in points.values()), default=0)
        groups: list[Pushed] = []
        members = grouped(store, points, asked.group_by, asked.everything_except) if points else []
        for number, group in enumerate(members):
            progress(number, len(members), "fitting")
            one = [points[key] for key in group.runs]
            if len(np.unique(np.concatenate([d for d, *_ in one]))) >= _FEWEST:
                groups.append(_pushed(group.name, group.hue, group.runs, one, asked))
        if not groups:
            raise TooLittleData(needs=f"at least {_FEWEST} levels of the divergence", found=f"at most {most}")
        return Overoptimisation(
            groups=tuple(groups),
            law=asked.law,
            gold=asked.gold,
            proxy=asked.proxy,
            estimates=_estimates(groups, asked),
            tables=_tables(groups),
            notes=tuple(_notes(groups, asked, len(members) - len(groups), negative)),
        )


def _points(
    store: RunStore, asked: OveroptimisationQuestion
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], int]:
    """Give d, gold and proxy of every run, gold and proxy less their first value; and how many KL were negative."""
    along = asked.samples or asked.divergence
    axes = {one.run.key: one.latest() for one in aligned(store, along, "step", asked.runs)}
    proxies = (
        {one.run.key: one.latest() for one in aligned(store, asked.proxy, "step", asked.runs)} if asked.proxy else {}
    )
    found, negative = {}, 0
    for one in aligned(store, asked.gold, "step", asked.runs):
        key = one.run.key
        if key not in axes:
            continue
        x, gold = one.latest()
        divergence = interpolated(x, *axes[key])
        divergence = best_of_n_divergence(divergence) if asked.samples else divergence
        negative += int(np.count_nonzero(divergence < -1e-9))
        kept = np.isfinite(divergence) & (divergence >= -1e-9)
        d = np.sqrt(np.clip(divergence[kept], 0, None))
        proxy = interpolated(x, *proxies[key])[kept] if key in proxies else np.full(int(kept.sum()), np.nan)
        if len(d):
            first = int(np.argmin(d))
            # The laws start at 0: what the policy scored at its start is taken off where that was logged.
            start = d[first] < 1e-3
            found[key] = (
                d,
                gold[kept] - (gold[kept][first] if start else 0.0),
                proxy - (proxy[first] if start else 0.0),
            )
    return found, negative


def _fitted(d: np.ndarray, gold: np.ndarray, law: str) -> tuple[float, float]:
    alpha, beta = np.linalg.lstsq(law_terms(d, law), gold, rcond=None)[0]
    return float(alpha), float(beta)


def _pushed(
    name: str, hue: str, runs: tuple[str, ...], points: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    asked: OveroptimisationQuestion,
) -> Pushed:  # fmt: skip
    d, gold, proxy = (np.concatenate([one[i] for one in points]) for i in range(3))
    alpha, beta = _fitted(d, gold, asked.law)
    peak = peak_at(alpha, beta, asked.law)
    generator = resampling.DrawBlock(asked.seed, 0, asked.draws).generator()
    draws = []
    for _ in range(asked.draws):
        if len(points) >= 3:
            picked = [points[i] for i in generator.integers(len(points), size=len(points))]
            draws.append(
                _fitted(np.concatenate([p[0] for p in picked]), np.concatenate([p[1] for p in picked]), asked.law)
            )
        else:
            rows = generator.integers(len(d), size=len(d))
            draws.append(_fitted(d[rows], gold[rows], asked.law))
    ends = resampling.percentile_interval(np.array(draws), asked.level)
    peaks = np.array([peak_at(a, b, asked.law) for a, b in draws])
    # Percentiles by order, so that draws whose law never falls count as infinite.
    ordered = np.sort(peaks)
    low_peak = float(ordered[int((1 - asked.level) / 2 * (len(ordered) - 1))])
    high_peak = float(ordered[math.ceil((1 + asked.level) / 2 * (len(ordered) - 1))])
    reached = peak <= float(d.max())
    lows, highs = np.asarray(ends.low), np.asarray(ends.high)
    order = np.argsort(d, kind="stable")
    at_peak = float(np.interp(peak, d[order], proxy[order])) if reached and np.isfinite(proxy).all() else math.nan
    return Pushed(
        name, hue, runs, d, gold, proxy, (alpha, float(lows[0]), float(highs[0])), (beta, float(lows[1]), float(highs[1])),
        (peak, low_peak, high_peak), at_peak, reached,
    )  # fmt: skip


def _estimates(groups: list[Pushed], asked: OveroptimisationQuestion) -> dict[str, Estimate]:
    estimates = {}
    for one in groups:
        prefix = f"{one.name}/" if len(groups) > 1 else ""
        estimates[f"{prefix}alpha"] = Estimate(*one.alpha, asked.level)
        estimates[f"{prefix}beta"] = Estimate(*one.beta, asked.level)
        known = one.reached and math.isfinite(one.peak[2])
        why = "" if known else "the peak is not reached within the data" if not one.reached else "its upper end is open"
        value = one.peak[0] if one.reached else math.nan
        low, high = one.peak[1:] if known else (math.nan, math.nan)
        estimates[f"{prefix}peak_d"] = Estimate(value, low, high, asked.level, "sqrt(nats)", why)
        estimates[f"{prefix}proxy_at_peak"] = Estimate(one.peak_proxy, why_no_interval="read off at the peak")
    return estimates


def _tables(groups: list[Pushed]) -> dict[str, pd.DataFrame]:
    rows = [
        {
            "group": one.name, "runs": len(one.runs), "points": len(one.d), "alpha": one.alpha[0], "beta": one.beta[0],
            "peak_d": one.peak[0], "peak_low": one.peak[1], "peak_high": one.peak[2], "peak_kl": one.peak[0] ** 2,
            "reached": one.reached, "proxy_at_peak": one.peak_proxy, "greatest_d": float(one.d.max()),
        }
        for one in groups
    ]  # fmt: skip
    points = [pd.DataFrame({"group": one.name, "d": one.d, "gold": one.gold, "proxy": one.proxy}) for one in groups]
    return {"groups": pd.DataFrame(rows), "points": pd.concat(points, ignore_index=True)}


def _notes(groups: list[Pushed], asked: OveroptimisationQuestion, few: int, negative: int) -> list[str]:
    law = "d (alpha - beta ln d)" if asked.law == "rl" else "d (alpha - beta d)"
    by_seed = min(len(one.runs) for one in groups) >= 3
    unit = "runs" if by_seed else "points (fewer than 3 runs in a group; points of one run are not independent)"
    source = f"ln n - (n-1)/n of {asked.samples}" if asked.samples else asked.divergence
    notes = [
        f"Gold = {law}, least squares; d = square root of {source}.",
        f"Intervals: percentile bootstrap, {asked.draws:,} draws of {unit}; with fewer than ten units it covers too little.",
        "The divergence is that of whole sequences; per-token values have to be multiplied by the length first.",
    ]
    if away := [one.name for one in groups if not one.reached]:
        notes.append(f"Peak not reached within the data of {', '.join(away[:3])}: no value is given.")
    if negative:
        notes.append(f"{counted(negative, 'point')} with a negative divergence (a sampled estimate can be) left out.")
    if few:
        notes.append(f"{counted(few, 'group')} left out: fewer than {_FEWEST} levels of the divergence.")
    return notes


def figure(question: OveroptimisationQuestion, result: Overoptimisation) -> FigureSpec:
    """Draw gold with its law, and the proxy, against d; and the peak."""
    marks: list[Mark] = []
    for place, one in enumerate(result.groups[:8]):
        hue = one.hue if len({g.hue for g in result.groups}) == len(result.groups) else f"c{place}"
        behind = Clauses("runs", (is_in("run", one.runs),))
        marks.append(Points(key=f"{one.name}/gold", x=one.d, y=one.gold, hue=hue, origin=behind))
        grid = np.linspace(0, float(one.d.max()), 200)
        law = law_terms(grid, result.law) @ np.array([one.alpha[0], one.beta[0]])
        label = f"{shortened(one.name, 30)}: {result.gold}" if len(result.groups) > 1 else result.gold
        marks.append(Line(key=one.name, x=grid, y=law, hue=hue, width=2.0, label=label, origin=behind))
        if np.isfinite(one.proxy).any():
            order = np.argsort(one.d, kind="stable")
            label = result.proxy if place == 0 else ""
            marks.append(
                Line(key=f"{one.name}/proxy", x=one.d[order], y=one.proxy[order], hue=hue, dash="dotted", label=label)
            )
        if one.reached:
            label = f"peak {with_interval(*one.peak)}" if len(result.groups) == 1 else ""
            marks.append(Rule(key=f"{one.name}/peak", axis="x", at=one.peak[0], hue=hue, label=label))
    panel = Panel(
        key="scores",
        x=Axis(label="d, square root of the divergence (nats)", low=0.0),
        y=Axis(label="gain over the start"),
        marks=tuple(marks),
    )
    law = "d (α − β ln d)" if result.law == "rl" else "d (α − β d)"
    return FigureSpec(
        title=f"{result.gold} against the divergence",
        subtitle=f"line: {law}; dotted: proxy; {counted(len(result.groups), 'group')}",
        panels=(panel,),
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )


ANALYSIS = Analysis(
    id="reward.overoptimisation",
    title="Reward over-optimisation",
    asks="At what divergence, or proxy reward, does real quality peak?",
    question=OveroptimisationQuestion,
    figure=figure,
    sources=(
        "Gao, Schulman and Hilton (2023), Scaling Laws for Reward Model Overoptimization",
        "Stiennon et al. (2020), Learning to summarize from human feedback: divergence of best-of-n",
    ),
    definition="""\
$d=\\sqrt{KL}$. Best-of-n: $R=d(\\alpha-\\beta d)$, greatest at $\\alpha/(2\\beta)$, with $KL=\\ln n-(n-1)/n$ (an upper bound
for discrete outputs). Reinforcement learning: $R=d(\\alpha-\\beta\\ln d)$, greatest at $e^{\\alpha/\\beta-1}$. Least squares
on gold scores less the start's. A peak beyond the greatest d is not given.

Unit: the run from three on, else the point (percentile bootstrap, refitted in each draw). Sampled divergences can be
negative; those points are left out and counted.
""",
)
