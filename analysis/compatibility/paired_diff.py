"""``compat.paired-diff``: by how much two versions differ, and on which items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Bars, Clauses, FigureSpec, Line, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.selection import Clause, is_in
from ...models.store import RunStore
from ..answer_sheet import PairQuestion, Sheet, answer_sheet, cluster_units, unit_sums
from ..paired_differences import Differences, valued
from ..paired_tests import newcombe_paired, said_p, sign_flip_p
from ..resampling import DRAWS, Interval, bootstrap, holm, percentile_interval, t_quantile

_MOST_GROUPS = 30
_BINS = 31


@dataclass(frozen=True, kw_only=True)
class PairedDifference(Result):
    """New less old, over items.

    Attributes
    ----------
    old, new : str
        The two compared.
    what : str
        What is compared: accuracy, score, or the name of a column.
    group : str
        Column of the groups; empty where there are none.
    paired : bool
        Whether both answered the same items.
    bins : DataFrame
        Histogram of the differences: low, high, items.
    bin_items : tuple of Clause
        Items of each bin.
    level : float
        Coverage of the intervals.
    """

    old: str
    new: str
    what: str
    group: str
    paired: bool
    bins: pd.DataFrame
    bin_items: tuple[Clause, ...]
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        d = self.estimates["difference"]
        how = "on the same" if self.paired else "UNPAIRED, on different"
        p = self.estimates["sign_flip_p" if self.paired else "welch_p"].value
        return (
            f"From {self.old} to {self.new} {self.what} changes by {with_interval(d.value, d.low, d.high)} "
            f"{how} {self.estimates['n'].value:,.0f} items (p {said_p(p)})."
        )


@dataclass(frozen=True, kw_only=True)
class PairedDiffQuestion(PairQuestion):
    """By how much do they differ, and on which items?"""

    value: str = option(
        "", help="number to compare; the score or whether it is right if empty", choices="numbers of predictions"
    )
    group: str = option("", help="column to split the difference by", choices="columns of predictions")
    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    users: str = option(
        "", help="column of a second unit that is resampled too, crossed with items (people, prompts)",
        choices="columns of predictions", advanced=True,
    )  # fmt: skip
    draws: int = option(DRAWS, help="resamples and sign flips", low=100, high=1_000_000, advanced=True)
    seed: int = option(0, help="seed of both", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> PairedDifference:
        """Join, subtract, and resample the units."""
        asked = self.resolved(store)
        if asked.users and asked.cluster:
            raise AnalysisError("Clusters and crossed users cannot both be resampled.", remedy="Choose one of them.")
        about = (asked.group, asked.cluster, asked.users)
        key = (asked.users,) if asked.users else ()
        try:
            sheet = answer_sheet(store, asked, (asked.old, asked.new), about=about, key=key)
        except TooLittleData as error:
            if error.found != "0":
                raise
            return _unpaired(store, asked)
        sheet, values, is_binary, left_out = valued(sheet, asked.value)
        units, number, unit = cluster_units(sheet, asked.cluster)
        both = Differences(values[:, 0], values[:, 1], units, number)
        notes = [unit]
        if asked.users:
            interval, how, se = _crossed(sheet, both.values, asked, engine, progress)
            sums = unit_sums(both.values, pd.factorize(sheet.items["item"])[0], sheet.items["item"].nunique())
            notes = [how]
        else:
            interval, how = both.interval(asked.level, asked.draws, asked.seed, engine, progress)
            se, sums = both.standard_error, unit_sums(both.values, units, number)
        p = sign_flip_p(sums, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress)
        groups = _groups(sheet, both, asked)
        listed = both.values != 0
        table = sheet.listed(listed, (0, 1), ("old", "new")).assign(difference=both.values[listed])
        bins, behind = _bins(sheet, both.values)
        what = asked.value or ("score" if sheet.is_graded else "accuracy")
        return PairedDifference(
            old=asked.old,
            new=asked.new,
            what=what,
            group=asked.group,
            paired=True,
            bins=bins,
            bin_items=behind,
            level=asked.level,
            estimates=_estimates(
                both, interval, se, p, asked.level, is_binary=is_binary, plain=not (asked.cluster or asked.users)
            ),
            tables={"groups": groups, "items": table.sort_values("difference", kind="stable", ignore_index=True)},
            notes=(
                *notes,
                f"Difference: {100 * asked.level:g} % {how}.",
                *sheet.notes,
                *left_out,
                f"sign_flip_p: random signs of the units, two-sided, {asked.draws} draws (exact up to 12 units).",
                *([f"{len(groups)} groups: t intervals; p by t, adjusted by Holm."] if asked.group else []),
            ),
        )


def _crossed(
    sheet: Sheet, d: np.ndarray, asked: PairedDiffQuestion, engine: Engine, progress: Progress
) -> tuple[Interval, str, float]:
    """Resample users and items, crossed (the pigeonhole bootstrap of Owen 2007)."""
    users, user_names = pd.factorize(sheet.items[asked.users], use_na_sentinel=False)
    items, item_names = pd.factorize(sheet.items["item"])
    shape = len(user_names), len(item_names)
    sums, sizes = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (users, items), d)
    np.add.at(sizes, (users, items), 1.0)
    strata = np.repeat([0, 1], shape)
    drawn = bootstrap(
        partial(_crossed_mean, sums, sizes), sum(shape), strata=strata, draws=asked.draws, seed=asked.seed,
        engine=engine, progress=progress,
    )  # fmt: skip
    how = f"Unit: {counted(shape[0], asked.users)} and {counted(shape[1], 'item')}, crossed, both resampled"
    return percentile_interval(drawn, asked.level), how, float(np.nanstd(drawn, ddof=1))


def _crossed_mean(sums: np.ndarray, sizes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    users, items = counts[:, : len(sums)].astype(float), counts[:, len(sums) :]
    with np.errstate(invalid="ignore"):
        means: np.ndarray = ((users @ sums) * items).sum(axis=1) / ((users @ sizes) * items).sum(axis=1)
    return means


def _estimates(
    both: Differences, interval: Interval, se: float, p: float, level: float, *, is_binary: bool, plain: bool
) -> dict[str, Estimate]:
    d, n = both.values, len(both.values)
    sd = float(np.std(d, ddof=1)) if n > 1 else math.nan
    low, high = (float(end) for end in interval)
    estimates = {
        "n": Estimate(n, unit="items", why_no_interval="a count"),
        "mean_old": Estimate(float(both.old.mean()), why_no_interval="see the difference"),
        "mean_new": Estimate(float(both.new.mean()), why_no_interval="see the difference"),
        "difference": Estimate(both.mean, low, high, level, "new − old", "" if math.isfinite(low) else "one unit"),
        "standard_error": Estimate(se, why_no_interval="of the difference, over units"),
        "effect_size": Estimate(
            both.mean / sd if sd else math.nan, unit="standard deviations of the differences",
            why_no_interval="all differences are equal" if not sd else "see the difference",
        ),
        "sign_flip_p": Estimate(p, why_no_interval="a p-value"),
    }  # fmt: skip
    if is_binary:
        old, new = both.old > 0.5, both.new > 0.5
        right, better, worse, wrong = (int(mask.sum()) for mask in (old & new, new & ~old, old & ~new, ~old & ~new))
        low, high = (float(end) for end in newcombe_paired(right, better, worse, wrong, level))
        if plain:
            estimates["difference_newcombe"] = Estimate(both.mean, low, high, level, "new − old, score interval")
    return estimates


def _groups(sheet: Sheet, both: Differences, asked: PairedDiffQuestion) -> pd.DataFrame:
    """Give the difference of each group, and what it adds to the whole."""
    codes, names = sheet.groups(asked.group) if asked.group else (np.zeros(len(sheet), dtype=int), ["all items"])
    records = []
    for number, name in enumerate(names):
        inside = codes == number
        units = np.unique(both.units[inside], return_inverse=True)[1]
        part = Differences(both.old[inside], both.new[inside], units, int(units.max()) + 1)
        low, high = (float(end) for end in part.t_interval(asked.level))
        records.append(
            {
                "group": name,
                "n": int(inside.sum()),
                "mean_old": float(part.old.mean()),
                "mean_new": float(part.new.mean()),
                "difference": part.mean,
                "low": low,
                "high": high,
                "contribution": part.mean * inside.mean(),
                "p": _t_p(part),
            }
        )
    table = pd.DataFrame(records)
    return table.assign(p_holm=holm(table["p"].to_numpy(float)))


def _t_p(part: Differences) -> float:
    from scipy.special import stdtr

    se = part.standard_error
    if not se > 0:
        return math.nan
    return 2 * float(stdtr(part.df, -abs(part.mean / se)))


def _bins(sheet: Sheet, d: np.ndarray) -> tuple[pd.DataFrame, tuple[Clause, ...]]:
    """Give the histogram of the differences; few different values have a bin each, 0 has one in any case."""
    different = np.unique(d)
    if len(different) <= _BINS:
        step = float(np.diff(different).min()) if len(different) > 1 else 1.0
        edges = np.stack([different - step * 0.4, different + step * 0.4], axis=1)
        of = np.searchsorted(different, d)
    else:
        reach = float(np.abs(d).max())
        cuts = np.linspace(-reach, reach, _BINS + 1)
        edges = np.stack([cuts[:-1], cuts[1:]], axis=1)
        of = np.clip(np.searchsorted(cuts, d, side="right") - 1, 0, _BINS - 1)
    table = pd.DataFrame({"low": edges[:, 0], "high": edges[:, 1], "items": np.bincount(of, minlength=len(edges))})
    return table, tuple(sheet.clause(of == number) for number in range(len(edges)))


def _unpaired(store: RunStore, asked: PairedDiffQuestion) -> PairedDifference:
    """Compare two samples of different items (Welch 1947)."""
    from scipy.special import stdtr

    sheet = answer_sheet(store, asked, (asked.old, asked.new), about=(asked.group,), common=False, least=1)
    if asked.value:
        values = np.stack([sheet.values(asked.value, number) for number in (0, 1)], axis=1)
    else:
        values = sheet.score if sheet.is_graded else sheet.right
    sides = [column[np.isfinite(column)] for column in values.T]
    if min(map(len, sides)) < 2:
        raise TooLittleData(needs="two items a version", found=str(min(map(len, sides))))
    errors = [float(side.var(ddof=1)) / len(side) for side in sides]
    difference, se = float(sides[1].mean() - sides[0].mean()), math.sqrt(sum(errors))
    df = sum(errors) ** 2 / sum(e**2 / (len(s) - 1) for e, s in zip(errors, sides, strict=True)) if se else math.nan
    half = float(t_quantile(asked.level, df)) * se
    p = 2 * float(stdtr(df, -abs(difference / se))) if se else math.nan
    why = "neither side varies" if not se else ""
    estimates = {
        "n": Estimate(sum(map(len, sides)), unit="items", why_no_interval="a count"),
        "mean_old": Estimate(float(sides[0].mean()), why_no_interval="see the difference"),
        "mean_new": Estimate(float(sides[1].mean()), why_no_interval="see the difference"),
        "difference": Estimate(difference, difference - half, difference + half, asked.level, "new − old", why),
        "standard_error": Estimate(se, why_no_interval=f"Welch, df {df:.1f}"),
        "welch_p": Estimate(p, why_no_interval="a p-value" if se else why),
    }
    columns = {"mean_old": [sides[0].mean()], "mean_new": [sides[1].mean()], "difference": [difference]}
    group = pd.DataFrame(
        {"group": ["all items"], "n": [sum(map(len, sides))], **columns, "low": difference - half,
         "high": difference + half, "contribution": [difference]}
    )  # fmt: skip
    return PairedDifference(
        old=asked.old, new=asked.new, what=asked.value or ("score" if sheet.is_graded else "accuracy"), group="",
        paired=False, bins=pd.DataFrame({"low": [], "high": [], "items": []}), bin_items=(), level=asked.level,
        estimates=estimates, tables={"groups": group},
        notes=(
            f"Attention: {asked.old} and {asked.new} answered no item in common. The difference is of two samples "
            f"(Welch), n = {len(sides[0]):,} and {len(sides[1]):,} items; different items may explain it.",
            *sheet.notes,
        ),
    )  # fmt: skip


def figure(question: PairedDiffQuestion, result: PairedDifference) -> FigureSpec:
    """Draw how often which difference occurs, and how the groups add up to the whole."""
    d = result.estimates["difference"]
    panels = []
    if len(result.bins):
        panels.append(_histogram(result))
    if result.group:
        panels += [_by_group(result), _waterfall(result)]
    else:
        panels.append(_whole(result))
    n = result.estimates["n"].value
    return FigureSpec(
        title=f"{result.old} → {result.new}",
        subtitle=f"{result.what}, new − old: {with_interval(d.value, d.low, d.high)} ({100 * result.level:g} %), "
        f"{'same' if result.paired else 'DIFFERENT'} {n:,.0f} items",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {' '.join(result.notes[:2])}",
    )


def _histogram(result: PairedDifference) -> Panel:
    bins = result.bins
    low, high = bins["low"].to_numpy(float), bins["high"].to_numpy(float)
    middle = (low + high) / 2
    equal = "equal" if len(bins) < _BINS else "within half a bin of 0"
    marks = []
    for key, inside, hue, label in (
        ("worse", middle < -1e-9, "bad", "new lower"),
        ("same", np.abs(middle) <= 1e-9, "muted", equal),
        ("better", middle > 1e-9, "good", "new higher"),
    ):
        if not inside.any():
            continue
        at = np.flatnonzero(inside)
        marks.append(
            Bars(
                key=key, at=middle[at], height=bins["items"].to_numpy(float)[at], width=(high - low)[at] * 0.96, hue=hue,
                label=label, origin=Clauses("predictions", tuple(result.bin_items[i] for i in at.tolist())),
            )
        )  # fmt: skip
    mean = Rule(key="mean", axis="x", at=result.estimates["difference"].value, hue="accent", label="mean", dash="solid")
    return Panel(
        key="histogram",
        x=Axis(label=f"difference of {result.what} (new − old)"),
        y=Axis(label="items", low=0.0),
        marks=(*marks, mean),
        title="Differences",
    )


def _origin(result: PairedDifference, names: pd.Series) -> Clauses:
    return Clauses("predictions", tuple(is_in(result.group, (name,)) for name in names))


def _by_group(result: PairedDifference) -> Panel:
    groups = result.tables["groups"].head(_MOST_GROUPS)
    at = np.arange(len(groups), dtype=float)
    names = tuple(shortened(name, 28) for name in groups["group"])
    notes = tuple(
        f"{row['group']}: {with_interval(row['difference'], row['low'], row['high'])}, n = {row['n']:,}, "
        f"p (Holm) = {row['p_holm']:.3g}"
        for row in groups.to_dict("records")
    )
    nan = np.full(len(groups), np.nan)
    ends = np.stack([groups["low"], groups["high"], nan], axis=1).ravel()
    whole = result.estimates["difference"]
    return Panel(
        key="groups",
        x=Axis(label=f"difference of {result.what} (new − old)", column="difference"),
        y=Axis(label=result.group, scale="category", names=names, inverted=True),
        marks=(
            Rule(key="zero", axis="x", at=0.0, hue="line", dash="solid"),
            Rule(key="whole", axis="x", at=whole.value, hue="accent", label="all items"),
            Line(key="intervals", x=ends, y=np.repeat(at, 3), hue="ink", label=f"{100 * result.level:g} % t interval"),
            Points(
                key="means", x=groups["difference"].to_numpy(float), y=at, hue="c0", size=6.0, notes=notes,
                origin=_origin(result, groups["group"]),
            ),
        ),
        title="By " + result.group,
        height=1.8,
    )  # fmt: skip


def _waterfall(result: PairedDifference) -> Panel:
    groups = result.tables["groups"].sort_values("contribution", kind="stable", ignore_index=True)
    rest = (
        groups.iloc[_MOST_GROUPS // 2 : len(groups) - _MOST_GROUPS // 2] if len(groups) > _MOST_GROUPS else groups[:0]
    )
    shown = groups.drop(rest.index)
    names, steps = list(shown["group"]), shown["contribution"].tolist()
    if len(rest):
        names.append(f"{len(rest)} others")
        steps.append(float(rest["contribution"].sum()))
    ends = np.cumsum(steps)
    starts = ends - np.array(steps)
    at = np.arange(len(names), dtype=float)
    marks = []
    for key, inside, hue, label in (
        ("falls", np.array(steps) < 0, "bad", "takes"),
        ("rises", np.array(steps) >= 0, "good", "adds"),
    ):
        if inside.any():
            own = np.flatnonzero(inside)
            is_group = [i for i in own.tolist() if i < len(shown)]
            marks.append(
                Bars(
                    key=key, at=at[own], height=ends[own], base=starts[own], horizontal=True, hue=hue, label=label,
                    origin=_origin(result, shown["group"].iloc[is_group]) if len(is_group) == len(own) else None,
                    notes=tuple(f"{names[i]}: {steps[i]:+.4f}" for i in own.tolist()),
                )
            )  # fmt: skip
    return Panel(
        key="waterfall",
        x=Axis(label=f"what each adds to the difference of {result.what}", column="difference"),
        y=Axis(scale="category", names=tuple(shortened(name, 28) for name in names), inverted=True),
        marks=(*marks, Rule(key="zero", axis="x", at=0.0, hue="line", dash="solid")),
        title="How it adds up",
    )


def _whole(result: PairedDifference) -> Panel:
    d = result.estimates["difference"]
    return Panel(
        key="whole",
        x=Axis(scale="category", names=("new − old",)),
        y=Axis(label=f"difference of {result.what}"),
        marks=(
            Rule(key="zero", axis="y", at=0.0, hue="line", dash="solid"),
            Band(
                key="interval", x=np.array([-0.3, 0.3]), low=np.full(2, d.low), high=np.full(2, d.high), hue="c0",
                label=f"{100 * result.level:g} % interval, n = {result.estimates['n'].value:,.0f} items",
            ),
            Points(key="mean", x=np.zeros(1), y=np.array([d.value]), hue="c0", size=8.0),
        ),
        title="Mean difference",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="compat.paired-diff",
    title="Paired difference",
    asks="By how much do two versions differ, and on which items?",
    question=PairedDiffQuestion,
    figure=figure,
    sources=(
        "Efron (1979); Davison and Hinkley (1997): bootstrap of whole clusters",
        "Newcombe (1998), paired score interval, method 10",
        "Owen (2007), The pigeonhole bootstrap: two crossed units",
        "Phipson and Smyth (2010); Welch (1947)",
    ),
    definition="""\
d = new − old on each item both answered; its mean over items, with a percentile bootstrap that draws whole units (t
below ten of them), the clustered standard error, and the p of random signs of the units. For right and wrong the mean
is PFR − NFR, and Newcombe's score interval stands beside it. A group adds n_g / n times its own difference; these add
up to the whole. With `users`, users and items are both resampled, crossed.

Unit: the item, the cluster, or users and items. Trap: that the intervals of two versions overlap does not mean that
they do not differ; items without a partner are left out and said, and without any common item the test is Welch's,
with a warning. """,
)
