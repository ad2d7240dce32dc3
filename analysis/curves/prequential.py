"""``curve.prequential``: how well a learner compresses the stream it is trained on, in one pass.

Every batch is coded with the model as it was before it learned from it: the training loss, times the tokens, summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Keys, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, significant, with_interval
from ...models.run_groups import EXCEPT_AT_FIRST
from ...models.selection import is_in
from ...models.store import RunStore
from .. import resampling
from ..alignment import interpolated
from ..health import loss_tag
from ..seed_curves import SeedCurves, seed_curves

_UNITS = ((1e12, "Tbit"), (1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit"), (1.0, "bit"))
_PLACES = 300


def code_length(tokens: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Give the bits it took to code the stream up to each place, shape (n,).

    Parameters
    ----------
    tokens : ndarray, shape (n,)
        Tokens seen when each loss was logged, increasing.
    loss : ndarray, shape (n,)
        Nats per token, before learning from those tokens. Between logged values the loss is straight (trapezoid), before
        the first it is the first.

    Notes
    -----
    Dawid (1984), *Present position and potential developments: the prequential approach*.
    """
    steps = np.diff(tokens) * (loss[1:] + loss[:-1]) / 2
    return np.concatenate([[tokens[0] * loss[0]], tokens[0] * loss[0] + np.cumsum(steps)]) / math.log(2)


@dataclass(frozen=True, slots=True)
class Coded:
    """The runs of one group.

    Attributes
    ----------
    group : SeedCurves
    bits : tuple of ndarray
        Code length of each run along its own x.
    total, complexity, rate : ndarray, shape (runs,)
        Bits up to the shared end; bits above coding all with the last loss; bits a token.
    """

    group: SeedCurves
    bits: tuple[np.ndarray, ...]
    total: np.ndarray
    complexity: np.ndarray
    rate: np.ndarray


@dataclass(frozen=True, kw_only=True)
class CodeLengths(Result):
    """Groups and their code lengths.

    Attributes
    ----------
    groups : tuple of Coded
    end : float
        Tokens that all runs have seen.
    tag, x : str
    """

    groups: tuple[Coded, ...]
    end: float
    tag: str
    x: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        order = sorted(self.groups, key=lambda one: float(one.rate.mean()))
        said = [f"{shortened(one.group.name, 30)} {significant(float(one.rate.mean()))}" for one in order[:3]]
        more = f" and {len(order) - 3} more" if len(order) > 3 else ""
        return f"Bits a token over the first {self.end:,.6g} {self.x}, shortest first: {', '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class PrequentialQuestion(Question):
    """Which learner compresses the stream best?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option(
        "", help="training loss in nats per token; empty takes the loss logged most often", choices="tags"
    )
    x: str = option("", help="tag that counts tokens; empty: tokens (logged or stated)", choices="tags")
    last_k: int = option(10, help="last values whose mean is the final loss", unit="values", low=1)
    group_by: tuple[str, ...] = option((), help="columns whose values make a group", choices="columns of runs")
    everything_except: tuple[str, ...] = option(
        (), help="or: what may differ within a group (seed, time, host, output, columns)", choices="columns of runs"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the loss, the count of tokens and the grouping."""
        tags: dict[str, int] = {}
        for run in store.kept_runs.values():
            if tag := loss_tag(run):
                tags[tag] = tags.get(tag, 0) + 1
        x = self.x or next((tag for tag in ("tokens", "num_input_tokens_seen") if tag in store.tags()), "tokens")
        but = () if self.group_by else self.everything_except or EXCEPT_AT_FIRST
        return replace(self, tag=self.tag or max(tags, key=lambda t: tags[t], default=""), x=x, everything_except=but)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> CodeLengths:
        """Sum loss times tokens for every run, up to the tokens that all have seen."""
        asked = self.resolved(store)
        if not asked.tag:
            raise AnalysisError("No run logs a loss.", remedy="Name its tag.")
        found = seed_curves(store, asked.tag, asked.x, asked.runs, asked.group_by, asked.everything_except)
        if not found:
            raise TooLittleData(needs="a run with at least 2 losses at known tokens", found="none")
        end = min(float(x[-1]) for group in found for x, _ in group.points)
        groups = []
        for group in found:
            bits, total, complexity = [], [], []
            for x, loss in group.points:
                own = code_length(x, loss)
                inside = x <= end
                final = float(loss[inside][-asked.last_k :].mean()) if inside.any() else float(loss[0])
                spent = float(interpolated(np.array([end]), x, own)[0])
                bits.append(own)
                total.append(spent)
                complexity.append(spent - end * final / math.log(2))
            groups.append(Coded(group, tuple(bits), np.array(total), np.array(complexity), np.array(total) / end))
        epochs = _repeats(store, groups, end)
        return CodeLengths(
            groups=tuple(groups),
            end=end,
            tag=asked.tag,
            x=asked.x,
            estimates=_estimates(groups, asked),
            tables=_tables(groups, end, asked),
            notes=tuple(_notes(groups, asked, end, epochs)),
        )


def _repeats(store: RunStore, groups: list[Coded], end: float) -> int:
    """Give the number of runs whose epoch passed 1 within the tokens compared."""
    repeated = 0
    for one in groups:
        for curve, (x, _) in zip(one.group.curves, one.group.points, strict=True):
            epoch = curve.run.curves.get("epoch")
            if epoch is not None and len(epoch):
                share = min(1.0, end / float(x[-1]))
                repeated += float(np.nanmax(np.asarray(epoch.value, float))) * share > 1.0001
    return int(repeated)


def _estimates(groups: list[Coded], asked: PrequentialQuestion) -> dict[str, Estimate]:
    estimates = {}
    for one in groups if len(groups) <= 20 else []:
        prefix = f"{one.group.name}/" if len(groups) > 1 else ""
        for name, values, unit in (
            ("code_length", one.total, "bits"), ("bits_per_token", one.rate, "bits"), ("complexity", one.complexity, "bits"),
        ):  # fmt: skip
            low, high = resampling.t_interval(values, asked.level)
            why = "" if len(values) > 1 else "one seed"
            estimates[prefix + name] = Estimate(float(values.mean()), float(low), float(high), asked.level, unit, why)
    return estimates


def _tables(groups: list[Coded], end: float, asked: PrequentialQuestion) -> dict[str, pd.DataFrame]:
    rows = []
    for one in groups:
        low, high = resampling.t_interval(one.rate, asked.level)
        rows.append(
            {
                "group": one.group.name, "runs": len(one.group.runs), "code_length_bits": float(one.total.mean()),
                "bits_per_token": float(one.rate.mean()), "low": float(low), "high": float(high),
                "complexity_bits": float(one.complexity.mean()), "tokens": end,
            }
        )  # fmt: skip
    seeds = [
        pd.DataFrame(
            {
                "group": one.group.name,
                "run": one.group.runs,
                "code_length_bits": one.total,
                "complexity_bits": one.complexity,
            }
        )
        for one in groups
    ]
    return {
        "groups": pd.DataFrame(rows).sort_values("bits_per_token", ignore_index=True),
        "runs": pd.concat(seeds, ignore_index=True),
    }


def _notes(groups: list[Coded], asked: PrequentialQuestion, end: float, repeated: int) -> list[str]:
    points = min(len(x) for one in groups for x, _ in one.group.points)
    notes = [
        f"Code length: {asked.tag} (nats a token) times tokens, over the first {end:,.6g} {asked.x}, by trapezoid between "
        f"logged values (as few as {points} in a run). Complexity: what it lies above coding all of it with the mean of the "
        f"last {asked.last_k} losses.",
        "Intervals: Student's t over seeds (unit: the run).",
        "Losses under different tokenizers are not comparable: convert to bits a byte first.",
    ]
    if repeated:
        notes.append(f"{counted(repeated, 'run')} saw data more than once: there the sum is no code length.")
    return notes


def figure(question: PrequentialQuestion, result: CodeLengths) -> FigureSpec:
    """Draw the code length above that of the best group's rate, and the bits a token so far."""
    grid = np.linspace(0, result.end, _PLACES)[1:]
    best = min(result.groups, key=lambda one: float(one.rate.mean()))
    drawn = sorted(result.groups, key=lambda one: float(one.rate.mean()))[:8]
    means = {one.group.name: _on(one, grid) for one in drawn}
    reference = means[best.group.name].mean(axis=0)
    scale, unit = next((one for one in _UNITS if float(reference[-1]) >= one[0]), _UNITS[-1])
    cumulative: list[Mark] = []
    excess: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    order = {one.group.name: place for place, one in enumerate(result.groups)}
    for one in drawn:
        hue, values = f"c{order[one.group.name]}", means[one.group.name]
        behind = Clauses("runs", (is_in("run", one.group.runs),))
        low, high = resampling.t_interval(one.rate, question.level)
        rate = with_interval(float(one.rate.mean()), float(low), float(high))
        label = f"{shortened(one.group.name, 30)}: {rate} bits a token"
        mean = values.mean(axis=0)
        cumulative.append(
            Line(key=one.group.name, x=grid, y=mean / scale, hue=hue, width=1.6, label=label, origin=behind)
        )
        above = values - reference
        if one is not best:
            if len(values) > 2:
                half = (
                    float(resampling.t_quantile(question.level, len(values) - 1))
                    * above.std(axis=0, ddof=1)
                    / math.sqrt(len(values))
                )
                middle = above.mean(axis=0)
                key = f"{one.group.name}/band"
                excess.append(
                    Band(
                        key=key,
                        x=grid,
                        low=(middle - half) / scale,
                        high=(middle + half) / scale,
                        hue=hue,
                        origin=behind,
                    )
                )
            excess.append(
                Line(key=one.group.name, x=grid, y=above.mean(axis=0) / scale, hue=hue, width=1.6, origin=behind)
            )
        elif len(values) > 1:
            for key, row in zip(one.group.runs, above, strict=True):
                excess.append(Line(key=key, x=grid, y=row / scale, hue=hue, opacity=0.35, origin=Keys("run", (key,))))
    axis = Axis(label=result.x, column=result.x)
    panels = (
        Panel(key="bits", x=axis, y=Axis(label=f"code length ({unit})"), marks=tuple(cumulative), height=1.2),
        Panel(
            key="excess",
            x=axis,
            y=Axis(label=f"above {shortened(best.group.name, 18)} ({unit})"),
            marks=tuple(excess),
            shares_x_with="bits",
            legend=False,
        ),
    )
    more = f"; the 8 shortest of {len(result.groups)} groups drawn" if len(result.groups) > 8 else ""
    return FigureSpec(
        title=f"Prequential code length of {result.tag}",
        subtitle=f"first {result.end:,.6g} {result.x}; below: above the mean of the shortest; band: "
        f"{100 * question.level:g} % t over seeds{more}",
        panels=panels,
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )


def _on(one: Coded, grid: np.ndarray) -> np.ndarray:
    """Give the code length of every run of a group on the grid; before the first logged value in proportion."""
    rows = [
        np.interp(grid, np.concatenate([[0.0], x]), np.concatenate([[0.0], bits]))
        for (x, _), bits in zip(one.group.points, one.bits, strict=True)
    ]
    return np.stack(rows)


ANALYSIS = Analysis(
    id="curve.prequential",
    title="Prequential code length",
    asks="Which learner compresses the stream best?",
    question=PrequentialQuestion,
    figure=figure,
    sources=(
        "Dawid (1984), the prequential approach",
        "Blier and Ollivier (2018), The Description Length of Deep Learning Models",
    ),
    definition="""\
$L=\\frac1{\\ln2}\\sum_t\\ell_t\\,n_t$: every batch is coded by the model before it learned from it; $\\ell$ in nats a token,
$n$ its tokens. Between logged losses the trapezoid rule; before the first, the first. Groups are compared over the tokens
all runs have seen. Complexity: $\\frac1{\\ln2}\\sum_t(\\ell_t-\\ell_{final})\\,n_t$, what learning itself cost.

Unit: the seed (Student's t). Only for data seen once, and one tokenizer.
""",
)
