"""``groups.fairness``: are groups treated differently, beyond noise?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Rule
from ...models.natural_order import natural_order
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.selection import All, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis
from ..answers import at_epoch, in_natural_order, present, rightness
from ..densities import density
from ..forecast_rows import estimate_of
from ..grouped_answers import benjamini_hochberg
from ..paired_tests import mcnemar_exact_all
from ..resampling import DRAWS, bootstrap, holm, p_of_draws, wilson

_PERMUTATIONS = 2000
_TEMPLATES = ("template", "template_id", "prompt_template")
_AXES = ("axis", "attribute", "bias_axis")
_SCORES = ("nll", "perplexity", "ppl", "loss")


@dataclass(frozen=True, kw_only=True)
class GroupRates(Result):
    """Rates of an outcome by group.

    Attributes
    ----------
    outcome, column, by, version : str
        Column of the outcome (empty for right answers), of the groups, of the versions, and the version looked at.
    rates : DataFrame
        One row a group: ``axis``, ``group``, ``n``, ``rate``, ``low``, ``high``, ``p_background``.
    axes : tuple of str
        Axes the groups belong to; a single empty one where there are none.
    background : float
        Mean rate of all rows.
    null_gaps : dict of str to ndarray
        Greatest less smallest rate when groups are dealt out anew, by axis.
    """

    outcome: str
    column: str
    by: str
    version: str
    rates: pd.DataFrame
    axes: tuple[str, ...]
    background: float
    null_gaps: dict[str, np.ndarray]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for axis in self.axes[:3]:
            prefix = f"{axis}/" if len(self.axes) > 1 else ""
            gap, null, p = (self.estimates[prefix + key] for key in ("gap", "gap_by_chance", "p_gap"))
            rows = self.rates[self.rates["axis"] == axis].sort_values("rate")
            ends = with_interval(100 * gap.value, 100 * gap.low, 100 * gap.high)
            said.append(
                f"{axis + ': ' if axis else ''}{rows['group'].iloc[-1]} and {rows['group'].iloc[0]} differ by {ends} points, "
                f"where chance alone would give {100 * null.value:.1f} (p = {p.value:.2g})"
            )
        what = self.outcome or "right answers"
        return f"Rates of {what}: {'; '.join(said)}{' ...' if len(self.axes) > 3 else ''}."


@dataclass(frozen=True, kw_only=True)
class FairnessQuestion(Question):
    """Are groups treated differently beyond noise?"""

    needs: ClassVar = (Need("predictions"),)

    group: str = option("", help="column of the groups; group if empty", choices="columns of predictions")
    axis: str = option(
        "", help="column of the axes the groups belong to; axis if empty", choices="columns of predictions"
    )
    template: str = option(
        "", help="column of texts that differ in the group alone; template if empty", choices="columns of predictions"
    )
    outcome: str = option("", help="column that is 1 where the outcome occurred; right answers if empty",
                          choices="numbers of predictions")  # fmt: skip
    score: str = option("", help="column of numbers compared between groups; nll or perplexity if empty",
                        choices="numbers of predictions")  # fmt: skip
    attribute: str = option("", help="column with a continuous attribute, for the slope of the outcome on it",
                            choices="numbers of predictions")  # fmt: skip
    external: str = option("", help="column with a rate in the world by template, where an axis has two groups",
                           choices="numbers of predictions")  # fmt: skip
    by: str = option("", help="column of the versions; version or model if empty", choices="columns of predictions")
    version: str = option("", help="version to look at; the last if empty",
                          choices="predictions.version|predictions.model")  # fmt: skip
    least: int = option(10, help="rows below which a group is left out", unit="rows", low=1)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Take the columns that go by known names, and the last version."""
        if not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")

        def first(names: tuple[str, ...]) -> str:
            return next(iter(present(frame, names)), "")

        group = self.group or first(("group",))
        own = frame[frame[group].notna()] if group in frame.columns else frame
        by = self.by or next((name for name in present(own, ("version", "model")) if own[name].nunique() > 1), "")
        version = self.version or (
            in_natural_order(own[by].dropna().unique())[-1] if by in own.columns and len(own) else ""
        )
        return replace(self, group=group, axis=self.axis or first(_AXES), template=self.template or first(_TEMPLATES),
                       score=self.score or first(_SCORES), by=by, version=version)  # fmt: skip

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> GroupRates:
        """Count by group, deal the groups out anew, resample templates."""
        asked = self.resolved(store)
        frame, y, notes = _rows(store, asked)
        axis = frame[asked.axis].astype(str) if asked.axis else pd.Series("", index=frame.index)
        unit, found = pd.factorize(frame[asked.template or "item"].astype(str))
        axes = tuple(sorted(axis.unique(), key=natural_order))
        background = float(y.mean())
        estimates = {"background": _share(y, unit, len(found), asked, engine)}
        rates, pairs, null_gaps = [], [], {}
        for name in axes:
            inside = (axis == name).to_numpy(bool)
            group = frame.loc[inside, asked.group].astype(str)
            sizes = group.value_counts()
            names = sorted((str(one) for one in sizes.index[sizes >= asked.least]), key=natural_order)
            if small := len(sizes) - len(names):
                notes.append(
                    f"{counted(small, 'group')}{' of ' + name if name else ''} left out: fewer than {asked.least} rows."
                )
            if len(names) < 2:
                raise TooLittleData(
                    needs=f"at least 2 groups of {asked.least} rows", found=counted(len(names), "group")
                )
            kept = np.flatnonzero(inside)[group.isin(names).to_numpy()]
            code = frame.iloc[kept][asked.group].astype(str).map({one: i for i, one in enumerate(names)}).to_numpy(int)
            prefix = f"{name}/" if len(axes) > 1 else ""
            own, table, null = _axis(y[kept], code, unit[kept], len(found), names, asked, engine)
            estimates |= {prefix + key: one for key, one in own.items()}
            null_gaps[name] = null
            rates.append(table.assign(axis=name))
            swapped = _swaps(y[kept], code, unit[kept], names)
            if len(swapped):
                pairs.append(swapped.assign(axis=name))
                both = swapped[["flipped", "n"]].sum()
                low, high = wilson(float(both["flipped"]), float(both["n"]), asked.level)
                estimates[prefix + "flip_rate"] = Estimate(float(both["flipped"] / both["n"]), float(low), float(high),
                                                           asked.level, "of pairs in one template")  # fmt: skip
            if asked.score:
                share = _score_pairs(frame.iloc[kept][asked.score].to_numpy(float), code, len(names))
                estimates[prefix + "score_pairs_apart"] = Estimate(
                    share,
                    unit=f"of pairs of groups, by {asked.score}",
                    why_no_interval="a share of tests, Benjamini-Hochberg",
                )
            if asked.external and len(names) == 2:
                estimates[prefix + "r_external"] = _external(frame.iloc[kept], y[kept], code, unit[kept], asked)
        if asked.attribute:
            estimates["attribute_slope"] = _slope(frame[asked.attribute].to_numpy(float), y, unit, len(found), asked)
        table = pd.concat(rates, ignore_index=True)
        table["p_background"] = benjamini_hochberg(table["p_background"].to_numpy(float))
        apart = float((table["p_background"] < 1 - asked.level).mean())
        estimates["groups_apart"] = Estimate(
            apart, unit="of groups", why_no_interval="a share of tests, Benjamini-Hochberg"
        )
        tables = {"groups": table[["axis", "group", "n", "rate", "low", "high", "less_background", "p_background"]]}
        if pairs:
            swaps = pd.concat(pairs, ignore_index=True)
            tables["pairs"] = swaps.assign(p_holm=holm(swaps["p"].to_numpy(float)))
        what = "template" if asked.template else "item"
        return GroupRates(
            outcome=asked.outcome, column=asked.group, by=asked.by, version=asked.version, rates=table, axes=axes,
            background=background, null_gaps=null_gaps, estimates=estimates, tables=tables,
            notes=(f"Unit: the {what}, n = {len(found):,}; {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, "
                   f"seed {asked.seed}; single groups have Wilson intervals.",
                   f"By chance: the greatest less the smallest rate when groups are dealt out anew within each {what} where it "
                   f"has several, else over all rows, {_PERMUTATIONS} times. It grows with the number of groups.", *notes),
        )  # fmt: skip


def _rows(store: RunStore, asked: FairnessQuestion) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    frame = at_epoch(store.rows("predictions"), None)
    for name in (
        asked.group,
        asked.axis,
        asked.template,
        asked.outcome,
        asked.score,
        asked.attribute,
        asked.external,
        asked.by,
    ):
        if name and name not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {name!r}.")
    if not asked.group:
        raise TooLittleData(needs="a column of groups", found="none", remedy="Choose it (group).")
    if asked.by and asked.version:
        frame = frame[frame[asked.by].astype(str) == asked.version]
    frame = frame[frame[asked.group].notna()]
    if frame.empty:
        raise TooLittleData(needs="rows with a group", found="none")
    y = frame[asked.outcome].to_numpy(float) if asked.outcome else rightness(frame)
    known = np.isfinite(y)
    notes = [f"{counted(int((~known).sum()), 'row')} left out: the outcome is not known."] if not known.all() else []
    if not known.any():
        raise TooLittleData(needs="rows with a known outcome", found="none")
    if y[known].min() < 0 or y[known].max() > 1:
        raise AnalysisError(
            f"{asked.outcome!r} holds numbers that are no outcome.", remedy="It must lie between 0 and 1."
        )
    return frame[known], y[known], notes


def _share(y: np.ndarray, unit: np.ndarray, units: int, asked: FairnessQuestion, engine: Engine) -> Estimate:
    sums = np.stack([np.bincount(unit, y, units), np.bincount(unit, minlength=units)], axis=1)
    drawn = bootstrap(partial(_ratio, sums), units, draws=asked.draws, seed=asked.seed, engine=engine)
    return estimate_of(float(y.mean()), drawn, asked.level, "of rows")


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    both = counts @ sums
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(both[:, 0] / both[:, 1])


def _axis(
    y: np.ndarray,
    code: np.ndarray,
    unit: np.ndarray,
    units: int,
    names: list[str],
    asked: FairnessQuestion,
    engine: Engine,
) -> tuple[dict[str, Estimate], pd.DataFrame, np.ndarray]:
    """Give the estimates of one axis, its table of groups, and its gaps by chance."""
    from scipy.stats import binomtest

    k = len(names)
    sums = np.zeros((units, 2, k))
    np.add.at(sums[:, 0], (unit, code), y)
    np.add.at(sums[:, 1], (unit, code), 1.0)
    statistic = partial(_spread, sums.reshape(units, -1), k)
    drawn = bootstrap(statistic, units, draws=asked.draws, seed=asked.seed, engine=engine)
    value = statistic(np.ones((1, units)))[0]
    null = dealt_anew(y, code, unit, k, np.random.default_rng(asked.seed))
    estimates = {
        "gap": estimate_of(value[0], drawn[:, 0], asked.level, "greatest less smallest rate"),
        "gap_by_chance": Estimate(float(null.mean()), float(np.quantile(null, (1 - asked.level) / 2)),
                                  float(np.quantile(null, (1 + asked.level) / 2)), asked.level, "if groups were alike"),
        "p_gap": Estimate(p_of_draws(int((null >= value[0] - 1e-12).sum()), len(null)),
                          why_no_interval="a permutation p-value"),
        "ratio": estimate_of(value[1], drawn[:, 1], asked.level, "smallest over greatest rate"),
        "mean_deviation": estimate_of(value[2], drawn[:, 2], asked.level, "mean distance from the mean rate"),
    }  # fmt: skip
    right, n = sums[:, 0].sum(axis=0), sums[:, 1].sum(axis=0)
    low, high = wilson(right, n, asked.level)
    middle = float(y.mean())
    p = [
        float(binomtest(round(r), int(size), middle).pvalue) for r, size in zip(right.tolist(), n.tolist(), strict=True)
    ]
    table = pd.DataFrame({"group": names, "n": n.astype(int), "rate": right / n, "low": np.asarray(low),
                          "high": np.asarray(high), "less_background": right / n - middle, "p_background": p})  # fmt: skip
    return estimates, table, null


def _spread(sums: np.ndarray, k: int, counts: np.ndarray) -> np.ndarray:
    """Give greatest less smallest rate, smallest over greatest, mean absolute deviation, shape (draws, 3)."""
    both = (counts @ sums).reshape(len(counts), 2, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = both[:, 0] / both[:, 1]
        top, bottom = rate.max(axis=1), rate.min(axis=1)
        deviation = np.abs(rate - rate.mean(axis=1, keepdims=True)).mean(axis=1)
        return np.stack([top - bottom, np.where(top > 0, bottom / top, np.nan), deviation], axis=1)


def dealt_anew(y: np.ndarray, code: np.ndarray, unit: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Give greatest less smallest rate when outcomes are shuffled, shape (permutations,).

    Outcomes are shuffled within a template where templates hold several groups, else over all rows.
    """
    several = np.bincount(unit).max() > 1 and len(np.unique(unit * k + code)) > len(np.unique(unit))
    order = np.argsort(unit, kind="stable")
    y, code, unit = y[order], code[order], unit[order]
    n = np.bincount(code, minlength=k).astype(float)
    gaps = np.empty(_PERMUTATIONS)
    for number in range(_PERMUTATIONS):
        noise = generator.random(len(y))
        shuffled = y[np.lexsort((noise, unit))] if several else y[np.argsort(noise)]
        rate = np.bincount(code, shuffled, k) / n
        gaps[number] = rate.max() - rate.min()
    return gaps


def _swaps(y: np.ndarray, code: np.ndarray, unit: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Give for pairs of groups how often the outcome differs within a template, with McNemar's exact p."""
    units = int(unit.max()) + 1
    sums, n = np.zeros((units, len(names))), np.zeros((units, len(names)))
    np.add.at(sums, (unit, code), y)
    np.add.at(n, (unit, code), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        verdict = np.where(n > 0, (sums / n >= 0.5).astype(float), np.nan)
    rows = []
    for i, j in combinations(range(len(names)), 2):
        both = np.isfinite(verdict[:, i]) & np.isfinite(verdict[:, j])
        if both.any():
            b = int((verdict[both, i] > verdict[both, j]).sum())
            c = int((verdict[both, i] < verdict[both, j]).sum())
            rows.append({"group": names[i], "other": names[j], "n": int(both.sum()), "only_group": b, "only_other": c,
                         "flipped": b + c, "p": float(mcnemar_exact_all(b, c))})  # fmt: skip
    return pd.DataFrame(rows)


def _score_pairs(score: np.ndarray, code: np.ndarray, k: int) -> float:
    """Give the share of pairs of groups whose scores differ by Mann and Whitney's test at 5 % (Benjamini-Hochberg)."""
    from scipy.stats import mannwhitneyu

    p = []
    for i, j in combinations(range(k), 2):
        one, two = (score[(code == g) & np.isfinite(score)] for g in (i, j))
        if len(one) and len(two):
            p.append(float(mannwhitneyu(one, two).pvalue))
    return float((benjamini_hochberg(np.array(p)) < 0.05).mean()) if p else math.nan


def _external(
    frame: pd.DataFrame, y: np.ndarray, code: np.ndarray, unit: np.ndarray, asked: FairnessQuestion
) -> Estimate:
    """Give Pearson's r over templates of p(first group) − p(second group) with a rate in the world."""
    units = int(unit.max()) + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [
            np.bincount(unit[code == g], y[code == g], units) / np.bincount(unit[code == g], minlength=units)
            for g in (0, 1)
        ]
    outside = frame[asked.external].astype(float).groupby(unit).mean().reindex(range(units)).to_numpy(float)
    gap = parts[0] - parts[1]
    known = np.isfinite(gap) & np.isfinite(outside)
    if known.sum() < 4:
        return Estimate(
            math.nan, level=asked.level, why_no_interval="fewer than 4 templates have both groups and the rate"
        )
    gap, outside = gap[known], outside[known]
    drawn = bootstrap(partial(_pearson, gap, outside), len(gap), draws=asked.draws, seed=asked.seed)
    return estimate_of(float(_pearson(gap, outside, np.ones((1, len(gap))))[0]), drawn, asked.level, "Pearson")


def _pearson(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    w = counts / counts.sum(axis=1, keepdims=True)
    mx, my = w @ x, w @ y
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((w @ (x * y) - mx * my) / np.sqrt((w @ x**2 - mx**2) * (w @ y**2 - my**2)))


def _slope(x: np.ndarray, y: np.ndarray, unit: np.ndarray, units: int, asked: FairnessQuestion) -> Estimate:
    """Give |cov(attribute, outcome)| / var(attribute)."""
    known = np.isfinite(x)
    parts = np.stack(
        [known, np.where(known, x, 0), known * y, np.where(known, x, 0) ** 2, np.where(known, x * y, 0)], axis=1
    )
    sums = np.zeros((units, 5))
    np.add.at(sums, unit, parts)
    drawn = bootstrap(partial(_slopes, sums), units, draws=asked.draws, seed=asked.seed)
    return estimate_of(float(_slopes(sums, np.ones((1, units)))[0]), drawn, asked.level, "outcome a unit of the attribute",
                       centred=True)  # fmt: skip


def _slopes(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    n, x, y, xx, xy = (counts @ sums).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.abs((xy - x * y / n) / (xx - x * x / n)))


def figure(question: FairnessQuestion, result: GroupRates) -> FigureSpec:
    """Draw the rate of each group on its axis, and the gap against what chance alone gives."""
    panels = []
    for axis in result.axes[:4]:
        rows = result.rates[result.rates["axis"] == axis].sort_values("rate", ascending=False).head(MOST_ROWS)
        names = [str(name) for name in rows["group"]]
        clauses = [is_in(result.column, (name,)) for name in names]
        whose = [All((is_in(result.by, (result.version,)), one)) if result.by else one for one in clauses]
        value, low, high = (100 * rows[column].to_numpy(float) for column in ("rate", "low", "high"))
        marks = (Rule(key="background", axis="x", at=100 * result.background, label="all rows"),
                 *dots("rates", names, value, low, high, origin=Clauses("predictions", tuple(whose)),
                       n=rows["n"].to_numpy(int)))  # fmt: skip
        panels.append(Panel(key=f"rates {axis}", x=Axis(label=f"{result.outcome or 'right'} (%)"), y=named_axis(names),
                            marks=marks, title=axis))  # fmt: skip
        panels.append(_against_chance(question, result, axis))
    which = f" of {result.version}" if result.version else ""
    return FigureSpec(
        title="Rates by group",
        subtitle=f"{int(result.rates['n'].sum()):,} rows{which}, {counted(len(result.rates), 'group')}; "
        f"{100 * question.level:g} % Wilson", panels=tuple(panels), columns=2,
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )  # fmt: skip


def _against_chance(question: FairnessQuestion, result: GroupRates, axis: str) -> Panel:
    prefix = f"{axis}/" if len(result.axes) > 1 else ""
    gap = result.estimates[prefix + "gap"]
    x, y = density(100 * result.null_gaps[axis])
    top = np.array([float(y.max()) * 1.02] * 2)
    marks: list[Mark] = [
        Line(key="chance", x=x, y=y, hue="muted", width=2.0, label="if groups were alike"),
        Band(key="interval", x=np.array([100 * gap.low, 100 * gap.high]), low=np.zeros(2), high=top, hue="c0"),
        Rule(key="gap", axis="x", at=100 * gap.value, hue="c0", dash="solid", width=2.0, label="observed"),
    ]
    return Panel(key=f"gap {axis}", x=Axis(label="greatest less smallest rate (points)", low=0.0),
                 y=Axis(label="density", low=0.0), marks=tuple(marks))  # fmt: skip


ANALYSIS = Analysis(
    id="groups.fairness",
    title="Rates by group",
    asks="Are groups treated differently, beyond noise?",
    question=FairnessQuestion,
    figure=figure,
    sources=(
        "Esiobu et al. (2023), ROBBIE; Gupta et al. (2024), CALM; Zhang et al. (2024), CLIMB: rates by group, their spread",
        "Smith et al. (2022), I'm sorry to hear that: shares of descriptor pairs apart by Mann and Whitney's test",
        "Webster et al. (2020), Measuring and Reducing Gendered Correlations: correlation with rates in the world",
        "Giuliani, Misino and Lombardi (2023), Generalized Disparate Impact: slope on a continuous attribute",
    ),
    definition="""\
Rate of an outcome by group; its gap (greatest less smallest), ratio and mean absolute deviation; groups apart from the rate of
all rows (exact binomial tests, Benjamini-Hochberg). Where texts differ in the group alone: how often the outcome flips, with
McNemar's exact test (Holm over pairs). A column of numbers is compared between all pairs of groups (Mann and Whitney,
Benjamini-Hochberg). With two groups, Pearson's $r$ over templates of the difference with a rate in the world. For a continuous
attribute $|\\text{cov}(a,y)|/\\text{var}(a)$.

Unit: the template. Traps: templates repeat their text; the gap grows with the number of groups, so it stands beside what groups
dealt out anew would give. """,
)
