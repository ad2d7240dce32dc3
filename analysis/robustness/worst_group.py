"""``groups.worst``: how bad the worst group is, whether it is really the worst, and whether its gap grows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result
from ...models.selection import All, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis
from ..answers import present, rightness
from ..grouped_answers import (
    GroupCounts,
    GroupedQuestion,
    accuracy_table,
    counted_by,
    drawn_accuracies,
    group_counts,
    newcombe,
)
from ..resampling import percentile_interval, wilson

_MOST_SERIES = 6
"""Versions whose dots fit beside one another; the table has all."""


@dataclass(frozen=True, kw_only=True)
class WorstGroup(Result):
    """Accuracy by group, the worst one, and what chance alone would make of the worst.

    Attributes
    ----------
    column : str
        Column of the groups.
    by : str
        Column of the versions.
    versions : tuple of str
        What was looked at.
    focus : str
        The version the sentence is about: the last one.
    worst : dict of str to str
        Worst group of each version.
    counts : GroupCounts
        The counts behind it.
    level : float
        Coverage of the intervals.
    """

    column: str
    by: str
    versions: tuple[str, ...]
    focus: str
    worst: dict[str, str]
    counts: GroupCounts
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        name = "" if len(self.versions) == 1 else f"{self.focus}/"
        worst, mean, chance = (e[name + key].value for key in ("worst", "mean", "worst_by_chance"))
        sure = e[name + "probability_worst"].value
        return (
            f"{self.focus}: the worst group is {self.worst[self.focus]} at {100 * worst:.1f} % "
            f"[{100 * e[name + 'worst'].low:.1f}, {100 * e[name + 'worst'].high:.1f}] against {100 * mean:.1f} % overall; it "
            f"is the worst in {100 * sure:.0f} % of resamples, and equal groups of these sizes would have a worst of "
            f"{100 * chance:.1f} %."
        )


@dataclass(frozen=True, kw_only=True)
class WorstGroupQuestion(GroupedQuestion):
    """How bad is the worst group, and is it really the worst?"""

    split: str = option("", help="column that tells training rows from others", choices="columns of predictions")
    train: str = option("train", help="value of that column for training rows")

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> WorstGroup:
        """Count right answers by group and resample within groups."""
        asked = self.resolved(store)
        whole = group_counts(store, asked, about=(asked.split,))
        counts, train = _apart(whole, asked)
        enough = counts.n >= asked.least
        if not enough.any():
            raise TooLittleData(
                needs=f"a group of at least {asked.least} items", found=f"{int(counts.n.max())} in the largest"
            )
        drawn = drawn_accuracies(counts, asked, engine=engine, progress=progress)
        table = accuracy_table(counts, asked.level).assign(too_small=~enough.ravel())
        if asked.cluster:
            low, high = percentile_interval(drawn, asked.level)
            table = table.assign(low=np.ravel(low), high=np.ravel(high))
        estimates: dict[str, Estimate] = {}
        worst: dict[str, str] = {}
        several = len(counts.sheet.names) > 1
        table["probability_worst"] = np.nan
        for v, version in enumerate(counts.sheet.names):
            if enough[v].sum() < 2:
                continue
            known = np.flatnonzero(enough[v])
            own, name = _of_version(counts, v, known, drawn[:, v, known], asked.level)
            worst[version] = name
            shares = worst_shares(drawn[:, v, known])
            table.loc[v * len(counts.names) + known, "probability_worst"] = shares
            if train is not None:
                own |= _against_train(counts, train, v, known, asked.level)
            estimates |= {f"{version}/{key}" if several else key: one for key, one in own.items()}
        if not worst:
            raise TooLittleData(needs=f"2 groups of at least {asked.least} items", found="1")
        if train is not None:
            own_train = accuracy_table(train, asked.level).rename(
                columns={"n": "n_train", "accuracy": "accuracy_train"}
            )
            table = table.merge(own_train[["version", "group", "n_train", "accuracy_train"]], on=["version", "group"])
            table["train_minus_test"] = table["accuracy_train"] - table["accuracy"]
        if several and len(worst) > 1:
            estimates["worst_change"] = _change(counts, enough, drawn, list(worst)[-2:], asked.level)
        tables = {"groups": table}
        steps = _over_epochs(store, asked)
        if steps is not None:
            tables["epochs"] = steps
        return WorstGroup(
            column=asked.group,
            by=asked.by,
            versions=tuple(worst),
            focus=list(worst)[-1],
            worst=worst,
            counts=counts,
            level=asked.level,
            estimates=estimates,
            tables=tables,
            notes=_notes(counts, asked, enough),
        )


def _apart(whole: GroupCounts, asked: WorstGroupQuestion) -> tuple[GroupCounts, GroupCounts | None]:
    """Give the counts of the rows that are not training rows, and of those that are."""
    if not asked.split:
        return whole, None
    is_train = (whole.sheet.items[asked.split].astype(str) == asked.train).to_numpy(bool)
    if is_train.all() or not is_train.any():
        raise AnalysisError(
            f"{'All' if is_train.all() else 'No'} rows have {asked.split} {asked.train!r}.",
            remedy="There are: " + ", ".join(map(str, whole.sheet.items[asked.split].unique()[:8])) + ".",
        )
    rest, train = (
        counted_by(whole.sheet.taking(mask), whole.column, whole.code[mask], whole.names)
        for mask in (~is_train, is_train)
    )
    return rest, train


def worst_shares(drawn: np.ndarray) -> np.ndarray:
    """Give in what share of draws, shape (draws, groups), each group is the worst; ties are shared out."""
    lowest = drawn == np.nanmin(drawn, axis=1, keepdims=True)
    shares: np.ndarray = (lowest / lowest.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def worst_by_chance(n: np.ndarray, p: float, observed: float = math.nan) -> tuple[float, float]:
    """Give the expected minimum of the accuracies of groups that all have one true accuracy, and P(minimum <= observed).

    Parameters
    ----------
    n : ndarray, shape (groups,)
        Items of each group.
    p : float
        The accuracy they share.

    Notes
    -----
    Exact: E[min] is the integral of P(min >= t) = prod_g P(Binomial(n_g, p) >= t n_g) over the values that occur. Values
    beyond 12 standard deviations are left out.
    """
    from scipy.special import bdtr

    n = np.asarray(n, float)
    if not 0 < p < 1:
        return p, 1.0 if observed >= p else 0.0
    sd = np.sqrt(p * (1 - p) / n)
    parts = []
    for size, spread in zip(n, sd, strict=True):
        first, last = np.floor(max(0.0, p - 12 * spread) * size), np.ceil(min(1.0, p + 12 * spread) * size)
        parts.append(np.arange(first, last + 1) / size)
    values = np.unique(np.concatenate(parts))
    # P(X >= k) = 1 - P(X <= k - 1), with k the least count whose share is at least the value.
    below = np.ceil(values[:, None] * n[None, :] - 1e-9) - 1
    survive = np.where(below < 0, 1.0, 1 - bdtr(np.maximum(below, 0), n[None, :].astype(int), p)).prod(axis=1)
    expected = float(values[0] + np.sum(np.diff(values) * survive[1:]))
    if math.isnan(observed):
        return expected, math.nan
    above = np.minimum(np.floor(observed * n + 1e-9), n - 1)
    return expected, float(-np.expm1(np.log1p(-bdtr(above, n.astype(int), p)).sum()))


def _of_version(
    counts: GroupCounts, v: int, known: np.ndarray, drawn: np.ndarray, level: float
) -> tuple[dict[str, Estimate], str]:
    """Give the estimates of one version over the groups that are large enough, and the name of its worst group."""
    accuracy, n = counts.accuracy[v, known], counts.n[v, known]
    at = int(np.argmin(accuracy))
    pooled = float(counts.right[v, known].sum() / n.sum())
    chance, p = worst_by_chance(n, pooled, float(accuracy[at]))
    weights = n / n.sum()

    def of(value: float, draws: np.ndarray, unit: str = "of items") -> Estimate:
        low, high = (float(end) for end in percentile_interval(draws, level))
        return Estimate(float(value), low, high, level, unit)

    with np.errstate(divide="ignore"):
        harmonic, harmonics = 1 / np.mean(1 / accuracy), 1 / np.mean(1 / drawn, axis=1)
        geometric, geometrics = np.exp(np.mean(np.log(accuracy))), np.exp(np.mean(np.log(drawn), axis=1))
    shares = worst_shares(drawn)
    exact = "computed exactly from the sizes and the accuracy of all groups"
    return {
        "worst": of(accuracy[at], drawn.min(axis=1)),
        "worst_by_chance": Estimate(chance, level=level, unit="of items", why_no_interval=exact),
        "p_equal_groups": Estimate(p, level=level, why_no_interval="a p-value"),
        "probability_worst": Estimate(
            float(shares[at]), level=level, unit="of resamples", why_no_interval="itself a share of resamples"
        ),
        "gap": of(accuracy.max() - accuracy[at], drawn.max(axis=1) - drawn.min(axis=1)),
        "mean": of(pooled, drawn @ weights),
        "mean_of_groups": of(float(accuracy.mean()), drawn.mean(axis=1)),
        "geometric_mean": of(float(geometric), geometrics),
        "harmonic_mean": of(float(harmonic), harmonics),
    }, counts.names[known[at]]


def _against_train(
    counts: GroupCounts, train: GroupCounts, v: int, known: np.ndarray, level: float
) -> dict[str, Estimate]:
    """Give the gap to the training rows of the worst group, and the mean under the shares of training."""
    test = counts.accuracy[v, known]
    at = int(np.argmin(test))
    here = known[at]
    estimates = {}
    if train.n[v, here]:
        low, high = newcombe(train.right[v, here], train.n[v, here], counts.right[v, here], counts.n[v, here], level)
        gap = float(train.accuracy[v, here] - test[at])
        estimates["train_minus_test_of_worst"] = Estimate(gap, float(low), float(high), level, "of items")
    shares = train.n[v, known] / max(train.n[v, known].sum(), 1)
    error = math.sqrt(float(np.sum(shares**2 * test * (1 - test) / counts.n[v, known])))
    from scipy.special import ndtri

    half = float(ndtri((1 + level) / 2)) * error
    mean = float(shares @ test)
    estimates["mean_under_training_shares"] = Estimate(mean, mean - half, mean + half, level, "of items")
    return estimates


def _change(counts: GroupCounts, enough: np.ndarray, drawn: np.ndarray, pair: list[str], level: float) -> Estimate:
    """Give by how much the worst-group accuracy of the last version differs from that of the one before."""
    old, new = (counts.sheet.column(name) for name in pair)
    known = enough[old] & enough[new]
    if known.sum() < 2:
        return Estimate(math.nan, level=level, unit="of items", why_no_interval="fewer than 2 groups in common")
    value = counts.accuracy[new, known].min() - counts.accuracy[old, known].min()
    low, high = percentile_interval(drawn[:, new, known].min(axis=1) - drawn[:, old, known].min(axis=1), level)
    return Estimate(float(value), float(low), float(high), level, "of items")


def _over_epochs(store: RunStore, asked: WorstGroupQuestion) -> pd.DataFrame | None:
    """Give accuracy by version, group and epoch, where predictions were made at several epochs."""
    frame = store.rows("predictions")
    if asked.by == "epoch" or not present(frame, ["epoch"]) or asked.group not in frame.columns:
        return None
    for column, value in (("model", asked.model), ("task", asked.task)):
        if value and column in frame.columns and column != asked.by:
            frame = frame[frame[column] == value]
    if asked.versions:
        frame = frame[frame[asked.by].astype(str).isin(asked.versions)]
    if asked.split:
        frame = frame[frame[asked.split].astype(str) != asked.train]
    if frame["epoch"].nunique() < 2:
        return None
    right = rightness(frame, asked.unanswered, asked.right_from)
    known = frame.assign(right=right, version=frame[asked.by].astype(str), group=frame[asked.group].astype(str))
    known = known[known["right"].notna() & known["epoch"].notna()]
    table = known.groupby(["version", "group", "epoch"], observed=True)["right"].agg(["size", "sum"]).reset_index()
    table = table.rename(columns={"size": "n", "sum": "right"}).assign(accuracy=lambda t: t["right"] / t["n"])
    low, high = wilson(table["right"].to_numpy(float), table["n"].to_numpy(float), asked.level)
    return table.assign(low=low, high=high)


def _notes(counts: GroupCounts, asked: WorstGroupQuestion, enough: np.ndarray) -> tuple[str, ...]:
    unit = f"the {asked.cluster}, resampled whole" if asked.cluster else "the item, resampled within its group"
    notes = [
        f"Unit: {unit}; n = {len(counts.sheet):,} items in {len(counts.names)} values of {asked.group}. Groups: "
        f"{'percentile bootstrap' if asked.cluster else f'{100 * asked.level:g} % Wilson intervals'}; the rest: percentile "
        f"bootstrap, {asked.draws} draws, seed {asked.seed}.",
        *counts.sheet.notes,
        "The minimum of several groups is biased down: compare worst with worst_by_chance, the expected minimum where all "
        "groups had the accuracy of all; p_equal_groups is the probability of a minimum as low.",
    ]
    small = [counts.names[g] for g in np.flatnonzero(~enough.any(axis=0))]
    if small:
        shown = ", ".join(small[:5]) + (" ..." if len(small) > 5 else "")
        notes.append(f"Too small to be the worst (fewer than {asked.least} items): {shown}.")
    return tuple(notes)


def figure(question: WorstGroupQuestion, result: WorstGroup) -> FigureSpec:
    """Draw accuracy by group with intervals, and beside it the groups over epochs, or mean against worst."""
    table = result.tables["groups"]
    shown = result.versions[-_MOST_SERIES:]
    order = table[table["version"] == result.focus].sort_values("accuracy")["group"].head(MOST_ROWS).tolist()
    marks: list[Mark] = []
    step = 0.7 / len(shown)
    for number, version in enumerate(shown):
        own = table[(table["version"] == version) & (table["n"] > 0)].set_index("group")
        own = own.loc[[group for group in order if group in own.index]]
        shift = (number - (len(shown) - 1) / 2) * step
        said = version if len(shown) > 1 else ""
        place = {group: at for at, group in enumerate(order)}
        hue = f"c{list(result.versions).index(version)}"
        for hollow in (False, True):
            part = own[own["too_small"] == hollow]
            if part.empty:
                continue
            marks += dots(
                f"{version}{' small' if hollow else ''}", [f"{version} {group}" for group in part.index],
                100 * part["accuracy"].to_numpy(float), 100 * part["low"].to_numpy(float), 100 * part["high"].to_numpy(float),
                hue=hue, label=f"fewer than {question.least} items" if hollow else said,
                origin=Clauses("predictions", tuple(result.counts.clause(group, version) for group in part.index)),
                shift=shift, n=part["n"].to_numpy(int), hollow=hollow, at=np.array([place[group] for group in part.index]),
            )  # fmt: skip
    name = "" if len(result.versions) == 1 else f"{result.focus}/"
    marks.append(
        Rule(
            key="chance", axis="x", at=100 * result.estimates[name + "worst_by_chance"].value, hue="muted", dash="dotted",
            label=f"worst of equal groups{'' if not name else f' ({result.focus})'}",
        )
    )  # fmt: skip
    focus = table[table["version"] == result.focus]
    sizes = dict(zip(focus["group"], focus["n"], strict=True))
    panels = [
        Panel(
            key="groups",
            x=Axis(label="accuracy (%)"),
            y=named_axis([f"{group} (n = {sizes[group]:,})" for group in order], result.column),
            marks=tuple(marks),
            title=f"Accuracy by {result.column}",
        )
    ]
    if "epochs" in result.tables:
        panels.append(_epochs_panel(result))
    elif len(result.versions) > 1:
        panels.append(_worst_panel(result))
    cut = f", the {MOST_ROWS} worst groups" if table["group"].nunique() > MOST_ROWS else ""
    how = "bootstrap" if question.cluster else "Wilson"
    return FigureSpec(
        title="Worst group",
        subtitle=f"{len(result.counts.sheet):,} items, {100 * result.level:g} % {how} intervals{cut}",
        panels=tuple(panels),
        columns=len(panels),
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _epochs_panel(result: WorstGroup) -> Panel:
    steps = result.tables["epochs"]
    own = steps[steps["version"] == result.focus]
    groups = own.groupby("group")["accuracy"].last().sort_values().index[:8]
    marks: list[Mark] = []
    for number, group in enumerate(groups):
        part = own[own["group"] == group].sort_values("epoch")
        x = part["epoch"].to_numpy(float)
        clause: Any = result.counts.clause(group, result.focus) if group in result.counts.names else None
        origin = Clauses("predictions", (clause,) * len(x)) if clause is not None else None
        hue = f"c{number}"
        low, high, value = (100 * part[key].to_numpy(float) for key in ("low", "high", "accuracy"))
        marks.append(Band(key=f"{group} band", x=x, low=low, high=high, hue=hue))
        marks.append(Line(key=str(group), x=x, y=value, hue=hue, label=str(group), width=1.6, origin=origin))
    return Panel(
        key="epochs", x=Axis(label="epoch", column="epoch"), y=Axis(label="accuracy (%)"), marks=tuple(marks),
        title=f"Over epochs, {result.focus}",
    )  # fmt: skip


def _worst_panel(result: WorstGroup) -> Panel:
    marks: list[Mark] = [Rule(key="equal", axis="diagonal", label="all groups alike")]
    for number, version in enumerate(result.versions):
        mean, worst = (result.estimates[f"{version}/{key}"] for key in ("mean", "worst"))
        marks.append(
            Points(
                key=version, x=np.array([100 * mean.value]), y=np.array([100 * worst.value]), hue=f"c{number}",
                low=np.array([100 * worst.low]), high=np.array([100 * worst.high]), size=7.0, label=version,
                origin=Clauses("predictions", (All((is_in(result.by, (version,)),)),)),
                notes=(f"{version}: {100 * mean.value:.1f} % overall, {100 * worst.value:.1f} % in {result.worst[version]}",),
            )
        )  # fmt: skip
    means = [100 * result.estimates[f"{version}/mean"].value for version in result.versions]
    room = 0.06 * (max(means) - min(means)) + 0.5
    return Panel(
        key="worst",
        x=Axis(label="all items (%)", low=min(means) - room, high=max(means) + room),
        y=Axis(label="worst group (%)"),
        marks=tuple(marks),
        title="Overall and worst",
    )


ANALYSIS = Analysis(
    id="groups.worst",
    title="Worst-group accuracy",
    asks="How bad is the worst group, and is it really the worst?",
    question=WorstGroupQuestion,
    figure=figure,
    sources=(
        "Sagawa et al. (2020), Distributionally Robust Neural Networks for Group Shifts: worst-group accuracy",
        "Yang et al. (2023), Mitigating Spurious Correlations in Multi-modal Models during Fine-tuning",
        "Ramasubramanian et al. (2024), Selective Mixup Fine-Tuning for Optimizing Non-Decomposable Objectives: G- and H-mean",
        "Wilson (1927); Newcombe (1998), method 10",
    ),
    definition="""\
worst = min_g acc_g over groups of at least `least` items; gap = max_g acc_g − min_g acc_g; mean = accuracy of all rows of those
groups; mean of groups weighs each group alike, the geometric and harmonic means are of the accuracies of the groups (with the
right answer as the group: of the recalls). worst_by_chance = E[min_g X_g / n_g] with X_g ~ Binomial(n_g, mean), exactly:
six groups of 100 at 0.8 have an expected minimum of 0.748. With training rows (`split`): accuracy in training less accuracy
here of the worst group, and the mean under the shares of training.

Unit: the item, drawn within its group (or the cluster, drawn whole). P(group is worst) is the share of resamples in which
it is, ties shared out. Traps: the minimum of many groups is biased down, and so are its resamples; a checkpoint chosen by its
worst-group accuracy on these rows flatters it. """,
)
